"""What every autoencoder gives, and how it is loaded, saved and initialised.

Convolutions start as He et al. 2015 (arXiv:1502.01852) say, linear layers uniform in +-1/sqrt(fan_in), as torch's.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import initialization as init
from transformers.modeling_utils import PreTrainedModel
from transformers.utils import ModelOutput

from .configuration_autoencoder import AutoencoderConfig
from .modeling_autoencoder_latents import EmaCodebook, FiniteScalarQuantizer, GaussianMixture
from .modeling_autoencoder_layers import KlWeight, Likelihood


@dataclass
class AutoencoderOutput(ModelOutput):
    """The code comes first, not the loss, so that `pipeline("image-feature-extraction")` returns it.

    Attributes:
        latents: (B, *latent_shape): the code; the mean of a variational one, the vectors of a discrete one.
        pooler_output: (B, L): the same as one vector a row.
        loss: scalar: (reconstruction_loss + weight * kl) / values of a row + commitment_weight * commitment_loss.
        reconstruction_loss: scalar: -log p(values | code) in nats, summed over a row, mean over rows; with likelihood
            mse the squared error.
        kl: scalar: KL divergence of the code's distribution from the normal prior, in nats a row (variational).
        commitment_loss: scalar: mean squared distance of the encoder's numbers from their vectors (quantizer ema).
        row_reconstruction_loss: (B,): reconstruction_loss of each row.
        row_kl: (B,): kl of each row.
        codes: (B, places...), int64: the discrete codes (vector_quantized).
        reconstruction: like the input; images within 0..1.
        hidden_states: what each stage of the encoder, then of the decoder gives, if asked for.
    """

    latents: Tensor | None = None
    pooler_output: Tensor | None = None
    loss: Tensor | None = None
    reconstruction_loss: Tensor | None = None
    kl: Tensor | None = None
    commitment_loss: Tensor | None = None
    row_reconstruction_loss: Tensor | None = None
    row_kl: Tensor | None = None
    codes: Tensor | None = None
    reconstruction: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None


class AutoencoderPreTrainedModel(PreTrainedModel):
    """Loads, saves and initialises every autoencoder."""

    config: AutoencoderConfig
    base_model_prefix = "autoencoder"
    main_input_name = "pixel_values"
    input_modalities = ("image",)
    accepts_loss_kwargs = False  # the loss is a mean over the batch: Trainer must scale it itself
    _no_split_modules = ["ResidualBlock"]  # noqa: RUF012

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Write every weight of `module`; what a checkpoint has loaded is left as it is."""
        if isinstance(module, nn.Conv2d):
            gain = getattr(module, "initial_gain", 1.0)
            init.normal_(module.weight, std=gain * math.sqrt(2 / math.prod(module.weight.shape[1:])))
            init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            init.kaiming_uniform_(module.weight, a=math.sqrt(5))  # uniform in +-1/sqrt(fan_in)
            bound = 1 / math.sqrt(module.in_features)
            init.uniform_(module.bias, -bound, bound)
        elif isinstance(module, nn.modules.batchnorm._BatchNorm | nn.GroupNorm):
            init.ones_(module.weight)
            init.zeros_(module.bias)
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                init.zeros_(module.running_mean)
                init.ones_(module.running_var)
                init.zeros_(module.num_batches_tracked)
        elif isinstance(module, EmaCodebook | FiniteScalarQuantizer | Likelihood | KlWeight | GaussianMixture):
            module.init_weights()


__all__ = ["AutoencoderOutput", "AutoencoderPreTrainedModel"]
