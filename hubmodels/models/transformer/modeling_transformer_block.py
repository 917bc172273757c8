"""The transformer's one block (Vaswani et al. 2017, arXiv:1706.03762), the embeddings before it, and the whole body.

Normalisation before each branch (Xiong et al. 2020, arXiv:2002.04745) or after each sum; RMSNorm (Zhang and Sennrich
2019, arXiv:1910.07467); SwiGLU (Shazeer 2020, arXiv:2002.05202); rotary positions (Su et al. 2021, arXiv:2104.09864),
over rows and columns in images; grouped-query heads (Ainslie et al. 2023, arXiv:2305.13245); normalised queries and
keys (Henry et al. 2020, arXiv:2010.04245, with RMSNorm); stochastic depth (Huang et al. 2016, arXiv:1603.09382);
images as patches (Dosovitskiy et al. 2020, arXiv:2010.11929).

Departs from transformers' Llama in one projection for queries, keys and values and one for the two halves of SwiGLU,
and in one rotation of queries and keys together: fewer and larger operations, the same numbers. Attention goes through
transformers' attention interface (eager, sdpa, flex_attention, flash attention) and its masks, the keys and values of
generated texts through its caches. Weights start normal, those that end a branch smaller by sqrt(2 num_hidden_layers)
(GPT-2, Radford et al. 2019, section 2.3).
"""

import functools
import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import initialization as init
from transformers.activations import ACT2FN
from transformers.cache_utils import Cache, DynamicCache
from transformers.masking_utils import create_bidirectional_mask, create_causal_mask
from transformers.modeling_outputs import BaseModelOutputWithPast
from transformers.modeling_utils import PreTrainedModel
from transformers.utils import ModelOutput

from .configuration_transformer import TransformerConfig
from .modeling_transformer_attention import Rotary, TransformerAttention, build_norm, rotary_tables
from .modeling_transformer_shared import DropPath, known_arguments

# B batch, T tokens (of the input), S tokens (with those in the cache), D hidden_size, H heads, G heads of keys and
# values, K head size, I feed-forward size, P patch_size, C num_channels, R rows and Q columns of patches, V vocab_size

# What the body hands to the attention implementation: flash attention's lengths of packed rows, and what continuous
# batching (`generate_batch`) adds to them; its lengths are `max_seqlen_*` in transformers 5.17 and 5.18.
PACKING_ARGUMENTS = ("cu_seq_lens_k", "cu_seq_lens_q", "max_length_k", "max_length_q")
BATCHING_ARGUMENTS = (
    "block_table", "is_causal", "logits_indices", "logits_processor_args", "max_seqlen_k", "max_seqlen_q", "read_index",
    "write_index",
)  # fmt: skip
# transformers calls keys and values of earlier tokens `cache` from 5.24 on, and `past_key_values` before.
CACHE_NAME = "cache" if "cache" in BaseModelOutputWithPast.__dataclass_fields__ else "past_key_values"


