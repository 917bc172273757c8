"""Autoencoders as configs of one model: plain (Hinton and Salakhutdinov 2006), denoising (Vincent et al. 2008),
variational (Kingma and Welling 2013, arXiv:1312.6114) with the bounds of beta-VAE, IWAE (Burda et al. 2015,
arXiv:1509.00519), free bits (Kingma et al. 2016, arXiv:1606.04934, appendix C.8) and sigma-VAE (Rybkin et al. 2020,
arXiv:2006.13202), and vector-quantised (van den Oord et al. 2017, arXiv:1711.00937) or finite scalar quantisation
(Mentzer et al. 2023, arXiv:2309.15505).

Departs from the papers: every likelihood goes with every kind; the loss is the mean over a row's values, so that the
learning rate does not depend on the size of the images; the importance-weighted bound takes beta as the weight of
log p(z) - log q(z|x).
"""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from transformers.modeling_outputs import ImageSuperResolutionOutput

from .configuration_autoencoder import AutoencoderConfig
from .modeling_autoencoder_base import AutoencoderOutput, AutoencoderPreTrainedModel
from .modeling_autoencoder_latents import (
    EmaCodebook,
    FiniteScalarQuantizer,
    GaussianMixture,
    draw_latents,
    kl_terms,
    log_mean_exp,
    sampled_kl,
    split_moments,
)
from .modeling_autoencoder_layers import KlWeight, Likelihood, add_noise, build_networks
from .modeling_autoencoder_shared import check_rows, evaluation, known_arguments

# B batch, C channels, H height, W width, D latent_size, L numbers of a whole code, K importance samples


