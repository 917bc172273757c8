"""Problems that are more than what an input and a target give: each is of one task, whose file binds it."""
