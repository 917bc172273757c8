"""The autoencoder against sums by hand, torch.distributions, scikit-learn and models whose likelihood is known."""

import torch

from hubmodels import AutoencoderConfig

# What test_all_families.py runs over this family.
SMALL = {"num_channels": 2, "image_size": 8, "hidden_sizes": [4, 6], "depths": [1, 1], "latent_size": 3}
TINY = {
    "variational": {**SMALL, "num_mixture_components": 2, "likelihood": "gaussian", "variance": "per_value"},
    "importance_weighted": {
        "kind": "variational", "backbone": "dense", "num_numeric_features": 5, "hidden_sizes": [8], "latent_size": 2,
        "normalization": "none", "num_importance_samples": 3, "likelihood": "gaussian", "kl_warmup_steps": 10,
    },
    "vector_quantized": {**SMALL, "kind": "vector_quantized", "latent_map": True, "codebook_size": 8,
                         "normalization": "group_norm", "likelihood": "discretized_logistic"},
    "denoising": {**SMALL, "hidden_sizes": [12], "depths": [1], "latent_size": 12, "kind": "denoising",
                  "latent_map": True, "normalization": "none", "noise_strength": [0.0, 0.1],
                  "noise_types": ["gaussian", "masking"]},
}  # fmt: skip
HEADS = {"denoising": ["Model", "ForImageToImage"]} | {
    name: ["Model"] for name in ("variational", "importance_weighted", "vector_quantized")
}


def tiny_inputs(config: AutoencoderConfig, head: str, rows: int, generator: torch.Generator) -> dict[str, torch.Tensor]:
    """Inputs of `forward`, with targets where the head has them."""
    name = "numeric_features" if config.num_numeric_features else "pixel_values"
    inputs = {name: torch.rand(rows, *config.row_shape, generator=generator)}
    if head == "ForImageToImage":
        inputs["labels"] = 1 - inputs[name]
    return inputs
