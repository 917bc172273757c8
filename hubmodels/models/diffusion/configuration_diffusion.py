"""Configuration of the diffusion model. The defaults are flow matching of 28x28 grey images with a patchified U-Net."""

import math
from collections.abc import Sequence
from dataclasses import field
from typing import Literal

from huggingface_hub.dataclasses import strict
from transformers.activations import ACT2FN
from transformers.configuration_utils import PreTrainedConfig


@strict
class DiffusionConfig(PreTrainedConfig):
    """Decides the network of a `DiffusionModel`, what it learns and how it samples.

    The data, by `data`, and the shape of a batch of them:

        image   pixel_values (B, num_channels, height, width) in 0..1
        audio   input_values (B, num_frames), waveforms in -1..1, where num_mel_bins is 0; else
                input_values (B, num_mel_bins, num_frames), spectrograms in whatever unit the processor gives

    `sample` gives what `forward` takes, images within 0..1 and waveforms within -1..1. Inside, values less data_mean
    over data_std are noised: choose both so that the data have about mean 0 and standard deviation 1 there.

    Some models of the literature:

        rectified flow   the defaults (Lipman et al. 2023; Esser et al. 2024)
        DDPM             objective epsilon, beta_schedule linear, backbone unet, patch_size 1 (Ho et al. 2020)
        EDM              objective edm (Karras et al. 2022)
        DiT              backbone dit (Peebles and Xie 2023)

    Raises:
        huggingface_hub.errors.StrictDataclassError: a field has another type or lies outside of the range beside it.
    """

    model_type = "hubmodels_diffusion"

    # Data
    data: Literal["image", "audio"] = "image"  # what is noised, see above
    num_channels: int = 1  # image: channels, >= 1
    image_size: int | list[int] | tuple[int, int] = 28  # image: side, or height and width, in pixels
    num_frames: int = 0  # audio: samples of a waveform or frames of a spectrogram, >= 1
    num_mel_bins: int = 0  # audio: bands of a spectrogram, >= 1; 0 for a waveform
    data_mean: float | int | list[float | int] | tuple[float | int, ...] = 0.5  # subtracted from the values: one
    # number, or one for each channel or mel band
    data_std: float | int | list[float | int] | tuple[float | int, ...] = 0.5  # what they are then divided by, > 0

    # Classes
    class_conditional: bool = False  # the network knows the class, one of num_labels
    class_dropout_prob: float | int = 0.1  # share of the training rows whose class is hidden, so that the model can do
    # without and be guided, in [0, 1); 0 for a network that always needs a class

    # Network
    backbone: Literal["unet", "dit"] = "unet"  # convolutions in residual blocks, or a transformer over patches
    patch_size: int = 2  # pixels a side (samples of a waveform) that make one place of the network, >= 1
    hidden_act: str = "silu"  # activation, a name that transformers.activations.ACT2FN knows
    hidden_dropout_prob: float | int = 0.0  # share of activations dropped in each block, in [0, 1)
    attention_head_size: int = 32  # numbers of an attention head, >= 1; a width that it does not divide takes the
    # common divisor
    hidden_sizes: list[int] | tuple[int, ...] = field(default_factory=lambda: [64, 128])  # unet: channels of a stage,
    # each stage after the first at half of the height and width
    depth: int = 2  # unet: residual blocks of a stage on the way down, and one more on the way up, >= 1
    attention_stages: list[int] | tuple[int, ...] = field(default_factory=list)  # unet: the stages, from 0, with
    # attention after each block
    middle_attention: bool = True  # unet: attention between the two blocks at the lowest resolution
    time_scale_shift: bool = True  # unet: time and class scale and shift a block's activations; false: they shift only
    num_norm_groups: int = 8  # unet: groups of the normalisation, >= 1; a width that it does not divide takes the
    # common divisor
    hidden_size: int = 192  # dit: width of a token, even, >= 4
    num_hidden_layers: int = 6  # dit: blocks, >= 1
    intermediate_ratio: float | int = 4.0  # dit: width of the feed-forward layers over hidden_size, > 0

    # What the network learns
    objective: Literal["flow_matching", "v_prediction", "epsilon", "edm"] = "flow_matching"  # its target
    time_mean: float | int = 0.0  # flow_matching: mean of the logit of the training times; edm: of the log noise level
    time_std: float | int = 1.0  # their standard deviation, > 0 (flow_matching, edm)
    num_train_timesteps: int = 1000  # v_prediction, epsilon: steps of the noising chain; the others: the time that the
    # network sees at pure noise, >= 2
    beta_schedule: Literal["linear", "scaled_linear", "squaredcos_cap_v2"] = "squaredcos_cap_v2"  # v_prediction,
    # epsilon: the noise that each step of the chain adds, by diffusers' name
    beta_start: float | int = 0.0001  # linear, scaled_linear: variance of the first step's noise, in (0, 1)
    beta_end: float | int = 0.02  # linear, scaled_linear: variance of the last step's noise, in (0, 1)
    sigma_data: float | int = 1.0  # edm: standard deviation of the data inside the model, > 0
    sigma_min: float | int = 0.002  # edm: lowest noise level that is sampled, > 0
    sigma_max: float | int = 80.0  # edm: highest noise level that is sampled

    # Sampling
    num_inference_steps: int = 20  # steps of `sample` unless its caller says otherwise, >= 1
    guidance_scale: float | int = 1.0  # classifier-free guidance of `sample`; 1 for none, >= 0
    guidance_interval: list[float | int] | tuple[float | int, ...] = (0.0, 1.0)  # the shares of noise, sigma / (alpha +
    # sigma), from and to which `sample` guides, in [0, 1]
    sample_scheduler: str | None = None  # class of diffusers.schedulers that `sample` takes where none is saved beside
    # the model; None for the objective's own

    def validate_fields(self) -> None:
        """Refuse what cannot work, each check on what the ones before it have let through."""
        self.check_data()
        self.check_network()
        self.check_objective()

    def check_data(self) -> None:
        """Refuse data of no shape, and statistics that do not fit them."""
        if self.data == "image":
            if not isinstance(self.image_size, int) and len(self.image_size) != 2:
                raise ValueError(f"image_size must be one integer or a list of height and width, got {self.image_size}")
            if self.num_channels < 1 or min(self.network_shape[1:]) < 1:
                raise ValueError(
                    f"num_channels and image_size must be at least 1, got {self.num_channels}, {self.image_size}"
                )
            if self.num_frames or self.num_mel_bins:
                raise ValueError("num_frames and num_mel_bins need data audio, got image")
        elif self.num_frames < 1 or self.num_mel_bins < 0:
            raise ValueError(
                "data audio needs num_frames of at least 1 and num_mel_bins of at least 0, got "
                f"{self.num_frames} and {self.num_mel_bins}"
            )
        for name in ("data_mean", "data_std"):
            value, count = getattr(self, name), self.num_statistics
            if not isinstance(value, int | float) and len(value) != count:
                raise ValueError(f"{name} must be one number or {count} (channels or mel bands), got {len(value)}")
        values = [self.data_std] if isinstance(self.data_std, int | float) else list(self.data_std)
        if not all(math.isfinite(value) and value > 0 for value in values):
            raise ValueError(f"data_std must be greater than 0, got {self.data_std}")

    def check_network(self) -> None:
        """Refuse sizes that no network can have, stages that do not fit the data, and unknown activations."""
        at_least = {
            "patch_size": 1, "attention_head_size": 1, "depth": 1, "num_norm_groups": 1, "hidden_size": 4,
            "num_hidden_layers": 1, "num_train_timesteps": 2, "num_inference_steps": 1, "guidance_scale": 0,
        }  # fmt: skip
        for name, least in at_least.items():
            if not getattr(self, name) >= least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
        check_interval(self.guidance_interval)
        for name in ("hidden_dropout_prob", "class_dropout_prob"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 0 and below 1, got {getattr(self, name)}")
        if self.hidden_act not in ACT2FN:
            raise ValueError(f"hidden_act must be one of {', '.join(sorted(ACT2FN))}, got {self.hidden_act!r}")
        if self.class_conditional and self.num_labels < 1:
            raise ValueError(f"class_conditional needs num_labels of at least 1, got {self.num_labels}")
        if self.hidden_size % 2 or not self.intermediate_ratio > 0:
            raise ValueError(
                "hidden_size must be even and intermediate_ratio greater than 0, got "
                f"{self.hidden_size} and {self.intermediate_ratio}"
            )
        if not self.hidden_sizes or min(self.hidden_sizes) < 2 or self.hidden_sizes[0] % 2:
            raise ValueError(
                f"hidden_sizes must be one number a stage, each at least 2, the first even, got {self.hidden_sizes}"
            )
        stages = len(self.hidden_sizes)
        if any(not 0 <= stage < stages for stage in self.attention_stages):
            raise ValueError(f"attention_stages must be among 0 to {stages - 1}, got {list(self.attention_stages)}")
        shrink = 2 ** (stages - 1) if self.backbone == "unet" else 1
        for side, patch in zip(self.network_shape[1:], self.patch_shape, strict=True):
            if side > 1 and side % (patch * shrink):
                raise ValueError(
                    f"the network divides {self.network_shape[1:]} by {self.patch_size} (patch_size)"
                    + (f", then by {shrink} (stages)" if shrink > 1 else "")
                    + ", which must divide it: change one of patch_size, hidden_sizes and the size of the data"
                )

    def check_objective(self) -> None:
        """Refuse noise levels that are none."""
        for name in ("time_std", "sigma_data", "sigma_min"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be greater than 0, got {getattr(self, name)}")
        if not self.sigma_max > self.sigma_min:
            raise ValueError(f"sigma_max must be greater than sigma_min {self.sigma_min}, got {self.sigma_max}")
        if not 0 < self.beta_start < self.beta_end < 1:
            raise ValueError(
                f"beta_start and beta_end must rise within 0..1, got {self.beta_start} and {self.beta_end}"
            )

    @property
    def is_waveform(self) -> bool:
        """Tell whether a row is a waveform, not an image or a spectrogram."""
        return self.data == "audio" and not self.num_mel_bins

    @property
    def row_shape(self) -> tuple[int, ...]:
        """Return the shape of one row of the input: (C, H, W), (num_frames,) or (num_mel_bins, num_frames)."""
        if self.data == "image":
            return self.network_shape
        return (self.num_mel_bins, self.num_frames) if self.num_mel_bins else (self.num_frames,)

    @property
    def network_shape(self) -> tuple[int, int, int]:
        """Return channels, height and width of what is noised: a spectrogram is a grey image, a waveform one of height
        1."""
        if self.data == "image":
            height, width = (self.image_size,) * 2 if isinstance(self.image_size, int) else self.image_size
            return self.num_channels, height, width
        return 1, max(self.num_mel_bins, 1), self.num_frames

    @property
    def patch_shape(self) -> tuple[int, int]:
        """Return height and width of a place of the network, in pixels."""
        return (1 if self.network_shape[1] == 1 else self.patch_size), self.patch_size

    @property
    def num_statistics(self) -> int:
        """Return how many numbers data_mean and data_std may hold: channels of an image, bands of a spectrogram."""
        return self.num_channels if self.data == "image" else max(self.num_mel_bins, 1)


def check_interval(interval: Sequence[float]) -> None:
    """Raise ValueError where this is no `guidance_interval`."""
    if len(interval) != 2 or not 0 <= interval[0] < interval[1] <= 1:
        raise ValueError(f"guidance_interval must be two shares of noise, rising within 0..1, got {list(interval)}")


__all__ = ["DiffusionConfig"]
