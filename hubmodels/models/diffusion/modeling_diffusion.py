"""Diffusion models of images and sound: noise the data, learn to take the noise away, sample by doing so from noise.

The processes and what the network learns of them stand in `modeling_diffusion_process`, the networks in
`modeling_diffusion_networks`, diffusers' schedulers in `modeling_diffusion_schedulers`, the steps from noise to samples
in `modeling_diffusion_sampling`. Here: the loss on random times, and what a trained model can be asked: `sample`,
`sample_trajectory`, `inpaint` (RePaint, Lugmayr et al. 2022, arXiv:2201.09865, algorithm 1 with jumps of one step),
`vary` (SDEdit, Meng et al. 2021, arXiv:2108.01073) and `denoise`, all with classifier-free guidance (Ho and Salimans
2022, arXiv:2207.12598, eq. 6, whose scale is ours less 1).
"""

import json
import math
import os
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_utils import PreTrainedModel
from transformers.utils import ModelOutput, cached_file

from .configuration_diffusion import DiffusionConfig
from .modeling_diffusion_networks import build_network, init_weights
from .modeling_diffusion_process import build_process, log_ratio
from .modeling_diffusion_sampling import Sampler, draw_seeds, gather, own_share, split
from .modeling_diffusion_schedulers import check_scheduler, make_scheduler
from .modeling_diffusion_shared import check_rows, known_arguments

# B batch, N samples, K fixed times of an evaluation; a row is what `config.row_shape` says

EVALUATION_TIMES = 4  # an evaluation's loss is that at so many fixed times, quantiles of the training times
SCHEDULER_FILE = "scheduler_config.json"  # diffusers' own name


@dataclass
class DiffusionOutput(ModelOutput):
    """Holds what a `DiffusionModel` gives.

    Attributes:
        loss: scalar: mean squared error of the prediction.
        row_loss: (B,), float32: the same of each row.
        prediction: what the network says of the objective's target: (B, *row), in evaluation without given times and
            noise (B, K, *row).
        hidden_states: what each stage or block gives, if asked for, (B, ...) or (B, K, ...) likewise.
    """

    loss: Tensor | None = None
    row_loss: Tensor | None = None
    prediction: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None