class TransformerMlp(nn.Module):
    """The feed-forward network: two layers, the first gated or not."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.is_gated = config.gated_mlp
        width = config.feed_forward_size
        self.up_proj = nn.Linear(config.hidden_size, 2 * width if self.is_gated else width, bias=config.mlp_bias)
        self.activation = ACT2FN[config.hidden_act]
        self.down_proj = nn.Linear(width, config.hidden_size, bias=config.mlp_bias)
        self.down_proj.ends_branch = True

    def forward(self, hidden: Tensor) -> Tensor:
        hidden = self.up_proj(hidden)  # (B, T, I), of the gated one (B, T, 2 I): gate, then value
        if self.is_gated:
            gate, value = hidden.chunk(2, dim=-1)
            return self.down_proj(self.activation(gate) * value)
        return self.down_proj(self.activation(hidden))


class TransformerLayer(nn.Module):
    """The block: attention and feed-forward network, each a branch beside the sum."""

    # transformers' `gradient_checkpointing_enable` sets it, and the function that checkpoints.
    # transformers.modeling_layers has a class for it, but imports the Auto classes, and so the families, anew.
    gradient_checkpointing = False

    def __init__(self, config: TransformerConfig, layer_idx: int, drop_path: float) -> None:
        super().__init__()
        self.is_pre_norm = config.norm_position == "pre"
        self.attention_norm = build_norm(config.hidden_size, config)
        self.attention = TransformerAttention(config, layer_idx)
        self.mlp_norm = build_norm(config.hidden_size, config)
        self.mlp = TransformerMlp(config)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.drop_path = DropPath(drop_path)

    def forward(
        self,
        hidden: Tensor,
        attention_mask: Tensor | None = None,
        rotary: Rotary | None = None,
        past_key_values: Cache | None = None,
        **kwargs: object,
    ) -> tuple[Tensor, Tensor | None]:
        """Map (B, T, D) -> (B, T, D), and the attention weights where the implementation gives them."""
        branch = self.attention_norm(hidden) if self.is_pre_norm else hidden
        branch, weights = self.attention(branch, attention_mask, rotary, past_key_values, **kwargs)
        hidden = hidden + self.drop_path(self.dropout(branch))
        if not self.is_pre_norm:
            hidden = self.attention_norm(hidden)
        branch = self.mlp_norm(hidden) if self.is_pre_norm else hidden
        hidden = hidden + self.drop_path(self.dropout(self.mlp(branch)))
        return hidden if self.is_pre_norm else self.mlp_norm(hidden), weights


class PatchEmbedding(nn.Module):
    """Images as tokens: patches, of the image or of what a stem of convolutions makes of it (Xiao et al. 2021,
    arXiv:2106.14881, without their normalisations), through one linear layer; learned positions; a class token where
    the pooling wants one.

    Learned positions stretch to images of another size by bicubic interpolation, rotary ones linearly."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config, self.grid = config, config.patch_grid
        channels, self.stem = config.num_channels, nn.Sequential()
        for size in config.stem_sizes:
            self.stem.append(nn.Conv2d(channels, size, 3, stride=2, padding=1)).append(nn.ReLU())
            channels = size
        self.patch_size = config.patch_size // 2 ** len(config.stem_sizes)  # of what the stem gives
        self.projection = nn.Linear(channels * self.patch_size**2, config.hidden_size)
        self.has_class_token = config.pooling == "first"
        if self.has_class_token:
            self.class_token = nn.Parameter(torch.empty(config.hidden_size))
        if config.position_embedding_type == "learned":
            count = self.grid[0] * self.grid[1] + self.has_class_token
            self.positions = nn.Embedding(count, config.hidden_size)  # the class token's is the first
            # As large as the patches: 0.02, good for words, hides the places. After 25,600 images of Fashion-MNIST the
            # validation loss is 0.582 with 0.5, 0.60 to 0.66 with what initializer_range gives.
            self.positions.first_std = 0.7

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Map (B, C, R P, Q P) -> (B, T, D), and the rows and columns of patches."""
        maps = self.stem(pixel_values)  # without a stem the image; else P is smaller and C the stem's last size
        B, C, height, width = maps.shape
        P = self.patch_size
        R, Q = height // P, width // P
        patches = maps.unflatten(3, (Q, P)).unflatten(2, (R, P)).permute(0, 2, 4, 1, 3, 5).reshape(B, R * Q, C * P * P)
        hidden = self.projection(patches)  # (B, R Q, D)
        if self.has_class_token:
            hidden = torch.cat((self.class_token.to(hidden.dtype).expand(B, 1, -1), hidden), dim=1)  # (B, T, D)
        if self.config.position_embedding_type == "learned":
            hidden = hidden + self.stretched_positions(R, Q)
        return hidden, (R, Q)

    def stretched_positions(self, rows: int, columns: int) -> Tensor:
        """Return the learned positions of a grid of patches, (T, D)."""
        table = self.positions.weight
        if (rows, columns) == self.grid:
            return table
        first, table = table.split((int(self.has_class_token), self.grid[0] * self.grid[1]))
        table = table.T.reshape(1, -1, *self.grid)  # (1, D, rows, columns)
        table = F.interpolate(table.float(), (rows, columns), mode="bicubic", align_corners=False).to(first.dtype)
        return torch.cat((first, table[0].flatten(1).T))

    def rotary_positions(self, rows: int, columns: int, device: torch.device) -> Tensor:
        """Return row and column of each token, (1, T, 2), in units of the config's grid; the class token stands at -1,
        -1."""
        axes = []
        for count, trained in zip((rows, columns), self.grid, strict=True):
            axes.append((torch.arange(count, device=device) + 0.5) * (trained / count) - 0.5)
        positions = torch.cartesian_prod(*axes)  # (R Q, 2)
        if self.has_class_token:
            positions = torch.cat((positions.new_full((1, 2), -1), positions))
        return positions.unsqueeze(0)


class TransformerPreTrainedModel(PreTrainedModel):
    """Loads, saves and initialises every transformer."""

    config: TransformerConfig
    base_model_prefix = "transformer"
    main_input_name = "input_ids"
    accepts_loss_kwargs = False  # the loss is a mean over the batch: Trainer must scale it itself
    supports_gradient_checkpointing = True
    _no_split_modules = ["TransformerLayer"]  # noqa: RUF012
    _skip_keys_device_placement = ["past_key_values", "cache"]  # noqa: RUF012
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _can_compile_fullgraph = True

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Write every weight of `module`; what a checkpoint has loaded is left as it is."""
        std = self.config.initializer_range
        if isinstance(module, nn.Linear):
            ends_branch = getattr(module, "ends_branch", False)
            init.normal_(module.weight, std=std / math.sqrt(2 * self.config.num_hidden_layers) if ends_branch else std)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, nn.Conv2d):
            init.kaiming_normal_(module.weight, nonlinearity="relu")
            init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            init.normal_(module.weight, std=getattr(module, "first_std", std))
        elif isinstance(module, nn.LayerNorm | nn.RMSNorm):
            init.ones_(module.weight)
            if getattr(module, "bias", None) is not None:
                init.zeros_(module.bias)
        elif isinstance(module, PatchEmbedding) and module.has_class_token:
            init.normal_(module.class_token, std=std)

    def must_read(self, kind: str) -> None:
        """Raise ValueError when the config is not of a network on `kind`, tokens or images."""
        if (self.config.patch_size is not None) != (kind == "images"):
            raise ValueError(
                f"{type(self).__name__} reads {kind}: its config must {'' if kind == 'images' else 'not '}give "
                f"patch_size, got {self.config.patch_size}"
            )

    def finish(self, outputs: ModelOutput, return_dict: bool | None) -> ModelOutput | tuple:
        """Return the outputs as a ModelOutput or a tuple; the config's choice when None."""
        return outputs if (self.config.return_dict if return_dict is None else return_dict) else outputs.to_tuple()


