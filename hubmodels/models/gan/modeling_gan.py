"""A generator and a discriminator, what each is after, and what a trained generator can be asked.

Losses: non-saturating (Goodfellow et al. 2014, arXiv:1406.2661), hinge (Lim and Ye 2017, arXiv:1705.02894), Wasserstein
with a gradient penalty (Gulrajani et al. 2017, arXiv:1704.00028), and the relativistic pairing loss with zero-centred
gradient penalties (Jolicoeur-Martineau 2018, arXiv:1807.00734; Huang et al. 2024, arXiv:2501.05441). Penalties are lazy
(Karras et al. 2020, arXiv:1912.04958, appendix B), the share of augmented images adapts (arXiv:2006.06676).
"""

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import initialization as init
from transformers.modeling_utils import PreTrainedModel
from transformers.utils import ModelOutput

from .configuration_gan import GanConfig
from .modeling_gan_networks import Discriminator, Generator, augment, init_network
from .modeling_gan_shared import known_arguments

# B batch, N samples, L latent numbers, S steps

RANGE_TOLERANCE = 1e-3  # how far beyond 0..1 rounding may carry a pixel
SURE = 0.999  # of a discriminator that is right about almost every image
COLLAPSED = 0.1  # of the spread of real images: generated ones that vary by less are the same image


@dataclass
class GanOutput(ModelOutput):
    """Holds what a `GanModel` gives.

    Attributes:
        loss: scalar: what the player minimises; without a player in training the sum of both, in evaluation the
            discriminator's loss of the given images alone.
        scores: (B,): the discriminator's of the given images, larger where they look real to it.
        measures: in training, scalars that say how the game stands: real_score, fake_score, r1, r2, gradient_penalty
            (means over the batch; penalties only in the steps that have them), fake_spread (the standard deviation of
            generated images around their mean image over that of real ones; near 0 they are all alike) and
            augmentation_prob.
        hidden_states: what each stage of the discriminator gives, if asked for.
    """

    loss: Tensor | None = None
    scores: Tensor | None = None
    measures: dict[str, Tensor] | None = None
    hidden_states: tuple[Tensor, ...] | None = None


