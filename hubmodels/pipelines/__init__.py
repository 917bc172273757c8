"""transformers pipelines for tasks that it lacks. Each file names its own in `PIPELINES`: task -> (class, suffix)."""
