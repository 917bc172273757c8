"""Classical methods that a network is held against: one protocol for all inputs, so that "worth it" means one thing."""
