"""Pictures of results, each drawn from arrays alone. No task and no model."""
