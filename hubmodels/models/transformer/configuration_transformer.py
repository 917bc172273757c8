"""Configuration of the transformer. The defaults are a small Llama: causal, RMSNorm before each branch, SwiGLU, rotary
positions, no biases."""

import inspect
import math
from typing import Any, Literal

from huggingface_hub.dataclasses import strict
from transformers.activations import ACT2FN
from transformers.configuration_utils import PreTrainedConfig


@strict
class TransformerConfig(PreTrainedConfig):
    """Decides the network of a `TransformerModel` and its heads: an embedding, layers of one block, a pooling.

    With `patch_size` it reads images, cut into patches, without it tokens. The standard layouts:

        Llama      the defaults, with its sizes.
        GPT-2      normalization layer_norm, hidden_act gelu_new, gated_mlp false, position_embedding_type learned;
                   attention_bias true, mlp_bias true, dropouts 0.1.
        BERT       is_causal false, normalization layer_norm, norm_position post, norm_eps 1e-12, embedding_norm true;
                   type_vocab_size 2, hidden_act gelu, gated_mlp false, position_embedding_type learned;
                   attention_bias true, mlp_bias true, dropouts 0.1, pooling first, pooler_act tanh.
        ViT        patch_size 16, normalization layer_norm, norm_eps 1e-12, hidden_act gelu, gated_mlp false;
                   position_embedding_type learned, attention_bias true, mlp_bias true, pooling first.

    Raises:
        huggingface_hub.errors.StrictDataclassError: a field has another type or lies outside of the range beside it.
    """

    model_type = "hubmodels_transformer"
    keys_to_ignore_at_inference = ["past_key_values", "cache"]  # noqa: RUF012 - transformers' own form

    # Tokens
    vocab_size: int = 256  # number of tokens, >= 1
    max_position_embeddings: int = 1024  # longest sequence of tokens, >= 1
    type_vocab_size: int = 0  # kinds of tokens that have a vector of their own (BERT: 2), 0 for none
    pad_token_id: int | None = None  # the token that fills short rows, in 0..vocab_size - 1; None for none
    bos_token_id: int | None = None  # the token that begins a text; None for none
    eos_token_id: int | list[int] | None = None  # the token or tokens that end a generated text; None for none
    tie_word_embeddings: bool = True  # one table for the tokens read and those predicted

    # Images
    patch_size: int | None = None  # side of a patch in pixels, >= 1; given, the network reads images, else tokens
    image_size: int | list[int] | tuple[int, int] = 32  # side, or height and width, in pixels, of the learned positions
    num_channels: int = 3  # channels of an image, >= 1
    stem_sizes: list[int] | tuple[int, ...] = ()  # channels, >= 1 each, of 3x3 convolutions before the patches, each of
    # which halves the side of a patch (Xiao et al. 2021, arXiv:2106.14881); empty for none

    # Shape
    hidden_size: int = 256  # width of a token, >= 1
    num_hidden_layers: int = 4  # blocks, >= 1
    num_attention_heads: int = 4  # heads of a block; they divide hidden_size unless head_dim is given
    num_key_value_heads: int | None = None  # heads of keys and values, which divide the heads; None: as many
    head_dim: int | None = None  # width of a head, >= 1; None: hidden_size / num_attention_heads
    intermediate_size: int | None = None  # width inside the feed-forward network, >= 1; None: 4 hidden_size, or with
    # gated_mlp 8/3 of it up to a multiple of 32, which has as many weights

    # The block
    is_causal: bool | None = None  # a token sees only itself and those before it; None: tokens do, images do not
    position_embedding_type: Literal["rotary", "learned", "none"] = "rotary"  # rotary: by row and column in images
    rope_theta: float | int = 10000.0  # base of the rotary wavelengths, in tokens or patches, > 0
    normalization: Literal["rms_norm", "layer_norm"] = "rms_norm"  # of the tokens
    norm_position: Literal["pre", "post"] = "pre"  # before each branch and at the end, or after each sum (BERT)
    norm_eps: float | int = 1e-5  # added to the variance, >= 0
    embedding_norm: bool = False  # a normalisation of the embedded tokens
    use_qk_norm: bool = False  # RMSNorm of each head's queries and keys
    hidden_act: str = "silu"  # activation, a name that transformers.activations.ACT2FN knows
    gated_mlp: bool = True  # activation(gate) times a second projection, SwiGLU with silu; else a plain layer
    attention_bias: bool = False  # biases in the four projections of the attention
    mlp_bias: bool = False  # biases in the feed-forward network
    hidden_dropout_prob: float | int = 0.0  # share of embeddings and of each branch's output dropped, in [0, 1)
    attention_dropout: float | int = 0.0  # share of attention weights dropped, in [0, 1)
    drop_path_rate: float | int = 0.0  # chance that the last block's branches are skipped for a row in training, in
    # [0, 1); it rises linearly from 0 at the first block (Huang et al. 2016)
    initializer_range: float | int = 0.02  # standard deviation of the first weights, > 0

    # Heads
    pooling: Literal["mean", "first", "last"] = "mean"  # a row's vector for its class: of its tokens, padding left out;
    # first gives images a learned class token
    pooler_act: str | None = None  # activation of a layer behind the pooling (BERT: tanh); None for no layer
    classifier_dropout_prob: float | int = 0.0  # dropout before the classifier, in [0, 1)
    projection_dim: int = 128  # zero-shot: width of the space that images and texts share, >= 1
    logit_scale_init_value: float | int = 2.6592  # zero-shot: first log of the inverse temperature; ln(1 / 0.07)
    text_tower: dict[str, Any] | None = None  # zero-shot: fields in which the text tower differs from the image tower

    def __post_init__(self, **kwargs: Any) -> None:
        if self.num_key_value_heads is None:
            self.num_key_value_heads = self.num_attention_heads
        if self.is_causal is None:
            self.is_causal = self.patch_size is None
        super().__post_init__(**kwargs)

    def validate_sizes(self) -> None:
        """Refuse sizes that no network can have."""
        names = (
            "vocab_size", "max_position_embeddings", "num_channels", "hidden_size", "num_hidden_layers",
            "num_attention_heads", "num_key_value_heads", "projection_dim",
        )  # fmt: skip
        for name in names:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("head_dim", "intermediate_size", "patch_size"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1 or none, got {getattr(self, name)}")
        if self.type_vocab_size < 0:
            raise ValueError(f"type_vocab_size must be at least 0, got {self.type_vocab_size}")
        if self.head_dim is None and self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"num_attention_heads must divide hidden_size {self.hidden_size}, got {self.num_attention_heads}; "
                f"take {nearest_divisor(self.hidden_size, self.num_attention_heads)}, or give head_dim"
            )
        assert self.num_key_value_heads is not None  # `__post_init__` has set it
        if self.num_attention_heads % self.num_key_value_heads:
            raise ValueError(
                f"num_key_value_heads must divide num_attention_heads {self.num_attention_heads}, got "
                f"{self.num_key_value_heads}"
            )
        if not isinstance(self.image_size, int) and len(self.image_size) != 2:
            raise ValueError(f"image_size must be one integer or a list of height and width, got {self.image_size}")
        if self.patch_size is not None and (
            min(self.image_shape) < 1 or any(map(self.patch_rest, self.image_shape[1:]))
        ):
            raise ValueError(
                f"patch_size {self.patch_size} does not divide image_size {self.image_size}: take a patch_size that "
                f"divides {math.gcd(*self.image_shape[1:])}, or another image_size"
            )
        if self.stem_sizes:
            if self.patch_size is None:
                raise ValueError("stem_sizes needs patch_size: the stem reads images")
            if min(self.stem_sizes) < 1:
                raise ValueError(f"stem_sizes must be at least 1, got {list(self.stem_sizes)}")
            if self.patch_size % 2 ** len(self.stem_sizes):
                raise ValueError(
                    f"{len(self.stem_sizes)} stem_sizes halve a patch as often: take a patch_size that "
                    f"{2 ** len(self.stem_sizes)} divides, got {self.patch_size}"
                )
        axes = 1 if self.patch_size is None else 2
        if self.position_embedding_type == "rotary" and self.head_size % (2 * axes):
            raise ValueError(
                f"rotary positions need heads whose width {2 * axes} divides, got {self.head_size}; change head_dim or "
                "num_attention_heads"
            )

    def validate_options(self) -> None:
        """Refuse activations, probabilities, tokens and towers that cannot work."""
        for name in ("hidden_act", "pooler_act"):
            if getattr(self, name) is not None and getattr(self, name) not in ACT2FN:
                raise ValueError(f"{name} must be one of {', '.join(sorted(ACT2FN))}, got {getattr(self, name)!r}")
        for name in ("hidden_dropout_prob", "attention_dropout", "drop_path_rate", "classifier_dropout_prob"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 0 and below 1, got {getattr(self, name)}")
        for name in ("rope_theta", "initializer_range"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be greater than 0, got {getattr(self, name)}")
        if not self.norm_eps >= 0:
            raise ValueError(f"norm_eps must be at least 0, got {self.norm_eps}")
        if self.pad_token_id is not None and not 0 <= self.pad_token_id < self.vocab_size:
            raise ValueError(f"pad_token_id must be in 0..{self.vocab_size - 1}, got {self.pad_token_id}")
        if self.text_tower:
            if self.patch_size is None:
                raise ValueError("text_tower needs an image tower beside it: give patch_size")
            self.text_tower_config()

    def patch_rest(self, side: int) -> int:
        """Return the pixels of a side that are left over by the patches."""
        assert self.patch_size is not None  # of a network on images
        return side % self.patch_size

    def text_tower_config(self) -> "TransformerConfig":
        """Return the config of the text tower beside this one's image tower: its fields, but for those in `text_tower`.
        It sees in both directions unless these say otherwise. Raises ValueError for a field that no tower has."""
        names = inspect.get_annotations(type(self))
        given = self.text_tower or {}
        for name in given:
            if name not in names or name in ("text_tower", "patch_size", "image_size", "num_channels", "stem_sizes"):
                raise ValueError(f"text_tower has {name!r}, which is no field of a text tower")
        fields = {name: getattr(self, name) for name in names}
        for name in ("hidden_size", "num_attention_heads"):  # what follows from them does so anew
            if name in given:
                fields |= {"num_key_value_heads": None, "head_dim": None, "intermediate_size": None}
        config = type(self)(
            **{**fields, "patch_size": None, "stem_sizes": (), "text_tower": None, "is_causal": False, **given}
        )
        config._attn_implementation = self._attn_implementation
        return config

    @property
    def head_size(self) -> int:
        """Return the width of a head."""
        return self.head_dim or self.hidden_size // self.num_attention_heads

    @property
    def feed_forward_size(self) -> int:
        """Return the width inside the feed-forward network."""
        if self.intermediate_size is not None:
            return self.intermediate_size
        return 32 * math.ceil(self.hidden_size * 8 / 3 / 32) if self.gated_mlp else 4 * self.hidden_size

    # Copied in every family that needs it; tests/models/test_copies.py keeps the copies equal.
    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Return channels, height and width of an image, in pixels."""
        height, width = (self.image_size,) * 2 if isinstance(self.image_size, int) else self.image_size
        return self.num_channels, height, width

    @property
    def patch_grid(self) -> tuple[int, int]:
        """Return rows and columns of patches in an image of `image_size`."""
        assert self.patch_size is not None  # of a network on images
        return self.image_shape[1] // self.patch_size, self.image_shape[2] // self.patch_size


def nearest_divisor(number: int, near: int) -> int:
    """Return the divisor of a number that lies nearest to another."""
    return min((i for i in range(1, number + 1) if number % i == 0), key=lambda i: abs(i - near))


__all__ = ["TransformerConfig"]