class TransformerModel(TransformerPreTrainedModel):
    """Embedding, blocks and, where these normalise before their branches, a last normalisation.

    Raises:
        ValueError: a sequence is longer than max_position_embeddings, an id lies outside of the vocabulary (on a CPU;
            a GPU stops with an assertion), or images have other channels or sizes than the patches allow.
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__(config)
        self.reads_images = config.patch_size is not None
        if self.reads_images:
            self.embed_patches = PatchEmbedding(config)
        else:
            self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
            if config.position_embedding_type == "learned":
                self.embed_positions = nn.Embedding(config.max_position_embeddings, config.hidden_size)
            if config.type_vocab_size:
                self.embed_token_types = nn.Embedding(config.type_vocab_size, config.hidden_size)
        self.embedding_norm = build_norm(config.hidden_size, config) if config.embedding_norm else nn.Identity()
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        # Linear decay rule (arXiv:1603.09382, eq. 4), from 0 at the first block to the full rate at the last.
        rates = torch.linspace(0, config.drop_path_rate, config.num_hidden_layers, device="cpu").tolist()
        self.layers = nn.ModuleList(TransformerLayer(config, i, rate) for i, rate in enumerate(rates))
        has_norm = config.norm_position == "pre"
        self.norm = build_norm(config.hidden_size, config) if has_norm else nn.Identity()
        self.post_init()

    @known_arguments(*PACKING_ARGUMENTS, *BATCHING_ARGUMENTS)
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        pixel_values: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        use_cache: bool | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        return_dict: bool | None = None,
        cache: Cache | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPast | tuple:
        """Compute the outputs, and the loss where targets are given.

        Args:
            input_ids: (B, T) int64, in 0..V-1, of a network on tokens.
            attention_mask: (B, T), or with a cache (B, tokens so far), 1 for tokens and 0 for padding, left or right;
                or a whole mask (B, 1, T, S) as transformers' mask functions make it.
            position_ids: (B, T); by default tokens count from 0, padding left out.
            token_type_ids: (B, T), in 0..type_vocab_size-1; 0 by default.
            pixel_values: (B, C, height, width), normalised by the processor, of a network on images.
            past_key_values: keys and values of the tokens before these, by their name up to transformers 5.23.
            inputs_embeds: (B, T, D) in place of input_ids.
            use_cache: give the cache, as `generate` asks; not by default.
            output_hidden_states: give `hidden_states`; the config's choice when None.
            output_attentions: give the attention weights; needs attn_implementation eager.
            return_dict: a ModelOutput (True) or a tuple (False); the config's choice when None.
            cache: the same, by their name from 5.24 on.
            **kwargs: for the attention implementation, see `PACKING_ARGUMENTS` and `BATCHING_ARGUMENTS`.

        Returns:
            `last_hidden_state` (B, T, D) and, where asked for, the cache, `hidden_states` (the embedding and
            each block's output, the last one normalised) and `attentions`, (B, H, T, S) of each block.
        """
        config = self.config
        output_hidden_states = config.output_hidden_states if output_hidden_states is None else output_hidden_states
        output_attentions = config.output_attentions if output_attentions is None else output_attentions
        if output_attentions and self.config._attn_implementation != "eager":
            raise ValueError(
                f"output_attentions needs attn_implementation eager, got {self.config._attn_implementation}: load the "
                "model with it, or call set_attn_implementation"
            )
        past_key_values, kwargs = choose_cache(past_key_values, cache, kwargs)
        if self.reads_images:
            hidden, positions, mask = *self.embed_images(pixel_values), None
        else:
            if use_cache and past_key_values is None:
                past_key_values = DynamicCache(config=self.config)
            # Continuous batching, whose cache has no one length, gives positions and mask.
            earlier = past_key_values if isinstance(past_key_values, Cache) else None
            hidden, positions = self.embed_text(
                input_ids, inputs_embeds, attention_mask, position_ids, token_type_ids, earlier
            )
            mask = self.make_mask(hidden, attention_mask, earlier, position_ids)
        hidden = self.dropout(self.embedding_norm(hidden))  # (B, T, D)
        rotary = self.make_rotary(positions, hidden) if self.config.position_embedding_type == "rotary" else None
        hidden_states, attentions = self.run_layers(hidden, mask, rotary, past_key_values, kwargs)
        hidden = self.norm(hidden_states[-1])
        hidden_states[-1] = hidden
        outputs = BaseModelOutputWithPast(
            hidden,
            past_key_values if use_cache else None,  # in both versions the second field
            tuple(hidden_states) if output_hidden_states else None,
            tuple(attentions) if output_attentions else None,
        )
        return self.finish(outputs, return_dict)

    def run_layers(
        self,
        hidden: Tensor,
        mask: Tensor | None,
        rotary: Rotary | None,
        past_key_values: Cache | None,
        kwargs: dict[str, Any],
    ) -> tuple[list[Tensor], list[Tensor | None]]:
        """Return `hidden` and each block's output, (B, T, D), and each block's attention weights."""
        hidden_states, attentions = [hidden], []
        for layer in self.layers:
            run = functools.partial(layer, past_key_values=past_key_values, **kwargs)
            if layer.gradient_checkpointing and self.training:
                run = functools.partial(layer._gradient_checkpointing_func, functools.partial(layer, **kwargs))
            hidden, weights = run(hidden, mask, rotary)
            hidden_states.append(hidden)
            attentions.append(weights)
        return hidden_states, attentions

    def make_rotary(self, positions: Tensor, hidden: Tensor) -> Rotary:
        """Return the rotary tables for positions (1 or B, T), in the type that the projections of `hidden` give."""
        # Under autocast that is another type than the embedding's.
        device_type = hidden.device.type
        lower = torch.is_autocast_enabled(device_type)
        dtype = torch.get_autocast_dtype(device_type) if lower else hidden.dtype
        return rotary_tables(positions, self.config.head_size, self.config.rope_theta, dtype)

    def embed_images(self, pixel_values: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the embedded patches of images, (B, T, D), and their rows and columns, (1, T, 2)."""
        C, P = self.config.num_channels, self.config.patch_size
        if pixel_values is None or pixel_values.dim() != 4 or pixel_values.shape[1] != C:
            got = "none" if pixel_values is None else f"shape {tuple(pixel_values.shape)}"
            raise ValueError(f"pixel_values must be of shape (batch, {C}, height, width), got {got}")
        if not pixel_values.is_floating_point():
            raise ValueError(f"pixel_values must be floating-point, got {pixel_values.dtype}; use the image processor")
        if any(side < P or side % P for side in pixel_values.shape[2:]):
            height, width = pixel_values.shape[2:]
            raise ValueError(
                f"images must have sides that the patch size {P} divides, got {height} x {width}; resize or crop them"
            )
        hidden, (rows, columns) = self.embed_patches(pixel_values)
        return hidden, self.embed_patches.rotary_positions(rows, columns, hidden.device)

    def embed_text(
        self,
        input_ids: Tensor | None,
        inputs_embeds: Tensor | None,
        attention_mask: Tensor | None,
        position_ids: Tensor | None,
        token_type_ids: Tensor | None,
        past_key_values: Cache | None,
    ) -> tuple[Tensor, Tensor]:
        """Return the embedded tokens, (B, T, D), and their positions, (1 or B, T)."""
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("a network on tokens takes input_ids or inputs_embeds, and one of them only")
        tokens = inputs_embeds if input_ids is None else input_ids
        assert tokens is not None
        T = tokens.shape[1]
        device = self.embed_tokens.weight.device
        has_positions = self.config.position_embedding_type == "learned"
        past = past_key_values.get_seq_length() if past_key_values is not None else 0
        if isinstance(past, int):  # of a static cache it is a tensor, which says nothing until it is read
            self.check_length(past + T, position_ids)
        if position_ids is not None:
            positions = position_ids
        elif has_positions and attention_mask is not None and attention_mask.dim() == 2:
            positions = (attention_mask.long().cumsum(-1) - 1).clamp(min=0)[:, -T:]  # (B, T)
        else:  # rotary positions only see differences, which padding on the left does not change
            positions = torch.arange(T, device=device).unsqueeze(0) + past  # (1, T)
        try:
            hidden = self.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds
        except IndexError:
            low, high = int(tokens.min()), int(tokens.max())
            raise ValueError(
                f"input_ids must be in 0..{self.config.vocab_size - 1}, got {low} to {high}; use the checkpoint's "
                "tokenizer"
            ) from None
        if has_positions:
            hidden = hidden + self.embed_positions(positions)
        if self.config.type_vocab_size:
            types = torch.zeros(1, T, dtype=torch.long, device=device) if token_type_ids is None else token_type_ids
            hidden = hidden + self.embed_token_types(types)
        return hidden, positions

    def check_length(self, length: int, position_ids: Tensor | None) -> None:
        """Raise ValueError when there are more tokens than positions; rows that are packed into one count anew."""
        limit = self.config.max_position_embeddings
        if length > limit and (position_ids is None or position_ids.max() >= limit):
            longer = (
                ""
                if self.config.position_embedding_type == "learned"
                else (", or load the model with a larger max_position_embeddings: it has not been trained on such")
            )
            raise ValueError(
                f"a sequence has at most {limit} tokens here (max_position_embeddings), got {length}; truncate it"
                f"{longer}"
            )

    def make_mask(
        self,
        hidden: Tensor,
        attention_mask: Tensor | None,
        past_key_values: Cache | None,
        position_ids: Tensor | None,
    ) -> Tensor | None:
        """Return the mask that the attention implementation takes."""
        if not self.config.is_causal:
            if past_key_values is not None:
                raise ValueError("a cache of keys and values needs a causal network; leave out use_cache")
            if attention_mask is None:
                return None
            return create_bidirectional_mask(self.config, hidden, attention_mask)
        return create_causal_mask(self.config, hidden, attention_mask, past_key_values, position_ids)


def choose_cache(
    past_key_values: Cache | None, cache: Cache | None, kwargs: dict[str, Any]
) -> tuple[Cache | None, dict[str, Any]]:
    """Return the cache, whichever of its two names it has, and the attention's other arguments.

    Up to transformers 5.23 the attention function itself writes to the cache of continuous batching.

    Raises:
        ValueError: both are given.
    """
    if cache is not None and past_key_values is not None:
        raise ValueError("cache and past_key_values are two names of one argument, got both: leave one out")
    if cache is not None and CACHE_NAME != "cache" and not isinstance(cache, Cache):
        return None, {**kwargs, "cache": cache}
    return (past_key_values if cache is None else cache), kwargs


__all__ = [
    "BATCHING_ARGUMENTS",
    "CACHE_NAME",
    "PACKING_ARGUMENTS",
    "TransformerModel",
    "TransformerPreTrainedModel",
]
