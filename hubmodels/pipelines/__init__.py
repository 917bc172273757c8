"""transformers pipelines for tasks that it lacks. Each file names its own in `PIPELINES`: task -> (class, suffix)."""

import transformers.pipelines  # noqa: F401 - first: it makes `auto.register_pipelines` import every file here, whole