class AutoencoderModel(AutoencoderPreTrainedModel):
    """Encoder, code, decoder and the loss that trains them; what a trained one can be asked stands below `forward`.

    Raises:
        ValueError: values of another shape or type, images outside of 0..1, or values that are not finite.
    """

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__(config)
        self.encoder, self.decoder = build_networks(config)
        self.likelihood = Likelihood(config)
        # Any: the kind decides which of them there are, and `require` asks.
        self.kl_weight: Any = KlWeight(config) if config.kind == "variational" else None
        self.quantizer: Any = None
        self.prior: Any = None
        if config.kind == "vector_quantized":
            self.quantizer = EmaCodebook(config) if config.quantizer == "ema" else FiniteScalarQuantizer(config)
        if config.num_mixture_components:
            self.prior = GaussianMixture(config.num_mixture_components, math.prod(config.latent_shape))
        self.num_values = math.prod(config.row_shape)
        self.post_init()

    @known_arguments()
    def forward(
        self,
        pixel_values: Tensor | None = None,
        numeric_features: Tensor | None = None,
        target_values: Tensor | None = None,
        labels: Tensor | None = None,
        noise: Tensor | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> AutoencoderOutput | tuple:
        """Compute the outputs, and the loss where targets are given.

        Args:
            pixel_values: images (B, C, H, W) of 0..1.
            numeric_features: rows of a table (B, num_numeric_features), instead of images.
            target_values: what to reconstruct, of the same shape; the input itself when None.
            labels: classes that travel with the rows of a batch; an autoencoder does not look at them.
            noise: instead of drawing it. variational: N(0, 1), (B, *latent_shape), or (B, K, *latent_shape) for the
                importance-weighted bound of K samples; in evaluation the mean is decoded when it is None. denoising:
                what to add to the input, of its shape.
            output_hidden_states: give what each stage gives too; the config's choice when None.
            return_dict: a ModelOutput (True) or a tuple (False); the config's choice when None.

        Returns:
            See `AutoencoderOutput`. A denoising autoencoder in evaluation takes its input as the noisy values: it has a
            loss only where `target_values` are given.
        """
        config, values = self.config, self.check(pixel_values, numeric_features)
        values, targets, has_loss = self.prepare(values, target_values, noise)
        encoded, hidden_states = self.encoder(values)
        terms: dict[str, Tensor] = {}  # of the output
        num_samples = 0  # of the importance-weighted bound; 0 where there is none
        if config.kind == "variational":
            mean, log_variance = split_moments(encoded)
            noise = self.draw_noise(mean) if noise is None and self.training else noise
            num_samples = noise.shape[1] if noise is not None and noise.ndim > mean.ndim else 0
            drawn = draw_latents(mean, log_variance, noise)  # (B, *latent_shape) or (B, K, *latent_shape)
            latents, decoded_latents = mean.to(encoded.dtype), drawn.to(encoded.dtype)
            terms["row_kl"] = kl_terms(mean, log_variance).flatten(1).sum(1)  # (B,)
            terms["kl"] = terms["row_kl"].mean()
        elif config.kind == "vector_quantized":
            latents, terms["codes"], commitment = self.quantizer(self.to_places(encoded))
            if commitment is not None:
                terms["commitment_loss"] = commitment
            decoded_latents = latents
        else:
            latents = decoded_latents = encoded
        decoded, maps = self.decoder(decoded_latents.flatten(0, 1) if num_samples else decoded_latents)
        if has_loss:
            divergence = sampled_kl(drawn, log_variance, noise) if num_samples else None  # (B, K)
            terms |= self.losses(decoded, targets, divergence, terms, encoded)
        reconstruction = self.to_values(decoded)
        if num_samples:
            reconstruction = reconstruction.unflatten(0, (-1, num_samples)).mean(1)
            maps = [hidden.unflatten(0, (-1, num_samples)) for hidden in maps]
        gives_hidden_states = config.output_hidden_states if output_hidden_states is None else output_hidden_states
        outputs = AutoencoderOutput(
            latents=latents,
            pooler_output=latents.flatten(1),
            reconstruction=reconstruction,
            hidden_states=(*hidden_states, *maps) if gives_hidden_states else None,
            **terms,
        )
        return outputs if (config.return_dict if return_dict is None else return_dict) else outputs.to_tuple()

    def prepare(
        self, values: Tensor, target_values: Tensor | None, noise: Tensor | None
    ) -> tuple[Tensor, Tensor, bool]:
        """Return the input, noisy where it is to be, its targets, and whether there is a loss."""
        is_denoising = self.config.kind == "denoising"
        if target_values is not None:
            targets = self.check_values(target_values, "target_values")
            if targets.shape != values.shape:
                raise ValueError(
                    f"target_values must have the input's shape {tuple(values.shape)}, got {tuple(targets.shape)}"
                )
        else:
            targets = values
        if is_denoising and noise is not None:
            noisy = values + noise
            return noisy if self.config.num_numeric_features else noisy.clamp(0, 1), targets, True
        if is_denoising and self.training and target_values is None:
            values = self.add_noise(values)
        return values, targets, target_values is not None or self.training or not is_denoising

    def draw_noise(self, mean: Tensor) -> Tensor:
        """Return N(0, 1) of the shape of the codes (B, ...), or for K importance samples a row (B, K, ...)."""
        K = self.config.num_importance_samples
        shape = (len(mean), K, *mean.shape[1:]) if K > 1 else mean.shape
        return torch.randn(shape, device=mean.device)

    def losses(
        self, decoded: Tensor, targets: Tensor, divergence: Tensor | None, terms: dict[str, Tensor], encoded: Tensor
    ) -> dict[str, Tensor]:
        """Return the loss and the reconstruction's, see `AutoencoderOutput`.

        Args:
            decoded: what the decoder gives, of one code a row or of each sample's, (B * K, ...).
            targets: (B, *row).
            divergence: (B, K), of the samples of the importance-weighted bound; None where there is none.
            terms: what the output has so far.
            encoded: what the encoder gives.
        """
        if divergence is None:
            row_loss = self.likelihood(decoded, targets)  # (B,)
            loss = self.total_loss(row_loss, terms, encoded)
        else:
            K = divergence.shape[1]
            sample_loss = self.likelihood(decoded, targets.repeat_interleave(K, dim=0)).view(-1, K)  # (B, K)
            loss, row_loss = self.sampled_loss(sample_loss, divergence), sample_loss.mean(1)
        return {"loss": loss, "row_reconstruction_loss": row_loss, "reconstruction_loss": row_loss.mean()}

    def sampled_loss(self, row_loss: Tensor, divergence: Tensor) -> Tensor:
        """Compute the importance-weighted bound a number, from each sample's two terms in nats, (B, K)."""
        bound = log_mean_exp(-row_loss - self.kl_weight() * divergence)  # (B,)
        return -bound.mean() / self.num_values

    def total_loss(self, row_loss: Tensor, terms: dict[str, Tensor], encoded: Tensor) -> Tensor:
        """Return the loss of one code a row, see `AutoencoderOutput`."""
        loss = row_loss.mean()
        if self.config.kind == "variational":
            kl = terms["kl"]
            if self.config.free_bits:
                # Each number's mean over the batch, as in the paper: a row may cost less where others cost more.
                kl = kl_terms(*split_moments(encoded)).mean(0).clamp(min=self.config.free_bits).sum()
            loss = loss + self.kl_weight() * kl
        loss = loss / self.num_values
        if "commitment_loss" in terms:
            loss = loss + self.config.commitment_weight * terms["commitment_loss"]
        return loss

    # Checks and shapes

    def check(self, pixel_values: Tensor | None, numeric_features: Tensor | None) -> Tensor:
        """Return the one input that the config says. Raises ValueError for another, or for values that it cannot be."""
        name, other = "pixel_values", "numeric_features"
        values, unwanted = pixel_values, numeric_features
        if self.config.num_numeric_features:
            name, other, values, unwanted = other, name, unwanted, values
        if values is None or unwanted is not None:
            given = "both" if values is not None else "none" if unwanted is None else other
            raise ValueError(f"this autoencoder takes {name} and no {other}, got {given}")
        return self.check_values(values, name)

    def check_values(self, values: Tensor, name: str) -> Tensor:
        """Raise ValueError for another shape or type, values that are not finite, and images outside of 0..1."""
        bounds = None if self.config.num_numeric_features else (0, 1)
        remedy = "an image processor with do_rescale and without do_normalize"
        return check_rows(values, name, self.config.row_shape, bounds, remedy, self.training)

    def to_places(self, encoded: Tensor) -> Tensor:
        """Return what the encoder gives for discrete codes, (B, D * places) or (B, D, H, W), as (B, D, places...)."""
        return encoded.view(-1, *self.config.latent_shape)

    def to_values(self, decoded: Tensor) -> Tensor:
        """Return what the decoder gives as values like the input: images within 0..1."""
        values = self.likelihood.mean(decoded).view(-1, *self.config.row_shape)
        return values if self.config.num_numeric_features else values.clamp(0, 1)

    # What a trained autoencoder can be asked: in evaluation mode, without gradients

    @torch.no_grad()
    def encode(self, pixel_values: Tensor | None = None, numeric_features: Tensor | None = None) -> Tensor:
        """Return the codes (B, *latent_shape) of images or rows of a table, see `forward`; nothing is drawn at
        random."""
        with evaluation(self):
            return self.codes_of(self.continuous(self.check(pixel_values, numeric_features)))

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Map codes (B, *latent_shape) -> images (B, C, H, W) of 0..1, or rows of a table. Raises ValueError for
        another shape."""
        shape = self.config.latent_shape
        if latents.shape[1:] != shape:
            raise ValueError(
                f"latents must have the shape (batch, {', '.join(map(str, shape))}), got {tuple(latents.shape)}"
            )
        with evaluation(self):
            return self.to_values(self.decoder(latents.to(self.dtype))[0])

    @torch.no_grad()
    def encode_codes(self, pixel_values: Tensor | None = None, numeric_features: Tensor | None = None) -> Tensor:
        """Return the discrete codes (B, places...), int64. Raises ValueError for another kind than vector_quantized."""
        self.require("vector_quantized", "encode_codes")
        with evaluation(self):
            return self.quantizer(self.continuous(self.check(pixel_values, numeric_features)))[1]

    def decode_codes(self, codes: Tensor) -> Tensor:
        """Map discrete codes (B, places...) -> images or rows. Raises ValueError for another kind, shape or codes that
        are not 0 to num_codes - 1."""
        self.require("vector_quantized", "decode_codes")
        shape, N = self.config.latent_shape[1:], self.config.num_codes
        if codes.shape[1:] != shape or (codes.numel() and not 0 <= int(codes.min()) <= int(codes.max()) < N):
            raise ValueError(
                f"codes must be 0 to {N - 1}, of shape (batch, {', '.join(map(str, shape))}), got {tuple(codes.shape)}"
            )
        return self.decode(self.quantizer.lookup(codes))

    @property
    def has_fitted_prior(self) -> bool:
        """Tell whether `fit_after_training` has fitted a distribution of the codes."""
        return self.prior is not None and int(self.prior.num_rows) > 0

    @torch.no_grad()
    def sample(
        self,
        num_samples: int,
        generator: torch.Generator | None = None,
        batch_size: int = 256,
        prior: str | None = None,
    ) -> Tensor:
        """Return new images (num_samples, C, H, W) of 0..1, or rows of a table: the decoder's means for codes from a
        prior.

        Args:
            num_samples: how many, >= 1.
            generator: the source of all random numbers, on the model's device; torch's own when None.
            batch_size: rows in one pass of the decoder, >= 1; the result does not depend on it but for rounding.
            prior: normal (of a variational autoencoder), or fitted: the distribution of the training codes; None for
                the fitted one where there is one, else the normal one.

        Raises:
            ValueError: no such prior.
        """
        if num_samples < 1 or batch_size < 1:
            raise ValueError(f"num_samples and batch_size must be at least 1, got {num_samples} and {batch_size}")
        if prior not in (None, "normal", "fitted"):
            raise ValueError(f"prior must be normal or fitted, got {prior!r}")
        if prior == "normal" or not self.has_fitted_prior:
            if prior == "fitted" or self.config.kind != "variational":
                lack = "no fitted prior" if prior == "fitted" else f"no normal prior: its kind is {self.config.kind}"
                raise ValueError(
                    f"this autoencoder has {lack}; train it with num_mixture_components above 0, or call "
                    "fit_after_training"
                )
            shape = (num_samples, *self.config.latent_shape)
            latents = torch.randn(shape, generator=generator, device=self.device)
        else:
            latents = self.prior.sample(num_samples, generator).reshape(-1, *self.config.latent_shape)
            with evaluation(self):
                latents = self.codes_of(latents)
        return torch.cat([self.decode(part) for part in latents.split(batch_size)])

    @torch.no_grad()
    def interpolate(self, a: Tensor, b: Tensor, num_steps: int = 8) -> Tensor:
        """Return the way from inputs `a` to inputs `b`, both (B, *row), along a straight line between their codes
        (before discrete ones are rounded): (B, num_steps, *row), both ends' reconstructions included."""
        if num_steps < 2:
            raise ValueError(f"num_steps must be at least 2, got {num_steps}")
        if a.shape != b.shape:
            raise ValueError(f"a and b must have the same shape, got {tuple(a.shape)} and {tuple(b.shape)}")
        with evaluation(self):
            ends = [self.continuous(self.check_values(end, name)) for end, name in ((a, "a"), (b, "b"))]
            shares = torch.linspace(0, 1, num_steps, device=ends[0].device, dtype=ends[0].dtype)
            ways = [self.decode(self.codes_of(torch.lerp(*ends, share))) for share in shares]
        return torch.stack(ways, dim=1)

    @torch.no_grad()
    def elbo(self, values: Tensor, num_samples: int = 1, generator: torch.Generator | None = None) -> Tensor:
        """Return the evidence lower bound of each row (B,), in nats: the mean over draws of log p(x|z), less the KL
        divergence (arXiv:1312.6114, eq. 7). `values` are images or rows of a table. Raises ValueError for another
        kind."""
        return self.evidence(values, num_samples, generator, 8)[1]

    @torch.no_grad()
    def log_likelihood(
        self,
        values: Tensor,
        num_importance_samples: int = 1,
        generator: torch.Generator | None = None,
        samples_per_pass: int = 8,
    ) -> Tensor:
        """Compute log p(x) of each row (B,), in nats, by importance sampling from q(z|x): a lower bound in expectation,
        which rises with the samples to the truth (arXiv:1509.00519, theorem 1). Of likelihood bernoulli it is a density
        only for black and white pixels.

        Args:
            values: images (B, C, H, W) or rows of a table.
            num_importance_samples: draws of a row, >= 1.
            generator: the source of all random numbers, on the model's device.
            samples_per_pass: draws of a row that are decoded at once, >= 1: memory against speed.

        Raises:
            ValueError: the kind is not variational.
        """
        return self.evidence(values, num_importance_samples, generator, samples_per_pass)[0]

    def evidence(
        self, values: Tensor, num_samples: int, generator: torch.Generator | None, samples_per_pass: int
    ) -> tuple[Tensor, Tensor]:
        """Return the importance-weighted bound and the ELBO of each row, from the same draws."""
        self.require("variational", "the likelihood")
        if num_samples < 1 or samples_per_pass < 1:
            raise ValueError(f"samples must be at least 1, got {num_samples} and {samples_per_pass} a pass")
        name = "numeric_features" if self.config.num_numeric_features else "pixel_values"
        with evaluation(self):
            mean, log_variance = split_moments(self.encoder(self.check_values(values, name))[0])
            log_weights, log_p = [], 0.0
            for start in range(0, num_samples, samples_per_pass):
                K = min(samples_per_pass, num_samples - start)
                noise = torch.randn((K, *mean.shape), generator=generator, device=mean.device).transpose(0, 1)
                drawn = draw_latents(mean, log_variance, noise)  # (B, K, *latent_shape)
                decoded, _ = self.decoder(drawn.to(self.dtype).flatten(0, 1))
                row_loss = self.likelihood(decoded, values.repeat_interleave(K, dim=0)).view(-1, K)
                log_weights.append(-row_loss - sampled_kl(drawn, log_variance, noise))
                log_p = log_p - row_loss.sum(1)
            constant = self.likelihood.constant()
            divergence = kl_terms(mean, log_variance).flatten(1).sum(1)
            return (
                log_mean_exp(torch.cat(log_weights, dim=1)) - constant,
                log_p / num_samples - divergence - constant,
            )

    @torch.no_grad()
    def anomaly_score(self, values: Tensor) -> Tensor:
        """Return how little each row resembles the training rows (B,): larger is odder. Of a variational autoencoder
        the negative evidence lower bound at the code's mean, in nats; of the other kinds the mean squared error."""
        name = "numeric_features" if self.config.num_numeric_features else "pixel_values"
        with evaluation(self):
            outputs = self(**{name: values}, return_dict=True)
        if self.config.kind == "variational":
            return outputs.row_reconstruction_loss + outputs.row_kl
        return (outputs.reconstruction.float() - values.float()).square().flatten(1).mean(1)

    def add_noise(
        self,
        values: Tensor,
        generator: torch.Generator | None = None,
        noise_types: list[str] | None = None,
        noise_strength: tuple[float, float] | None = None,
    ) -> Tensor:
        """Return noisy values, images within 0..1: a kind and a strength are drawn for each row, the config's unless
        given."""
        types = list(self.config.noise_types if noise_types is None else noise_types)
        low, high = self.config.noise_strength if noise_strength is None else noise_strength
        return add_noise(values, types, (low, high), generator, bounded=not self.config.num_numeric_features)

    def check_training_rows(self, num_rows: int) -> None:
        """Raise ValueError, before a training begins, where `fit_after_training` could do nothing with so few rows."""
        if self.prior is not None:
            self.prior.check_rows(num_rows)

    @torch.no_grad()
    def fit_after_training(self, batches: Iterable[dict[str, Tensor]]) -> None:
        """Fit the prior of the codes (discrete ones before rounding), where the config has one, to all training rows.

        Args:
            batches: what `forward` takes, over all training rows once.
        """
        if self.prior is None:
            return
        codes_of_batches = []
        with evaluation(self):
            for batch in batches:
                values = self.check(batch.get("pixel_values"), batch.get("numeric_features")).to(self.device)
                codes_of_batches.append(self.continuous(values).flatten(1).cpu())
        if not codes_of_batches:
            raise ValueError("there are no training rows to fit the prior to")
        self.prior.fit(torch.cat(codes_of_batches))

    def continuous(self, values: Tensor) -> Tensor:
        """Return the encoder's numbers (B, *latent_shape): a variational one's mean, a discrete one's before
        rounding."""
        encoded, _ = self.encoder(values)
        if self.config.kind == "variational":
            return split_moments(encoded)[0].to(encoded.dtype)
        return self.to_places(encoded) if self.quantizer is not None else encoded

    def codes_of(self, continuous: Tensor) -> Tensor:
        """Return the code that the encoder's numbers stand for."""
        return continuous if self.quantizer is None else self.quantizer(continuous)[0]

    def require(self, kind: str, what: str) -> None:
        """Raise ValueError where `what` is asked of an autoencoder of another kind."""
        if self.config.kind != kind:
            raise ValueError(f"{what} needs an autoencoder of kind {kind}, this one is {self.config.kind}")


class AutoencoderForImageToImage(AutoencoderPreTrainedModel):
    """Images -> images: an autoencoder that takes noise away, under transformers' names for such models."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__(config)
        if config.num_numeric_features:
            raise ValueError("image to image needs images: num_numeric_features must be 0")
        self.autoencoder = AutoencoderModel(config)
        self.post_init()

    @known_arguments()
    def forward(
        self,
        pixel_values: Tensor,
        labels: Tensor | None = None,
        noise: Tensor | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> ImageSuperResolutionOutput | tuple:
        """Compute the outputs, and the loss where targets are given.

        Args:
            pixel_values: images (B, C, H, W) of 0..1; noisy ones, unless the model is in training without `labels`:
                then it adds the noise that the config says.
            labels: the clean images, of the same shape.
            noise: see `AutoencoderModel.forward`.
            output_hidden_states: give what each stage gives too; the config's choice when None.
            return_dict: a ModelOutput (True) or a tuple (False); the config's choice when None.

        Returns:
            `loss` (scalar; in evaluation when there are labels), `reconstruction` (B, C, H, W) within 0..1 and, if
            asked for, `hidden_states`.
        """
        outputs = self.autoencoder(
            pixel_values, target_values=labels, noise=noise, output_hidden_states=output_hidden_states, return_dict=True
        )
        outputs = ImageSuperResolutionOutput(
            loss=outputs.loss, reconstruction=outputs.reconstruction, hidden_states=outputs.hidden_states
        )
        return outputs if (self.config.return_dict if return_dict is None else return_dict) else outputs.to_tuple()


__all__ = [
    "AutoencoderConfig",
    "AutoencoderForImageToImage",
    "AutoencoderModel",
    "AutoencoderOutput",
    "AutoencoderPreTrainedModel",
]