class GanPreTrainedModel(PreTrainedModel):
    """Loads, saves and initialises every GAN."""

    config: GanConfig
    base_model_prefix = "gan"
    main_input_name = "pixel_values"
    input_modalities = ("image",)
    accepts_loss_kwargs = False  # the loss is a mean over the batch: Trainer must scale it itself
    _no_split_modules = ["ResidualBlock"]  # noqa: RUF012

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Write every weight of `module`; what a checkpoint has loaded is left as it is."""
        init_network(module)
        if isinstance(module, GanModel):
            init.zeros_(module.num_forwards)
            init.constant_(module.augmentation_prob, self.config.augmentation_prob)


class GanModel(GanPreTrainedModel):
    """Two players. The training loop steps the discriminator, then the generator, on the same images.

    Raises:
        ValueError: images of another shape or type or outside of 0..1, classes that there are not, or labels for a
            model that knows none.
    """

    players = {"discriminator": "discriminator", "generator": "generator"}  # noqa: RUF012
    averaged = ("generator",)  # of the released weights; the discriminator is the last one

    def __init__(self, config: GanConfig) -> None:
        super().__init__(config)
        self.generator = Generator(config)
        self.discriminator = Discriminator(config)
        # Of the discriminator in training: decides about lazy penalties.
        self.register_buffer("num_forwards", torch.zeros((), dtype=torch.int64))
        self.register_buffer("augmentation_prob", torch.tensor(float(config.augmentation_prob)))
        self.post_init()

    @known_arguments()
    def forward(
        self,
        pixel_values: Tensor,
        labels: Tensor | None = None,
        player: str | None = None,
        latents: Tensor | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> GanOutput | tuple:
        """Compute the outputs, and the loss where targets are given.

        Args:
            pixel_values: real images (B, C, H, W) of 0..1.
            labels: their classes (B,), int64, which the generated ones have too; needed in training where the model is
                conditional.
            player: whose loss, `discriminator` or `generator`; both where None.
            latents: N(0, 1), (B, L), instead of drawing them.
            output_hidden_states: give what each stage of the discriminator makes of the images too.
            return_dict: a ModelOutput (True) or a tuple (False); the config's choice when None.

        Returns:
            See `GanOutput`. In evaluation without a player nothing is generated and nothing drawn.
        """
        self.check_images(pixel_values)
        labels = self.check_labels(labels, len(pixel_values), needed=self.training or player is not None)
        if player not in (None, *self.players):
            raise ValueError(f"player must be one of {', '.join(self.players)}, got {player!r}")
        gives_hidden_states = self.config.output_hidden_states if output_hidden_states is None else output_hidden_states
        scores: Any = None
        hidden_states: Any = None
        if (player is None and not self.training) or gives_hidden_states:
            scores, hidden_states = self.discriminator(pixel_values, labels)
        if player is None and not self.training:
            outputs = GanOutput(loss=self.real_loss(scores.float()).mean(), scores=scores)
        else:
            latents = self.draw_latents(len(pixel_values)) if latents is None else latents
            names = self.players if player is None else (player,)
            player_losses = [getattr(self, f"{name}_loss")(pixel_values, labels, latents) for name in names]
            measures = {name: value for _, some in player_losses for name, value in some.items()}
            outputs = GanOutput(loss=sum(loss for loss, _ in player_losses), scores=scores, measures=measures)
        outputs.hidden_states = tuple(hidden_states) if gives_hidden_states else None
        return outputs if (self.config.return_dict if return_dict is None else return_dict) else outputs.to_tuple()

    # ---------------------------------------------------------------- what the players are after

    def discriminator_loss(
        self, images: Tensor, labels: Tensor | None, latents: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the discriminator's loss with its penalties, scalar, and how the game stands."""
        config = self.config
        with torch.no_grad():
            generated = self.generator(latents, labels).to(images.dtype)
        due = bool(self.num_forwards % config.penalty_interval == 0)
        seen = [self.augment(images), self.augment(generated)]
        if due:  # in float32: a gradient of a gradient has no digits to lose
            with torch.autocast(images.device.type, enabled=False):
                loss, measures = self.penalized_loss([part.to(self.dtype) for part in seen], labels)
        else:
            real, fake = self.score_pair(seen, labels)
            loss, measures = self.pair_loss(real, fake).mean(), {}
            measures = {"real_score": real.mean(), "fake_score": fake.mean()}
            measures["certainty"] = self.certainty(real, fake)
        certainty = measures.pop("certainty")
        spreads = [part.float().var(0, unbiased=False).mean().sqrt() for part in (images, generated)]
        measures["fake_spread"] = spreads[1] / spreads[0].clamp_min(1e-6)
        if self.training:
            self.num_forwards += 1
            self.adapt(certainty, len(images))
        measures["augmentation_prob"] = self.augmentation_prob.clone()
        return loss, {name: value.detach() for name, value in measures.items()}

    def penalized_loss(self, seen: list[Tensor], labels: Tensor | None) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the discriminator's loss where a penalty is due, as many times as heavy as there are steps without
        one."""
        config = self.config
        seen = [part.detach().requires_grad_() for part in seen]
        with torch.enable_grad():
            real, fake = self.score_pair(seen, labels)
            measures = {"real_score": real.mean(), "fake_score": fake.mean(), "certainty": self.certainty(real, fake)}
            loss = self.pair_loss(real, fake).mean()
            weights = (("r1", config.r1_gamma / 2, real, seen[0]), ("r2", config.r2_gamma / 2, fake, seen[1]))
            for name, weight, scores, images in weights:
                if weight:
                    (slopes,) = torch.autograd.grad(scores.sum(), images, create_graph=True)
                    measures[name] = slopes.square().flatten(1).sum(1).mean()
                    loss = loss + config.penalty_interval * weight * measures[name]
            if config.loss == "wasserstein_gp" and config.gradient_penalty_weight:
                share = torch.rand(len(seen[0]), 1, 1, 1, device=seen[0].device, dtype=seen[0].dtype)
                between = torch.lerp(seen[1].detach(), seen[0].detach(), share).requires_grad_()
                (slopes,) = torch.autograd.grad(
                    self.discriminator(between, labels)[0].sum(), between, create_graph=True
                )
                norms = (slopes.square().flatten(1).sum(1) + 1e-12).sqrt()
                measures["gradient_penalty"] = (norms - 1).square().mean()
                weight = config.penalty_interval * config.gradient_penalty_weight
                loss = loss + weight * measures["gradient_penalty"]
        for name in ("r1", "r2", "gradient_penalty"):
            if name in measures and not measures[name].isfinite():
                raise ValueError(
                    f"the penalty {name} of the discriminator is {measures[name].item()}: lower learning_rate, or give "
                    "max_grad_norm a smaller value"
                )
        return loss, measures

    def generator_loss(
        self, images: Tensor, labels: Tensor | None, latents: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the generator's loss, scalar."""
        with frozen(self.discriminator):  # its own gradients are for its own turn
            fake, _ = self.discriminator(self.augment(self.generator(latents, labels)), labels)
        fake = fake.float()
        if self.config.loss == "relativistic":
            with torch.no_grad():
                real, _ = self.discriminator(self.augment(images), labels)
            return functional.softplus(real.float() - fake).mean(), {}
        if self.config.loss == "non_saturating":
            return functional.softplus(-fake).mean(), {}
        return -fake.mean(), {}

    def score_pair(self, seen: list[Tensor], labels: Tensor | None) -> list[Tensor]:
        """Return scores of real and of generated images, (B,) float32 each, in one pass."""
        labels = None if labels is None else labels.repeat(2)
        scores, _ = self.discriminator(torch.cat(seen), labels)
        return list(scores.float().chunk(2))

    def pair_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        """Return the discriminator's loss (B,) without penalties."""
        if self.config.loss == "relativistic":
            return functional.softplus(fake - real)
        if self.config.loss == "hinge":
            return functional.relu(1 - real) + functional.relu(1 + fake)
        if self.config.loss == "wasserstein_gp":
            return fake - real
        return functional.softplus(-real) + functional.softplus(fake)

    def real_loss(self, real: Tensor) -> Tensor:
        """Return the part (B,) of the discriminator's loss that real images alone have."""
        if self.config.loss == "hinge":
            return functional.relu(1 - real)
        return -real if self.config.loss == "wasserstein_gp" else functional.softplus(-real)

    # ---------------------------------------------------------------- augmentation

    def augment(self, images: Tensor) -> Tensor:
        """Return what the discriminator sees of images in training."""
        if not self.training or not (self.config.augmentation_prob or self.config.augmentation_target):
            return images
        return augment(images, self.config.augmentations, self.augmentation_prob)

    def certainty(self, real: Tensor, fake: Tensor) -> Tensor:
        """Return the mean sign of the scores of real images, with the relativistic loss of their lead over generated
        ones: 1 where the discriminator is right about all."""
        return (real - fake if self.config.loss == "relativistic" else real).sign().mean()

    @torch.no_grad()
    def adapt(self, certainty: Tensor, num_images: int) -> None:
        """Move the share of augmented images towards the target certainty, alike on all processes."""
        if not self.config.augmentation_target:
            return
        certainty, count = certainty.detach().clone(), num_images
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(certainty)
            certainty /= torch.distributed.get_world_size()
            count *= torch.distributed.get_world_size()
        step = (certainty - self.config.augmentation_target).sign() * count / self.config.augmentation_speed
        self.augmentation_prob.add_(step).clamp_(0, 1)

    def diagnose(self, measures: dict[str, float]) -> str | None:
        """Return one line where the logged values say that the game is lost: the training loop asks after each logged
        step.

        Args:
            measures: the entry of the log: `loss_discriminator`, `loss_generator`, `real_score`, `fake_score`, ...
        """
        loss, real, fake = (measures.get(name) for name in ("loss_discriminator", "real_score", "fake_score"))
        spread = measures.get("fake_spread")
        if spread is not None and spread < COLLAPSED:
            return (
                f"fake_spread is {spread:.2g}: the generated images are all alike; raise r1_gamma or r2_gamma, add "
                "augmentation_target 0.6, or start anew with a lower learning_rate"
            )
        if (
            loss is None or real is None or fake is None or self.config.loss == "wasserstein_gp"
        ):  # whose scores have no scale
            return None
        if loss < 1 - SURE and real > fake:
            return (
                f"the discriminator's loss is {loss:.2g}: it tells all images apart and the generator learns nothing; "
                "raise r1_gamma, add augmentation_target 0.6, or start anew with a lower learning_rate"
            )
        return None

    # ---------------------------------------------------------------- what a trained model can be asked

    @torch.no_grad()
    def sample(
        self,
        num_samples: int,
        labels: Tensor | list[int] | int | None = None,
        truncation: float | None = None,
        generator: torch.Generator | None = None,
        batch_size: int = 256,
    ) -> Tensor:
        """Return new images (num_samples, C, H, W) of 0..1.

        Args:
            num_samples: how many, >= 1.
            labels: the class of each, (num_samples,), or one for all; drawn evenly when None.
            truncation: latents are drawn from the normal distribution cut off at this many standard deviations, > 0:
                more typical images, and less different ones (Brock et al. 2019, arXiv:1809.11096, section 3.1); uncut
                at infinity; the config's when None.
            generator: the source of all random numbers, on any device; torch's own when None.
            batch_size: images in one pass of the network, >= 1; it does not change the result but for rounding.
        """
        if num_samples < 1 or batch_size < 1:
            raise ValueError(f"num_samples and batch_size must be at least 1, got {num_samples} and {batch_size}")
        truncation = self.config.truncation if truncation is None else truncation
        if truncation is not None and not truncation > 0:
            raise ValueError(f"truncation must be greater than 0, got {truncation}")
        latents = self.draw_latents(num_samples, generator, truncation)
        if labels is None and self.config.class_conditional:
            device = self.device if generator is None else generator.device
            labels = torch.randint(self.config.num_labels, (num_samples,), generator=generator, device=device)
        return self.decode(latents, self.given_labels(labels, num_samples), batch_size)

    @torch.no_grad()
    def interpolate(self, first: Tensor, last: Tensor, labels: Any = None, num_steps: int = 8) -> Tensor:
        """Return images (N, num_steps, C, H, W) on the way from latents (N, L) to others, along great circles (slerp),
        both ends included. `labels` as in `sample`; the first class when None."""
        if first.shape != last.shape or first.shape[1:] != (self.config.latent_size,) or num_steps < 2:
            raise ValueError(
                f"first and last must be latents (N, {self.config.latent_size}) and num_steps at least 2, got "
                f"{tuple(first.shape)}, {tuple(last.shape)} and {num_steps}"
            )
        N = len(first)
        share = torch.linspace(0, 1, num_steps, device=first.device).view(1, -1, 1)
        cosine = functional.cosine_similarity(first, last, dim=1).clamp(-1 + 1e-6, 1 - 1e-6)
        angle = cosine.acos().view(-1, 1, 1)
        ways = ((1 - share) * angle).sin() * first[:, None] + (share * angle).sin() * last[:, None]
        latents = (ways / angle.sin()).flatten(0, 1)  # (N * S, L)
        labels = self.given_labels(0 if labels is None and self.config.class_conditional else labels, N)
        labels = None if labels is None else labels.repeat_interleave(num_steps)
        return self.decode(latents, labels).unflatten(0, (N, num_steps))

    def invert(
        self,
        image: Tensor,
        labels: Tensor | list[int] | int | None = None,
        num_steps: int = 200,
        learning_rate: float = 0.05,
        num_starts: int = 8,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return the latents whose image is nearest to each given one, by Adam on the mean squared error from the best
        of several random starts.

        Args:
            image: (N, C, H, W) of 0..1.
            labels: as in `sample`; needed where the model is conditional.
            num_steps: of the optimisation, >= 1.
            learning_rate: its step.
            num_starts: random latents among which the best of each image begins, >= 1.
            generator: the source of the starts.

        Returns:
            Latents (N, L) and their images (N, C, H, W).
        """
        self.check_images(image)
        if num_steps < 1 or num_starts < 1:
            raise ValueError(f"num_steps and num_starts must be at least 1, got {num_steps} and {num_starts}")
        N = len(image)
        labels = self.check_labels(self.given_labels(labels, N), N, needed=True)
        training = self.training
        self.eval()
        try:
            starts = self.draw_latents(N * num_starts, generator)
            repeated = None if labels is None else labels.repeat_interleave(num_starts)
            drawn = self.decode(starts, repeated).unflatten(0, (N, num_starts))
            best = (drawn - image[:, None]).square().flatten(2).mean(2).argmin(1)
            latents = starts.unflatten(0, (N, num_starts))[torch.arange(N, device=starts.device), best]
            latents = latents.clone().requires_grad_()
            optimizer = torch.optim.Adam([latents], lr=learning_rate)
            with torch.enable_grad():
                for _ in range(num_steps):
                    errors = (self.generator(latents, labels) - image).square().flatten(1).mean(1)
                    (latents.grad,) = torch.autograd.grad(errors.sum(), latents)
                    optimizer.step()
            latents = latents.detach()
            return latents, self.decode(latents, labels)
        finally:
            self.train(training)

    @torch.no_grad()
    def discriminate(self, pixel_values: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the discriminator's scores (B,) of images (B, C, H, W), larger for those that look real to it."""
        self.check_images(pixel_values)
        return self.discriminator(pixel_values, self.check_labels(labels, len(pixel_values), needed=False))[0]

    # ---------------------------------------------------------------- inside

    def draw_latents(
        self, count: int, generator: torch.Generator | None = None, truncation: float | None = None
    ) -> Tensor:
        """Return (count, L), from the normal distribution, cut off at `truncation` unless that is None or infinite."""
        device = self.device if generator is None else generator.device
        shape = (count, self.config.latent_size)
        if truncation is None or math.isinf(truncation):
            latents = torch.randn(shape, generator=generator, device=device)
        else:  # by the inverse of the distribution function
            within = torch.special.erf(torch.tensor(truncation / 2**0.5, device=device))
            uniform = torch.rand(shape, generator=generator, device=device) * 2 - 1
            latents = torch.special.erfinv((uniform * within).clamp(-1 + 1e-7, 1 - 1e-7)) * 2**0.5
        return latents.to(self.device, self.dtype)

    @torch.no_grad()
    def decode(self, latents: Tensor, labels: Tensor | None, batch_size: int = 256) -> Tensor:
        """Return images of latents (N, L), in eval mode."""
        training = self.training
        self.eval()
        try:
            batches = []
            for start in range(0, len(latents), batch_size):
                part = slice(start, start + batch_size)
                batches.append(self.generator(latents[part], None if labels is None else labels[part]))
            return torch.cat(batches)
        finally:
            self.train(training)

    def given_labels(self, labels: Any, count: int) -> Tensor | None:
        """Return classes as a caller gives them, one for all or one each, as (count,)."""
        if labels is None:
            return self.check_labels(None, count, needed=True)
        labels = torch.as_tensor(labels, device=self.device)
        return self.check_labels(labels.expand(count) if labels.ndim == 0 else labels, count, needed=True)

    def check_images(self, images: Tensor) -> None:
        """Refuse what are no images of the model's shape in 0..1."""
        expected = self.config.image_shape
        if images.ndim != 4 or images.shape[1:] != expected or not images.is_floating_point():
            raise ValueError(
                f"pixel_values must be floating-point of shape (batch, {', '.join(map(str, expected))}), got "
                f"{images.dtype} of shape {tuple(images.shape)}; use the checkpoint's image processor"
            )
        low, high = torch.aminmax(images.detach())
        if not (low >= -RANGE_TOLERANCE and high <= 1 + RANGE_TOLERANCE):  # NaN is neither
            raise ValueError(
                f"pixel_values must be within 0..1, got {low.item():.4g} to {high.item():.4g}; use the checkpoint's "
                "image processor"
            )

    def check_labels(self, labels: Tensor | None, count: int, needed: bool) -> Tensor | None:
        """Return classes (count,), refused where they are none or the model knows none."""
        if not self.config.class_conditional:
            if labels is not None:
                raise ValueError("labels were given to a model without classes: leave them out (class_conditional)")
            return None
        if labels is None:
            if needed:
                raise ValueError(f"labels are needed: this model knows {self.config.num_labels} classes")
            return None
        if labels.shape != (count,) or labels.is_floating_point():
            raise ValueError(
                f"labels must be classes of shape ({count},), got {labels.dtype} of shape {tuple(labels.shape)}"
            )
        low, high = torch.aminmax(labels)
        if low < 0 or high >= self.config.num_labels:
            raise ValueError(
                f"labels must be 0 to {self.config.num_labels - 1}, got {int(low)} to {int(high)}: drop rows without a "
                "class"
            )
        return labels


@contextlib.contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Keep gradients from the weights of `module` inside the block; they flow only through them."""
    weights = [weight for weight in module.parameters() if weight.requires_grad]
    for weight in weights:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in weights:
            weight.requires_grad_(True)


__all__ = ["GanModel"]