class DiffusionPreTrainedModel(PreTrainedModel):
    """Loading, saving and initialisation; the scheduler is saved beside the weights, as diffusers saves it."""

    config: DiffusionConfig
    base_model_prefix = "diffusion"
    main_input_name = "pixel_values"
    input_modalities = ("image", "audio")
    accepts_loss_kwargs = False  # the loss is a mean over the batch: Trainer must scale it itself
    _no_split_modules = ["ResidualBlock", "DitBlock"]  # noqa: RUF012

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Write every weight of `module`; what a checkpoint has loaded is left as it is."""
        init_weights(module)


class DiffusionModel(DiffusionPreTrainedModel):
    """The network, the loss that trains it, and sampling.

    Raises:
        ValueError: values of another shape or type or outside of their range, unknown classes.
    """

    def __init__(self, config: DiffusionConfig) -> None:
        super().__init__(config)
        self.network = build_network(config)
        self.process = build_process(config)
        self._scheduler: Any = None  # made when it is first asked for: diffusers takes seconds to import
        self.scheduler_values: dict[str, Any] | None = None  # of the checkpoint that the model was loaded from
        self.post_init()

    @known_arguments()
    def forward(
        self,
        pixel_values: Tensor | None = None,
        input_values: Tensor | None = None,
        labels: Tensor | None = None,
        noise: Tensor | None = None,
        timesteps: Tensor | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> DiffusionOutput | tuple:
        """Compute the outputs, and the loss where targets are given.

        Args:
            pixel_values: images (B, C, H, W) of 0..1.
            input_values: waveforms (B, T) of -1..1 or spectrograms (B, mel bands, T), instead of images.
            labels: classes (B,), int64, -1 for none; all none when None. A model without classes does not look at them.
            noise: N(0, 1), (B, *row) or (B, K, *row), instead of drawing it.
            timesteps: times (B,) or (B, K), instead of drawing them: 0..1 (flow_matching), steps of the chain from 0
                (epsilon, v_prediction), noise levels (edm).
            output_hidden_states: give what each stage gives too; the config's choice when None.
            return_dict: a ModelOutput (True) or a tuple (False); the config's choice when None.

        Returns:
            See `DiffusionOutput`. In training noise and times are random; in evaluation they are K fixed ones, the same
            for every row, so that losses can be compared.
        """
        values = self.check(pixel_values, input_values)
        labels = self.check_labels(labels, len(values), hide=self.training)
        B, row_shape = len(values), values.shape[1:]
        noise, timesteps = self.draw_missing(values, noise, timesteps)
        K = timesteps.shape[1:]
        if K:  # as rows of their own
            values, noise, timesteps = values.repeat_interleave(K[0], 0), noise.flatten(0, 1), timesteps.flatten()
            labels = labels if labels is None else labels.repeat_interleave(K[0], 0)
        clean, noise = self.to_network(values), self.reshape(noise.float())
        alpha, sigma = (part.view(-1, 1, 1, 1) for part in self.process.levels(timesteps.float()))
        level = alpha, sigma
        noisy = alpha * clean + sigma * noise
        output, hidden_states = self.predict(noisy, timesteps.float(), level, labels)
        target = self.process.target(clean, noise, noisy, level)
        row_loss = (output.float() - target).square().flatten(1).mean(1)
        prediction = output.reshape(-1, *row_shape)
        if K:
            row_loss = row_loss.view(B, *K).mean(1)
            prediction = prediction.unflatten(0, (B, *K))
            hidden_states = [hidden.unflatten(0, (B, *K)) for hidden in hidden_states]
        gives_hidden_states = self.config.output_hidden_states if output_hidden_states is None else output_hidden_states
        outputs = DiffusionOutput(
            loss=row_loss.mean(),
            row_loss=row_loss,
            prediction=prediction,
            hidden_states=tuple(hidden_states) if gives_hidden_states else None,
        )
        return outputs if (self.config.return_dict if return_dict is None else return_dict) else outputs.to_tuple()

    def draw_missing(self, values: Tensor, noise: Tensor | None, timesteps: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return noise (B, *row) or (B, K, *row) and times (B,) or (B, K), drawn where they are not given.

        Raises:
            ValueError: what is given does not fit the values or each other.
        """
        B, row_shape = len(values), values.shape[1:]
        if not self.training and noise is None and timesteps is None:
            noise, timesteps = self.fixed_draws(B, values.device)
        if timesteps is None:
            K = (noise.shape[1],) if noise is not None and noise.ndim > values.ndim else ()
            timesteps = self.process.times_from_normal(torch.randn((B, *K), device=values.device))
        if noise is None:
            noise = torch.randn((*timesteps.shape, *row_shape), device=values.device)
        if noise.shape != (*timesteps.shape, *row_shape) or len(timesteps) != B or timesteps.ndim not in (1, 2):
            raise ValueError(
                f"noise must be (batch, ...) like the input {tuple(values.shape)} and timesteps (batch,), or both with "
                f"draws as a second dimension; got {tuple(noise.shape)} and {tuple(timesteps.shape)}"
            )
        return noise, timesteps

    def predict(self, noisy: Tensor, times: Tensor, level: Any, labels: Tensor | None) -> tuple[Tensor, list[Tensor]]:
        """Return the network's output for x (B, C, H, W) at times (B,), whose alpha and sigma are `level`."""
        inputs = self.process.network_input(noisy, level).to(self.dtype)
        return self.network(inputs, self.process.network_times(times), labels)

    def fixed_draws(self, count: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return noise (B, K, *row) and times (B, K) of an evaluation, the same for every row."""
        K = EVALUATION_TIMES
        generator = torch.Generator().manual_seed(0)
        noise = torch.randn((K, *self.config.row_shape), generator=generator).to(device)
        quantiles = (torch.arange(K, dtype=torch.float64) + 0.5) / K
        times = self.process.times_from_normal(torch.special.ndtri(quantiles).float()).to(device)
        return noise.expand(count, *noise.shape), times.expand(count, K)

    # Checks and shapes

    def check(self, pixel_values: Tensor | None, input_values: Tensor | None) -> Tensor:
        """Return the one input that the config says. Raises ValueError for another, or for values that it cannot be."""
        name, other = "pixel_values", "input_values"
        values, unwanted = pixel_values, input_values
        if self.config.data == "audio":
            name, other, values, unwanted = other, name, unwanted, values
        if values is None or unwanted is not None:
            given = "both" if values is not None else "none" if unwanted is None else other
            raise ValueError(f"this diffusion model takes {name} and no {other}, got {given}")
        return self.check_values(values, name)

    def check_values(self, values: Tensor, name: str) -> Tensor:
        """Raise ValueError for another shape or type, and values that are not finite or outside of their range."""
        return check_rows(
            values, name, self.config.row_shape, self.bounds(), "the checkpoint's processor", self.training
        )

    def check_labels(self, labels: Tensor | None, count: int, hide: bool = False) -> Tensor | None:
        """Return the classes of `count` rows, (count,), -1 for none; None for a model without classes.

        Args:
            labels: as `forward` takes them.
            count: the number of rows.
            hide: turn a random share, class_dropout_prob, to none.
        """
        config, device = self.config, self.device
        if not config.class_conditional:
            return None
        if labels is None:
            labels = torch.full((count,), -1, device=device)
        if labels.shape != (count,) or labels.is_floating_point():
            raise ValueError(
                f"labels must be {count} classes, int64 (batch,), got {labels.dtype} of shape {tuple(labels.shape)}"
            )
        waits = self.training and labels.device.type != "cpu"
        if not (labels.device.type == "meta" or waits or torch.compiler.is_compiling() or not count):
            lowest, highest = int(labels.min()), int(labels.max())
            least = -1 if config.class_dropout_prob else 0
            if lowest < least or highest >= config.num_labels:
                none = " or -1 for none" if least < 0 else "; this model always needs one (class_dropout_prob is 0)"
                raise ValueError(
                    f"labels must be classes 0 to {config.num_labels - 1}{none}, got {lowest} to {highest}"
                )
        labels = labels.to(device)
        if hide and config.class_dropout_prob:
            hidden = torch.rand(count, device=device) < config.class_dropout_prob
            labels = labels.masked_fill(hidden, -1)
        return labels

    def bounds(self) -> tuple[int, int] | None:
        """Return the range of the values; None for spectrograms, which have none."""
        return (0, 1) if self.config.data == "image" else (-1, 1) if self.config.is_waveform else None

    def reshape(self, rows: Tensor) -> Tensor:
        """Map (B, *row) -> (B, C, H, W)."""
        return rows.reshape(-1, *self.config.network_shape)

    def statistics(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return data_mean and data_std, to be used on (B, C, H, W)."""
        shape = (1, -1, 1, 1) if self.config.data == "image" else (1, 1, -1, 1)
        values = (self.config.data_mean, self.config.data_std)
        return tuple(torch.tensor(value, dtype=torch.float32, device=device).view(shape) for value in values)

    def to_network(self, values: Tensor) -> Tensor:
        """Map values of the data (B, *row) -> (B, C, H, W) float32 of about mean 0 and standard deviation 1."""
        mean, std = self.statistics(values.device)
        return (self.reshape(values.float()) - mean) / std

    def to_values(self, clean: Tensor) -> Tensor:
        """Return the inverse of `to_network`, within the range of the data."""
        mean, std = self.statistics(clean.device)
        values = (clean * std + mean).reshape(-1, *self.config.row_shape)
        bounds = self.bounds()
        return values.clamp(*bounds) if bounds else values

    # The scheduler

    @property
    def scheduler(self) -> Any:
        """Return the scheduler that `sample` takes when it is given none: the one saved beside the model, or else the
        objective's own. Another one of diffusers can be put in its place; `save_pretrained` saves it."""
        if self._scheduler is None:
            self._scheduler = self.read_scheduler() or make_scheduler(self.config)
        return self._scheduler

    @scheduler.setter
    def scheduler(self, scheduler: Any) -> None:
        scheduler = make_scheduler(self.config, scheduler) if isinstance(scheduler, str) else scheduler
        check_scheduler(scheduler)
        self._scheduler = scheduler

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike, *args: Any, **kwargs: Any) -> Any:
        """Load a model, and what the scheduler beside it says."""
        loaded = super().from_pretrained(pretrained_model_name_or_path, *args, **kwargs)
        model = loaded[0] if isinstance(loaded, tuple) else loaded  # with output_loading_info
        names = ("cache_dir", "force_download", "local_files_only", "token", "revision", "subfolder")
        options = {name: kwargs[name] for name in names if kwargs.get(name) is not None}
        path = cached_file(
            pretrained_model_name_or_path, SCHEDULER_FILE, _raise_exceptions_for_missing_entries=False, **options
        )
        if path is not None:
            with open(path, encoding="utf-8") as file:
                model.scheduler_values = json.load(file)
        return loaded

    def read_scheduler(self) -> Any:
        """Return the scheduler that was saved beside the model; None where there is none."""
        if self.scheduler_values is None:
            return None
        scheduler = make_scheduler(self.config, self.scheduler_values.get("_class_name"))  # refuses what is none
        return type(scheduler).from_config(self.scheduler_values)

    def save_pretrained(self, save_directory: str | os.PathLike, *args: Any, **kwargs: Any) -> None:
        """Save the model, and beside it the scheduler."""
        super().save_pretrained(save_directory, *args, **kwargs)
        if kwargs.get("is_main_process", True):
            self.scheduler.save_pretrained(save_directory)

    # What a trained model can be asked: in evaluation mode, without gradients

    @torch.no_grad()
    def denoise(
        self,
        x: Tensor,
        alpha: float,
        sigma: float,
        labels: Tensor | None = None,
        guidance_scale: float = 1.0,
        guidance_interval: tuple[float, float] = (0.0, 1.0),
    ) -> Tensor:
        """Return the values that x = alpha * values + sigma * noise most likely stands for, inside the model's scale.

        Args:
            x: (B, C, H, W), float32, see `to_network`.
            alpha, sigma: of any process; x is brought to the model's own.
            labels: classes (B,), -1 for none; None for a model without classes.
            guidance_scale: how far to go from the prediction without a class to the one with it: 1 is the latter.
            guidance_interval: the shares of noise, sigma / (alpha + sigma), from and to which `guidance_scale` holds;
                it is 1 outside (Kynkäänniemi et al. 2024, arXiv:2404.07724).
        """
        low, high = guidance_interval
        guided = guidance_scale != 1 and labels is not None and low <= sigma / (alpha + sigma) <= high
        ratio = log_ratio(torch.tensor(float(alpha)), torch.tensor(float(sigma)))
        time = self.process.times_at(ratio)
        own_alpha, own_sigma = self.process.levels(time)
        x = x * float(torch.hypot(own_alpha, own_sigma) / math.hypot(alpha, sigma))
        level = own_alpha.to(x.device), own_sigma.to(x.device)
        times = time.to(x.device).expand(len(x))
        output = self.predict(x, times, level, labels)[0].float()
        if guided:
            without = self.predict(x, times, level, torch.full_like(labels, -1))[0].float()
            output = torch.lerp(without, output, float(guidance_scale))
        return self.process.denoised(output, x, level)

    def sample(
        self,
        num_samples: int,
        labels: Tensor | list[int] | int | None = None,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        guidance_interval: tuple[float, float] | None = None,
        scheduler: Any = None,
        generator: torch.Generator | None = None,
        batch_size: int = 256,
        progress_bar: bool = False,
        distributed: bool = False,
    ) -> Tensor:
        """Return new images (num_samples, C, H, W) of 0..1, waveforms (num_samples, T) of -1..1, or spectrograms.

        Args:
            num_samples: how many, >= 1.
            labels: the class of each, (num_samples,), or one for all; -1 for none; drawn evenly when None.
            num_inference_steps: steps of the scheduler, >= 1; the config's when None.
            guidance_scale: >= 0, see `denoise`; the config's when None. Other values than 1 cost a second pass.
            guidance_interval: two numbers that rise within 0..1, see `denoise`; the config's when None.
            scheduler: a scheduler of diffusers, or the name of its class; the model's own when None.
            generator: the source of all random numbers, on any device; torch's own when None.
            batch_size: rows in one pass of the network, >= 1. Every sample has random numbers of its own, so that the
                result does not depend on it but for rounding.
            progress_bar: show one over the steps.
            distributed: split the samples over the processes of a launch (`accelerate launch`, torchrun). Every process
                calls this, and every one gets all samples, those that one process would draw.

        Raises:
            ValueError: no such class, steps, guidance or scheduler.
        """
        if num_samples < 1 or batch_size < 1:
            raise ValueError(f"num_samples and batch_size must be at least 1, got {num_samples} and {batch_size}")
        run = Sampler(self, num_inference_steps, guidance_scale, guidance_interval, scheduler, progress_bar)
        labels, seeds = self.draw_labels(labels, num_samples, generator), draw_seeds(num_samples, generator)
        if not distributed:
            batches = [run.from_noise(*part) for part in split(batch_size, labels, seeds)]
            return self.to_values(torch.cat(batches))
        labels, seeds = own_share(labels, seeds)
        batches = [run.from_noise(*part) for part in split(batch_size, labels, seeds)]
        drawn = torch.cat(batches) if batches else torch.empty(0, *self.config.network_shape, device=self.device)
        return gather(self.to_values(drawn))

    def sample_trajectory(
        self,
        num_samples: int,
        num_states: int = 8,
        labels: Tensor | list[int] | int | None = None,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        guidance_interval: tuple[float, float] | None = None,
        scheduler: Any = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return how noise becomes samples: (num_samples, num_states, *row), the noise first, the sample last, evenly
        spread over the steps, each at the scale of the data. The other arguments are those of `sample`."""
        if num_samples < 1 or num_states < 2:
            raise ValueError(f"num_samples must be at least 1 and num_states 2, got {num_samples} and {num_states}")
        run = Sampler(self, num_inference_steps, guidance_scale, guidance_interval, scheduler, keep=True)
        labels, seeds = self.draw_labels(labels, num_samples, generator), draw_seeds(num_samples, generator)
        run.from_noise(labels, seeds)
        chosen = torch.linspace(0, len(run.states) - 1, num_states).round().long().tolist()
        return torch.stack([self.to_values(run.states[index]) for index in chosen], dim=1)

    def inpaint(
        self,
        image: Tensor,
        mask: Tensor,
        labels: Tensor | list[int] | int | None = None,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        guidance_interval: tuple[float, float] | None = None,
        scheduler: Any = None,
        generator: torch.Generator | None = None,
        batch_size: int = 256,
        progress_bar: bool = False,
        num_resamples: int = 5,
    ) -> Tensor:
        """Return images (or audio) whose masked part is new and whose other part is the given one.

        Args:
            image: values of the data (N, *row).
            mask: 1 where to paint, 0 where to keep, as diffusers has it: (N, *row) or what broadcasts to it.
            labels: the class of each, (N,), or one for all; none when None.
            num_resamples: how often each step is taken, >= 1: with noise added again in between, the new part comes to
                fit the given one.

        The other arguments are those of `sample`. Raises ValueError for what does not fit.
        """
        if num_resamples < 1:
            raise ValueError(f"num_resamples must be at least 1, got {num_resamples}")
        image = self.check_values(image, "image").to(self.device)
        mask = mask.to(self.device, torch.float32)
        try:
            mask = mask.expand(image.shape)
        except RuntimeError:
            raise ValueError(f"mask must fit the image's shape {tuple(image.shape)}, got {tuple(mask.shape)}") from None
        if mask.numel() and not 0 <= float(mask.min()) <= float(mask.max()) <= 1:
            raise ValueError(f"mask must lie in 0..1, got {float(mask.min()):g} to {float(mask.max()):g}")
        run = Sampler(self, num_inference_steps, guidance_scale, guidance_interval, scheduler, progress_bar)
        labels, seeds = self.given_labels(labels, len(image)), draw_seeds(len(image), generator)
        known, mask = self.to_network(image), self.reshape(mask)
        batches = [
            run.from_noise(part_labels, part_seeds, part_known, part_mask, num_resamples)
            for part_labels, part_seeds, part_known, part_mask in split(batch_size, labels, seeds, known, mask)
        ]
        return self.to_values(torch.cat(batches))

    def vary(
        self,
        image: Tensor,
        strength: float = 0.5,
        labels: Tensor | list[int] | int | None = None,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        guidance_interval: tuple[float, float] | None = None,
        scheduler: Any = None,
        generator: torch.Generator | None = None,
        batch_size: int = 256,
        progress_bar: bool = False,
    ) -> Tensor:
        """Return variations of images (or audio): noised for a share of the steps, then sampled from there.

        Args:
            image: values of the data (N, *row).
            strength: that share, 0..1: 0 gives the image itself, 1 leaves next to nothing of it.
            labels: the class of each, (N,), or one for all; none when None.

        The other arguments are those of `sample`. Raises ValueError for what does not fit.
        """
        if not 0 <= strength <= 1:
            raise ValueError(f"strength must lie in 0..1, got {strength}")
        image = self.check_values(image, "image").to(self.device)
        run = Sampler(self, num_inference_steps, guidance_scale, guidance_interval, scheduler, progress_bar)
        labels, seeds = self.given_labels(labels, len(image)), draw_seeds(len(image), generator)
        clean = self.to_network(image)
        batches = [
            run.from_image(part_labels, part_seeds, part_clean, strength)
            for part_labels, part_seeds, part_clean in split(batch_size, labels, seeds, clean)
        ]
        return self.to_values(torch.cat(batches))

    def draw_labels(self, labels: Any, count: int, generator: torch.Generator | None) -> Tensor | None:
        """Return the classes of `count` samples, drawn evenly where none are given; None for a model without
        classes."""
        if labels is None and self.config.class_conditional:
            device = generator.device if generator is not None else "cpu"
            labels = torch.randint(self.config.num_labels, (count,), generator=generator, device=device)
        return self.given_labels(labels, count)

    def given_labels(self, labels: Any, count: int) -> Tensor | None:
        """Return the classes of `count` rows from one for all or one each."""
        if labels is None:
            return self.check_labels(None, count)
        if not self.config.class_conditional:
            raise ValueError("this diffusion model has no classes: leave labels out")
        labels = torch.as_tensor(labels)
        return self.check_labels(labels.expand(count) if labels.ndim == 0 else labels, count)


__all__ = [
    "DiffusionConfig",
    "DiffusionModel",
    "DiffusionOutput",
    "DiffusionPreTrainedModel",
]
