"""Configuration of the autoencoder. The defaults are a convolutional variational autoencoder of 28x28 grey images."""

import math
from dataclasses import field
from typing import Literal

from huggingface_hub.dataclasses import strict
from transformers.activations import ACT2FN
from transformers.configuration_utils import PreTrainedConfig

NOISE_TYPES = ("gaussian", "salt_and_pepper", "masking")
TABLE_LIKELIHOODS = ("mse", "gaussian")  # of values without bounds


@strict
class AutoencoderConfig(PreTrainedConfig):
    """Decides the network of an `AutoencoderModel` and its loss: kind, encoder and decoder, code, likelihood.

    Some networks of the literature:

        VAE          the defaults with likelihood bernoulli, variance unused (Kingma and Welling 2013)
        sigma-VAE    likelihood gaussian, variance optimal (Rybkin et al. 2020)
        IWAE         num_importance_samples 50 (Burda et al. 2015)
        VQ-VAE       kind vector_quantized, latent_map true, codebook_size 512 (van den Oord et al. 2017)
        FSQ          kind vector_quantized, quantizer fsq, fsq_levels [8, 5, 5, 5], latent_size 4 (Mentzer et al. 2023)
        denoising    kind denoising, latent_map true, noise_types [gaussian] (Vincent et al. 2008)

    Raises:
        huggingface_hub.errors.StrictDataclassError: a field has another type or lies outside of the range beside it.
    """

    model_type = "hubmodels_autoencoder"

    kind: Literal["plain", "denoising", "variational", "vector_quantized"] = "variational"  # what the code is

    # Input: images of 0..1, or the numbers of a table
    num_channels: int = 1  # channels of an image, >= 1
    image_size: int | list[int] | tuple[int, int] = 28  # side, or height and width, in pixels
    num_numeric_features: int = 0  # numbers of a table's row, >= 1; 0 for images

    # Encoder, and the decoder as its mirror image
    backbone: Literal["dense", "conv"] = "conv"  # linear layers, or convolutions in residual blocks (images only)
    hidden_sizes: list[int] | tuple[int, ...] = field(default_factory=lambda: [32, 64])  # conv: channels of a stage,
    # each stage after the first at half of the height and width; dense: widths of the hidden layers; each >= 1
    depths: list[int] | tuple[int, ...] = field(default_factory=lambda: [1, 1])  # conv: residual blocks a stage, >= 0
    patch_size: int = 2  # conv: pixels a side that the first layer takes as one place, and the last gives, >= 1
    kernel_size: int = 3  # conv: side of the blocks' convolutions in places, odd
    hidden_act: str = "relu"  # activation, a name that transformers.activations.ACT2FN knows; linear for none
    normalization: Literal["batch_norm", "group_norm", "none"] = "batch_norm"  # inside the blocks or hidden layers
    num_norm_groups: int = 8  # conv: groups of group_norm, >= 1; a width that it does not divide takes the common
    # divisor
    hidden_dropout_prob: float | int = 0.0  # share of activations dropped in a block or hidden layer, in [0, 1)

    # Code
    latent_size: int = 16  # numbers of the code, or of each place of a map and each discrete code, >= 1
    latent_map: bool = False  # conv: the code is a map of latent_size channels at the last stage's places, not a vector
    num_latent_codes: int = 1  # vector_quantized without latent_map: discrete codes of a row, >= 1
    num_mixture_components: int = 0  # Gaussians that are fitted on the codes after training, for sampling; 0 for none

    # Likelihood
    likelihood: Literal["mse", "bernoulli", "gaussian", "discretized_logistic"] = "mse"  # of the values given the code;
    # mse is a Gaussian of variance 1/2; discretized_logistic sees images as levels of num_levels greys
    variance: Literal["shared", "per_value", "optimal"] = "shared"  # gaussian, discretized_logistic: one learned scale,
    # one for each value of a row, or (gaussian only) the mean squared error itself, the maximum of the likelihood
    num_levels: int = 256  # discretized_logistic: greys of a channel, >= 2
    output_act: Literal["linear", "sigmoid"] = "linear"  # of the reconstruction; bernoulli has its own sigmoid

    # Variational
    beta: float | int = 1.0  # weight of the KL divergence, >= 0
    kl_warmup_steps: int = 0  # training forwards over which that weight rises linearly from 0, >= 0
    free_bits: float | int = 0.0  # KL divergence of each latent number that costs nothing, in nats, >= 0
    num_importance_samples: int = 1  # latent draws of a row in training; more than 1 is the tighter bound of IWAE

    # Vector-quantised
    quantizer: Literal["ema", "fsq"] = "ema"  # a codebook of moving averages, or finite scalar quantisation
    codebook_size: int = 512  # ema: vectors in the codebook, >= 2
    codebook_decay: float | int = 0.99  # ema: decay of the moving averages, in [0, 1)
    commitment_weight: float | int = 0.25  # ema: weight of the encoder's distance from its vectors, >= 0
    restart_threshold: float | int = 0.1  # ema: a vector used less than this share of the mean use starts anew, in
    # [0, 1); 0 for never
    fsq_levels: list[int] | tuple[int, ...] = field(default_factory=lambda: [8, 5, 5, 5])  # fsq: levels of each latent
    # number, each >= 2

    # Denoising
    noise_types: list[str] | tuple[str, ...] = field(default_factory=lambda: ["gaussian"])  # one is drawn for a row:
    # gaussian, salt_and_pepper, masking
    noise_strength: list[float | int] | tuple[float | int, ...] = field(default_factory=lambda: [0.2, 0.5])  # range,
    # drawn uniformly for a row: standard deviation of gaussian, share of the values that others replace, >= 0

    def validate_fields(self) -> None:
        """Refuse what cannot work, each check on what the ones before it have let through."""
        self.check_sizes()
        self.check_network()
        self.check_code()
        self.check_noise()

    def check_sizes(self) -> None:
        """Refuse sizes that no network can have."""
        at_least = {
            "num_channels": 1, "num_numeric_features": 0, "patch_size": 1, "num_norm_groups": 1, "latent_size": 1,
            "num_latent_codes": 1, "num_mixture_components": 0, "num_levels": 2, "kl_warmup_steps": 0,
            "num_importance_samples": 1, "codebook_size": 2, "beta": 0, "free_bits": 0, "commitment_weight": 0,
        }  # fmt: skip
        for name, least in at_least.items():
            if not getattr(self, name) >= least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
        for name in ("hidden_dropout_prob", "codebook_decay", "restart_threshold"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 0 and below 1, got {getattr(self, name)}")
        if self.kernel_size < 1 or self.kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd and at least 1, got {self.kernel_size}")
        if not isinstance(self.image_size, int) and len(self.image_size) != 2:
            raise ValueError(f"image_size must be one integer or a list of height and width, got {self.image_size}")
        if min(self.image_shape) < 1:
            raise ValueError(f"image_size must be at least 1, got {self.image_size}")
        if min(self.hidden_sizes, default=1) < 1:
            raise ValueError(f"hidden_sizes must all be at least 1, got {list(self.hidden_sizes)}")

    def check_network(self) -> None:
        """Refuse stages that do not fit the images, and activations that are unknown."""
        if self.hidden_act not in ACT2FN:
            raise ValueError(f"hidden_act must be one of {', '.join(sorted(ACT2FN))}, got {self.hidden_act!r}")
        if self.backbone == "dense":
            if self.latent_map:
                raise ValueError("latent_map needs backbone conv, got dense")
            if self.normalization == "group_norm":
                raise ValueError("normalization group_norm needs backbone conv; dense takes batch_norm or none")
            return
        if self.num_numeric_features:
            raise ValueError("a table (num_numeric_features above 0) needs backbone dense, got conv")
        if not self.hidden_sizes or len(self.hidden_sizes) != len(self.depths):
            raise ValueError(
                f"hidden_sizes and depths need one number a stage, got {list(self.hidden_sizes)}, {list(self.depths)}"
            )
        if min(self.depths) < 0:
            raise ValueError(f"depths must all be at least 0, got {list(self.depths)}")
        shrink = self.patch_size * 2 ** (len(self.hidden_sizes) - 1)
        if any(side % shrink for side in self.image_shape[1:]):
            raise ValueError(
                f"the stages divide height and width by {shrink} (patch_size, then 2 a stage), which must divide "
                f"image_size {self.image_size}: change one of hidden_sizes, patch_size and image_size"
            )

    def check_code(self) -> None:
        """Refuse codes, likelihoods and noises that do not go together."""
        if self.num_numeric_features and self.likelihood not in TABLE_LIKELIHOODS:
            raise ValueError(f"likelihood {self.likelihood} needs values of 0..1; a table takes mse or gaussian")
        if self.num_numeric_features and self.output_act != "linear":
            raise ValueError("output_act sigmoid needs values of 0..1; a table takes linear")
        if self.likelihood == "bernoulli" and self.output_act != "linear":
            raise ValueError("likelihood bernoulli has its own sigmoid: leave output_act at linear")
        if self.variance == "optimal" and self.likelihood not in ("mse", "bernoulli", "gaussian"):
            raise ValueError(f"variance optimal needs likelihood gaussian, got {self.likelihood}")
        if self.num_importance_samples > 1 and (self.free_bits or self.variance == "optimal"):
            raise ValueError("num_importance_samples above 1 needs free_bits 0 and variance shared or per_value")
        if self.num_latent_codes > 1 and (self.latent_map or self.kind != "vector_quantized"):
            raise ValueError("num_latent_codes above 1 needs kind vector_quantized and latent_map false")
        if min(self.fsq_levels, default=0) < 2:
            raise ValueError(f"fsq_levels must be at least one number, each at least 2, got {list(self.fsq_levels)}")
        if self.kind == "vector_quantized" and self.quantizer == "fsq" and self.latent_size != len(self.fsq_levels):
            raise ValueError(
                f"fsq needs one level for each latent number: latent_size is {self.latent_size}, fsq_levels are "
                f"{list(self.fsq_levels)}"
            )

    def check_noise(self) -> None:
        """Refuse unknown noises and impossible strengths."""
        unknown = [name for name in self.noise_types if name not in NOISE_TYPES]
        if unknown or not self.noise_types:
            raise ValueError(f"noise_types must name one or more of {', '.join(NOISE_TYPES)}, got {self.noise_types}")
        if len(self.noise_strength) != 2 or not 0 <= self.noise_strength[0] <= self.noise_strength[1]:
            raise ValueError(
                f"noise_strength must be the lowest and the highest, at least 0, got {list(self.noise_strength)}"
            )
        if self.noise_strength[1] > 1 and set(self.noise_types) != {"gaussian"}:
            raise ValueError(f"the noise_strength of a share must be at most 1, got {list(self.noise_strength)}")
        if self.kind == "denoising" and self.num_numeric_features and "salt_and_pepper" in self.noise_types:
            raise ValueError("noise type salt_and_pepper needs values of 0..1; a table takes gaussian or masking")

    # Copied in every family that needs it; tests/models/test_copies.py keeps the copies equal.
    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Return channels, height and width of an image, in pixels."""
        height, width = (self.image_size,) * 2 if isinstance(self.image_size, int) else self.image_size
        return self.num_channels, height, width

    @property
    def row_shape(self) -> tuple[int, ...]:
        """Return the shape of one row of the input: an image's, or (num_numeric_features,)."""
        return (self.num_numeric_features,) if self.num_numeric_features else self.image_shape

    @property
    def feature_map_shape(self) -> tuple[int, int, int]:
        """Return channels, height and width of the last stage of a conv network."""
        _, height, width = self.image_shape
        shrink = self.patch_size * 2 ** (len(self.hidden_sizes) - 1)
        return self.hidden_sizes[-1], height // shrink, width // shrink

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """Return the shape of one row's code: (latent_size,), or with its places (latent_size, height, width)."""
        if self.latent_map:
            return (self.latent_size, *self.feature_map_shape[1:])
        return (self.latent_size, self.num_latent_codes) if self.kind == "vector_quantized" else (self.latent_size,)

    @property
    def num_codes(self) -> int:
        """Return how many values a discrete code can have, where the kind is vector_quantized."""
        return self.codebook_size if self.quantizer == "ema" else math.prod(self.fsq_levels)


__all__ = ["AutoencoderConfig"]
