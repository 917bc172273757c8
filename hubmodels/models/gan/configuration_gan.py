"""Configuration of the GAN. The defaults are small residual networks without normalisation for 28x28 grey images."""

import math
from dataclasses import field
from typing import Literal

from huggingface_hub.dataclasses import strict
from transformers.configuration_utils import PreTrainedConfig

AUGMENTATIONS = ("brightness", "translation", "cutout")


@strict
class GanConfig(PreTrainedConfig):
    """Decides the two networks of a `GanModel`, what each is after, and what keeps them in balance.

    Some models of the literature:

        DCGAN    block dcgan, loss non_saturating, r1_gamma 0 (Radford et al. 2015)
        SNGAN    block dcgan, loss hinge, spectral_norm true, r1_gamma 0 (Miyato et al. 2018)
        WGAN-GP  block dcgan, normalization none, loss wasserstein_gp, penalty_interval 1 (Gulrajani et al. 2017)
        R3GAN    the defaults with r2_gamma like r1_gamma and penalty_interval 1 (Huang et al. 2024)

    Raises:
        huggingface_hub.errors.StrictDataclassError: a field has another type or lies outside of the range beside it.
    """

    model_type = "hubmodels_gan"

    # Images, in 0..1
    num_channels: int = 1  # channels, >= 1
    image_size: int | list[int] | tuple[int, int] = 28  # side, or height and width, in pixels
    class_conditional: bool = False  # both networks are told the class, one of num_labels

    # Networks
    block: Literal["dcgan", "residual"] = "residual"  # strided convolutions, or residual blocks without normalisation
    latent_size: int = 64  # numbers that the generator starts from, >= 1
    class_embedding_size: int = 32  # numbers that tell the generator a class, >= 1
    generator_sizes: list[int] | tuple[int, ...] = field(default_factory=lambda: [128, 96, 64])  # channels of a stage,
    # from the lowest resolution up, each stage after the first at twice the height and width
    discriminator_sizes: list[int] | tuple[int, ...] = field(default_factory=lambda: [64, 96, 128])  # channels of a
    # stage, from the full resolution down, each stage after the first at half of the height and width
    depth: int = 1  # residual: blocks of a stage, >= 1
    group_size: int = 16  # residual: channels of a group of the 3x3 convolutions, >= 1; a width that it does not divide
    # takes the common divisor
    expansion: int = 2  # residual: channels inside a block over those outside, >= 1
    normalization: Literal["batch_norm", "none"] = "batch_norm"  # dcgan: in the generator, after each convolution
    spectral_norm: bool = False  # divide the discriminator's weights by their largest singular values

    # What the players are after
    loss: Literal["non_saturating", "hinge", "wasserstein_gp", "relativistic"] = "relativistic"  # of both players
    r1_gamma: float | int = 0.1  # weight of the squared gradient of the scores at real images, over 2, >= 0
    r2_gamma: float | int = 0.0  # the same at generated images, >= 0
    gradient_penalty_weight: float | int = 10.0  # wasserstein_gp: weight of the gradient's distance from 1, >= 0
    penalty_interval: int = 8  # training forwards of the discriminator from one penalty, so many times as heavy, to the
    # next (lazy regularisation), >= 1

    # What the discriminator sees is augmented alike, real and generated (DiffAugment, Zhao et al. 2020)
    augmentations: list[str] | tuple[str, ...] = field(default_factory=lambda: ["translation"])  # any of brightness,
    # translation, cutout
    augmentation_prob: float | int = 0.0  # share of the images that each is applied to at the start, in [0, 1]
    augmentation_target: float | int = 0.0  # the share rises while the discriminator's certainty about training images,
    # the mean sign of their scores, is above this, and falls below it (ADA, Karras et al. 2020), in [0, 1); 0 for never
    augmentation_speed: int = 500_000  # training images over which the share can rise from 0 to 1, >= 1

    # Sampling
    truncation: float | int | None = None  # standard deviations that `sample` cuts latents off at unless it is told
    # others, > 0; not at all when None

    def validate_fields(self) -> None:
        """Refuse what cannot work, each check on what the ones before it have let through."""
        at_least = {
            "num_channels": 1, "latent_size": 1, "class_embedding_size": 1, "depth": 1, "group_size": 1, "expansion": 1,
            "penalty_interval": 1, "augmentation_speed": 1, "r1_gamma": 0, "r2_gamma": 0, "gradient_penalty_weight": 0,
        }  # fmt: skip
        for name, least in at_least.items():
            value = getattr(self, name)
            if not value >= least or not math.isfinite(value):
                raise ValueError(f"{name} must be at least {least}, got {value}")
        if not 0 <= self.augmentation_prob <= 1:
            raise ValueError(f"augmentation_prob must be between 0 and 1, got {self.augmentation_prob}")
        if not 0 <= self.augmentation_target < 1:
            raise ValueError(f"augmentation_target must be at least 0 and below 1, got {self.augmentation_target}")
        if self.truncation is not None and not 0 < self.truncation < math.inf:
            raise ValueError(f"truncation must be finite and greater than 0, or None, got {self.truncation}")
        unknown = [name for name in self.augmentations if name not in AUGMENTATIONS]
        if unknown:
            raise ValueError(f"augmentations must be of {', '.join(AUGMENTATIONS)}, got {', '.join(unknown)}")
        if (self.augmentation_prob or self.augmentation_target) and not self.augmentations:
            raise ValueError("augmentation_prob and augmentation_target need augmentations")
        if self.class_conditional and self.num_labels < 2:
            raise ValueError(f"class_conditional needs num_labels of at least 2, got {self.num_labels}")
        if self.loss == "wasserstein_gp" and (self.r1_gamma or self.r2_gamma):
            raise ValueError("the loss wasserstein_gp has a penalty of its own: set r1_gamma and r2_gamma to 0")
        self.check_stages()

    def check_stages(self) -> None:
        """Refuse stages that do not fit the images."""
        if not isinstance(self.image_size, int) and len(self.image_size) != 2:
            raise ValueError(f"image_size must be one integer or a list of height and width, got {self.image_size}")
        if min(self.image_shape[1:]) < 4:
            raise ValueError(f"image_size must be at least 4, got {self.image_size}")
        for name in ("generator_sizes", "discriminator_sizes"):
            sizes = getattr(self, name)
            if not sizes or min(sizes) < 1:
                raise ValueError(f"{name} must be numbers of channels, each at least 1, got {list(sizes)}")
            shrink = 2 ** (len(sizes) - 1)
            if any(side % shrink for side in self.image_shape[1:]):
                raise ValueError(
                    f"{len(sizes)} {name} halve height and width {len(sizes) - 1} times: {shrink} must divide "
                    f"image_size {self.image_size}; change the number of {name}"
                )

    # Copied in every family that needs it; tests/models/test_copies.py keeps the copies equal.
    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Return channels, height and width of an image, in pixels."""
        height, width = (self.image_size,) * 2 if isinstance(self.image_size, int) else self.image_size
        return self.num_channels, height, width

    def lowest_shape(self, num_stages: int) -> tuple[int, int]:
        """Return height and width of the lowest of so many stages."""
        _, height, width = self.image_shape
        return height // 2 ** (num_stages - 1), width // 2 ** (num_stages - 1)


__all__ = ["GanConfig"]
