"""Processors: raw input -> tensors. One self-contained file a kind of input; it goes to the Hub as code."""
