"""Attention of the transformer with what belongs to it: normalisations and rotary positions.

The sources stand in modeling_transformer_block.py."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.cache_utils import Cache
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from .configuration_transformer import TransformerConfig

# B batch, T tokens (of the input), S tokens (with those in the cache), D hidden_size, H heads, G heads of keys and
# values, K head size

Rotary = tuple[Tensor, Tensor]  # cosines and signed sines, (1 or B, T, 1, K) each


class RmsNormOnCpu(torch.autograd.Function):
    """x / sqrt(mean(x^2) + eps) * w. On a CPU torch differentiates it step by step: forward and backward pass over
    (4096, 128) take 5.5 ms, these 2.3 ms, and transformers' LlamaRMSNorm 6.3 ms (one thread of an AMD EPYC). Nine such
    are a twelfth of a training step of the released language model."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        scale = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_().div_(x.shape[-1]).add_(eps).rsqrt_()
        ctx.save_for_backward(x, weight, scale)
        return (x * scale).mul_(weight)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        x, weight, scale = ctx.saved_tensors
        D = x.shape[-1]
        product = (gradient * x).view(-1, D)
        inner = (product @ weight).view(scale.shape)  # of gradient * weight with x, row by row
        weight_gradient = scale.view(-1) @ product
        return (gradient * weight).mul_(scale).addcmul_(x, inner * scale**3, value=-1 / D), weight_gradient, None


class TransformerRMSNorm(nn.RMSNorm):
    """RMSNorm, in training on a CPU by `RmsNormOnCpu`; torch's fused kernels want the weight in the input's type."""

    def forward(self, hidden: Tensor) -> Tensor:
        on_cpu = hidden.device.type == "cpu" and hidden.requires_grad and not torch.compiler.is_compiling()
        if on_cpu and hidden.dtype == self.weight.dtype == torch.float32 and hidden.is_contiguous():
            return RmsNormOnCpu.apply(hidden, self.weight, self.eps)
        return F.rms_norm(hidden, self.normalized_shape, self.weight.to(hidden.dtype), self.eps)


def build_norm(width: int, config: TransformerConfig) -> nn.Module:
    """Return the configured normalisation of (..., width)."""
    norm = TransformerRMSNorm if config.normalization == "rms_norm" else nn.LayerNorm
    return norm(width, eps=config.norm_eps)


def rotary_tables(positions: Tensor, head_size: int, theta: float, dtype: torch.dtype) -> Rotary:
    """Return the cosines and sines that turn the pairs (k, k + K/2) of a head (arXiv:2104.09864, eq. 34).

    Args:
        positions: (B or 1, T) of tokens, or (1, T, 2), row and column, of patches: each turns half of the pairs.
        head_size: K.
        theta: base of the wavelengths.
        dtype: of the tables; the angles are float32.

    Returns:
        (B or 1, T, 1, K) each. The sines' first half is negative: x cos + roll(x, K/2) sin is the rotation.
    """
    if positions.dim() == 2:
        positions = positions[..., None]  # (B, T, axes)
    steps = head_size // positions.shape[-1]
    frequencies = theta ** -(torch.arange(0, steps, 2, device=positions.device, dtype=torch.float32) / steps)
    angles = (positions[..., None].float() * frequencies).flatten(2)  # (B, T, K/2)
    cos, sin = angles.cos().to(dtype), angles.sin().to(dtype)
    return torch.cat((cos, cos), -1).unsqueeze(2), torch.cat((-sin, sin), -1).unsqueeze(2)


def rotate(heads: Tensor, rotary: Rotary) -> Tensor:
    """Turn the heads (B, T, H, K) of queries or keys by their positions."""
    cos, sin = rotary
    return heads * cos + heads.roll(heads.shape[-1] // 2, -1) * sin


def eager_attention_forward(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    **kwargs: object,
) -> tuple[Tensor, Tensor]:
    """Compute attention in its four plain steps: (B, H, T, K) with (B, G, S, K) -> (B, T, H, K) and weights (B, H, T,
    S)."""
    key = key.repeat_interleave(module.num_key_value_groups, dim=1)
    value = value.repeat_interleave(module.num_key_value_groups, dim=1)
    scores = query @ key.transpose(2, 3) * scaling  # (B, H, T, S)
    if attention_mask is not None:
        scores = scores + attention_mask
    weights = scores.softmax(-1, dtype=torch.float32).to(query.dtype)
    weights = F.dropout(weights, dropout, module.training)
    return (weights @ value).transpose(1, 2).contiguous(), weights


def half_precision_attention_on_cpu(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    **kwargs: object,
) -> tuple[Tensor, None]:
    """Return what `sdpa` gives, (B, H, T, K) with (B, G, S, K) -> (B, T, H, K), for training in half precision.

    In bfloat16 and float16 on a CPU torch's own goes backward slowly. Forward and backward pass take 4.2 ms here
    instead of 24 for 64 rows of 49 tokens with 3 heads of 32. For 8 rows of 256 tokens with 5 heads they take 9.5 ms
    instead of 22 (one thread of an AMD EPYC with AVX-512 BF16)."""
    T, S = query.shape[2], key.shape[2]
    if attention_mask is None and module.is_causal and T > 1:
        attention_mask = query.new_full((T, S), -math.inf).triu(1)
    elif attention_mask is not None and attention_mask.dtype == torch.bool:
        attention_mask = torch.zeros_like(attention_mask, dtype=query.dtype).masked_fill(
            ~attention_mask, torch.finfo(query.dtype).min
        )
    with torch.autocast("cpu", enabled=False):  # it would take the softmax in float32, to and fro
        key = key.repeat_interleave(module.num_key_value_groups, dim=1)
        value = value.repeat_interleave(module.num_key_value_groups, dim=1)
        scores = query * scaling @ key.transpose(2, 3)  # (B, H, T, S)
        if attention_mask is not None:
            scores = scores + attention_mask
        weights = F.dropout(scores.softmax(-1).to(value.dtype), dropout, module.training)
        return (weights @ value).transpose(1, 2), None


class TransformerAttention(nn.Module):
    """Multi-head attention with grouped keys and values, through transformers' attention interface."""

    def __init__(self, config: TransformerConfig, layer_idx: int) -> None:
        super().__init__()
        self.config, self.layer_idx = config, layer_idx
        self.num_heads = config.num_attention_heads
        self.num_key_value_heads: int = config.num_key_value_heads or config.num_attention_heads
        self.num_key_value_groups = self.num_heads // self.num_key_value_heads
        self.head_size = config.head_size
        self.scaling = self.head_size**-0.5
        self.is_causal = config.is_causal  # what sdpa and flash attention go by where no mask is given
        self.dropout = config.attention_dropout
        width = (self.num_heads + 2 * self.num_key_value_heads) * self.head_size
        self.qkv_proj = nn.Linear(config.hidden_size, width, bias=config.attention_bias)
        self.o_proj = nn.Linear(self.num_heads * self.head_size, config.hidden_size, bias=config.attention_bias)
        self.o_proj.ends_branch = True
        self.has_qk_norm = config.use_qk_norm
        if self.has_qk_norm:
            self.q_norm = TransformerRMSNorm(self.head_size, eps=config.norm_eps)
            self.k_norm = TransformerRMSNorm(self.head_size, eps=config.norm_eps)

    def forward(
        self,
        hidden: Tensor,
        attention_mask: Tensor | None,
        rotary: Rotary | None,
        past_key_values: Cache | None,
        **kwargs: object,
    ) -> tuple[Tensor, Tensor | None]:
        B, T, _ = hidden.shape
        H, G = self.num_heads, self.num_key_value_heads
        qkv = self.qkv_proj(hidden).view(B, T, H + 2 * G, self.head_size)
        query_key, value = qkv.split((H + G, G), dim=2)
        if self.has_qk_norm:
            query, key = query_key.split((H, G), dim=2)
            query_key = torch.cat((self.q_norm(query), self.k_norm(key)), dim=2)
        if rotary is not None:
            query_key = rotate(query_key, rotary)
        query_key, value = query_key.transpose(1, 2), value.transpose(1, 2)  # (B, H + G, T, K), (B, G, T, K)
        query, key = query_key.split((H, G), dim=1)
        if past_key_values is not None:
            # The cache of continuous batching reads from kwargs and writes to them.
            key, value = past_key_values.update(key, value, self.layer_idx, kwargs=kwargs)  # (B, G, S, K)
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
        in_half_on_cpu = query.device.type == "cpu" and query.dtype in (torch.bfloat16, torch.float16)
        if in_half_on_cpu and query.requires_grad and self.config._attn_implementation == "sdpa":
            attend = half_precision_attention_on_cpu
        dropout = self.dropout if self.training else 0.0
        output, weights = attend(
            self, query, key, value, attention_mask, dropout=dropout, scaling=self.scaling, **kwargs
        )  # (B, T, H, K), weights (B, H, T, S) of eager
        return self.o_proj(output.reshape(B, T, H * self.head_size)), weights
