"""Transformers for text, for images, and for both together: GPT-2, BERT, Llama and ViT as configs of one block, which
stands with the embeddings and the body in modeling_transformer_block.py. Here are the heads.

Images and texts are matched by the symmetric contrastive loss of CLIP (Radford et al. 2021, arXiv:2103.00020, figure
3), over the rows of all processes.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import initialization as init
from transformers.activations import ACT2FN
from transformers.cache_utils import Cache
from transformers.generation import GenerationMixin
from transformers.modeling_outputs import (
    CausalLMOutputWithPast,
    ImageClassifierOutput,
    MaskedLMOutput,
    SequenceClassifierOutput,
    TokenClassifierOutput,
)
from transformers.utils import ModelOutput

from .configuration_transformer import TransformerConfig
from .modeling_transformer_attention import build_norm
from .modeling_transformer_block import (
    BATCHING_ARGUMENTS,
    CACHE_NAME,
    PACKING_ARGUMENTS,
    TransformerModel,
    TransformerPreTrainedModel,
)
from .modeling_transformer_shared import classification_loss, known_arguments

# B batch, T tokens (of the input), D hidden_size, V vocab_size, C channels, L num_labels, E projection_dim


class TransformerForCausalLM(TransformerPreTrainedModel, GenerationMixin):
    """The next token after each: a linear layer on the tokens, tied to their table or not."""

    _tied_weights_keys = {"lm_head.weight": "transformer.embed_tokens.weight"}  # noqa: RUF012

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__(config)
        self.must_read("tokens")
        if not config.is_causal:
            raise ValueError("TransformerForCausalLM needs is_causal true: else a token would see what it predicts")
        self.transformer = TransformerModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    @known_arguments(*PACKING_ARGUMENTS, *BATCHING_ARGUMENTS, "shift_labels")
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        return_dict: bool | None = None,
        cache: Cache | None = None,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast | tuple:
        """Compute the outputs, and the loss where targets are given.

        Args:
            labels: (B, T) the tokens themselves, which are shifted here; -100 for those without a loss.
            logits_to_keep: the last so many tokens have logits, or those at these places; 0 for all.
            **kwargs: `shift_labels`, (B, T) the token after each, -100 for none, in place of labels. It is not
                declared: Trainer evaluates a loss only where all declared labels are given. The rest is for
                `TransformerModel`.

        The other arguments are those of `TransformerModel`.

        Returns:
            `loss` (scalar float32, mean over the labels, when there are any), `logits` (B, T, V) and what
            `TransformerModel` gives.
        """
        shift_labels = kwargs.pop("shift_labels", None)
        outputs = self.transformer(
            input_ids, attention_mask, position_ids, token_type_ids, None, past_key_values, inputs_embeds, use_cache,
            output_hidden_states, output_attentions, True, cache, **kwargs,
        )  # fmt: skip
        hidden = outputs.last_hidden_state
        if not isinstance(logits_to_keep, int):
            hidden = hidden[:, logits_to_keep]
        elif logits_to_keep:
            hidden = hidden[:, -logits_to_keep:]
        logits = self.lm_head(hidden)  # (B, T, V)
        if shift_labels is None and labels is not None:
            shift_labels = F.pad(labels[:, 1:], (0, 1), value=-100)
        loss = None if shift_labels is None else token_loss(logits, shift_labels)
        outputs = CausalLMOutputWithPast(
            loss, logits, getattr(outputs, CACHE_NAME), outputs.hidden_states, outputs.attentions
        )
        return self.finish(outputs, return_dict)


class TransformerForMaskedLM(TransformerPreTrainedModel):
    """The tokens behind a mask: a layer with activation and normalisation, then a linear layer with a bias (BERT)."""

    _tied_weights_keys = {"lm_head.weight": "transformer.embed_tokens.weight"}  # noqa: RUF012

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__(config)
        self.must_read("tokens")
        if config.is_causal:
            raise ValueError("TransformerForMaskedLM needs is_causal false: a masked token is told by both sides")
        self.transformer = TransformerModel(config)
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.activation = ACT2FN[config.hidden_act]
        # Not `norm`: loading would take the body's `transformer.norm` for it, as a body may be stored without prefix.
        self.head_norm = build_norm(config.hidden_size, config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size)
        self.post_init()

    @known_arguments(*PACKING_ARGUMENTS)
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        return_dict: bool | None = None,
        **kwargs: Any,
    ) -> MaskedLMOutput | tuple:
        """Compute the outputs, and the loss where targets are given.

        Args:
            labels: (B, T) the tokens behind the masks, -100 elsewhere.

        The other arguments are those of `TransformerModel`.

        Returns:
            `loss` (scalar float32, mean over the labels, when there are any), `logits` (B, T, V) and what
            `TransformerModel` gives.
        """
        outputs = self.transformer(
            input_ids, attention_mask, position_ids, token_type_ids, None, None, inputs_embeds, None,
            output_hidden_states, output_attentions, True, **kwargs,
        )  # fmt: skip
        hidden = self.head_norm(self.activation(self.dense(outputs.last_hidden_state)))
        logits = self.lm_head(hidden)  # (B, T, V)
        loss = None if labels is None else token_loss(logits, labels)
        return self.finish(MaskedLMOutput(loss, logits, outputs.hidden_states, outputs.attentions), return_dict)


class TransformerClassifier(nn.Module):
    """Logits from the tokens: pooling, the pooler's layer where the config names its activation, a linear layer."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.pooling = config.pooling
        self.has_pooler = config.pooler_act is not None
        if self.has_pooler:
            self.pooler = nn.Linear(config.hidden_size, config.hidden_size)
            self.activation = ACT2FN[config.pooler_act]
        self.dropout = nn.Dropout(config.classifier_dropout_prob)
        self.output = nn.Linear(config.hidden_size, config.num_labels)

    def forward(self, hidden: Tensor, attention_mask: Tensor | None) -> Tensor:
        hidden = pool_tokens(hidden, attention_mask, self.pooling)  # (B, D)
        if self.has_pooler:
            hidden = self.activation(self.pooler(hidden))
        return self.output(self.dropout(hidden))  # (B, L)


class TransformerForSequenceClassification(TransformerPreTrainedModel):
    """A class, or values, of each text."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__(config)
        self.must_read("tokens")
        self.num_labels = config.num_labels
        self.transformer = TransformerModel(config)
        self.classifier = TransformerClassifier(config)
        self.post_init()

    @known_arguments(*PACKING_ARGUMENTS)
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        return_dict: bool | None = None,
        **kwargs: Any,
    ) -> SequenceClassifierOutput | tuple:
        """Compute the outputs, and the loss where targets are given.

        Args:
            labels: targets, of the form that `classification_loss` tells for the config's problem_type.

        The other arguments are those of `TransformerModel`; rows of several lengths need `attention_mask`.

        Returns:
            `loss` (scalar, when there are labels), `logits` (B, L) and what `TransformerModel` gives.
        """
        outputs = self.transformer(
            input_ids, attention_mask, position_ids, token_type_ids, None, None, inputs_embeds, None,
            output_hidden_states, output_attentions, True, **kwargs,
        )  # fmt: skip
        logits = self.classifier(outputs.last_hidden_state, attention_mask)
        loss = None if labels is None else classification_loss(logits, labels, self.config.problem_type)
        outputs = SequenceClassifierOutput(loss, logits, outputs.hidden_states, outputs.attentions)
        return self.finish(outputs, return_dict)


class TransformerForTokenClassification(TransformerPreTrainedModel):
    """A class of each token."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__(config)
        self.must_read("tokens")
        self.num_labels = config.num_labels
        self.transformer = TransformerModel(config)
        self.dropout = nn.Dropout(config.classifier_dropout_prob)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    @known_arguments(*PACKING_ARGUMENTS)
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        return_dict: bool | None = None,
        **kwargs: Any,
    ) -> TokenClassifierOutput | tuple:
        """Compute the outputs, and the loss where targets are given.

        Args:
            labels: (B, T) classes, -100 for tokens without one.

        The other arguments are those of `TransformerModel`.

        Returns:
            `loss` (scalar float32, mean over the labels, when there are any), `logits` (B, T, L) and what
            `TransformerModel` gives.
        """
        outputs = self.transformer(
            input_ids, attention_mask, position_ids, token_type_ids, None, None, inputs_embeds, None,
            output_hidden_states, output_attentions, True, **kwargs,
        )  # fmt: skip
        logits = self.classifier(self.dropout(outputs.last_hidden_state))  # (B, T, L)
        loss = None if labels is None else token_loss(logits, labels)
        return self.finish(TokenClassifierOutput(loss, logits, outputs.hidden_states, outputs.attentions), return_dict)


class TransformerForImageClassification(TransformerPreTrainedModel):
    """A class of each image."""

    main_input_name = "pixel_values"
    input_modalities = ("image",)

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__(config)
        self.must_read("images")
        self.num_labels = config.num_labels
        self.transformer = TransformerModel(config)
        self.classifier = TransformerClassifier(config)
        self.post_init()

    @known_arguments(*PACKING_ARGUMENTS)
    def forward(
        self,
        pixel_values: Tensor | None = None,
        labels: Tensor | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        return_dict: bool | None = None,
        **kwargs: Any,
    ) -> ImageClassifierOutput | tuple:
        """Compute the outputs, and the loss where targets are given.

        Args:
            pixel_values: (B, C, height, width), normalised by the processor; sides that the patch size divides.
            labels: targets, of the form that `classification_loss` tells for the config's problem_type.

        The other arguments are those of `TransformerModel`.

        Returns:
            `loss` (scalar, when there are labels), `logits` (B, L) and what `TransformerModel` gives.
        """
        outputs = self.transformer(
            pixel_values=pixel_values, output_hidden_states=output_hidden_states, output_attentions=output_attentions,
            return_dict=True, **kwargs,
        )  # fmt: skip
        logits = self.classifier(outputs.last_hidden_state, None)
        loss = None if labels is None else classification_loss(logits, labels, self.config.problem_type)
        return self.finish(ImageClassifierOutput(loss, logits, outputs.hidden_states, outputs.attentions), return_dict)


@dataclass
class TransformerZeroShotOutput(ModelOutput):
    """Holds what `TransformerForZeroShotImageClassification` gives, for B images and B' texts.

    Args:
        loss: contrastive loss, a scalar, when there is one text an image.
        logits_per_image: (B, B') similarity of images and texts, scaled.
        logits_per_text: (B', B) the same, transposed.
        text_embeds: (B', E) of unit length.
        image_embeds: (B, E) of unit length.
        hidden_states: of the image tower, when asked for.
        text_hidden_states: of the text tower, when asked for.
    """

    loss: Tensor | None = None
    logits_per_image: Tensor | None = None
    logits_per_text: Tensor | None = None
    text_embeds: Tensor | None = None
    image_embeds: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    text_hidden_states: tuple[Tensor, ...] | None = None


class TransformerForZeroShotImageClassification(TransformerPreTrainedModel):
    """A tower for images and one for texts, whose vectors lie close where the text is of the image (CLIP)."""

    input_modalities = ("image", "text")

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__(config)
        self.must_read("images")
        text_config = config.text_tower_config()
        self.transformer = TransformerModel(config)  # of images
        self.text_transformer = TransformerModel(text_config)
        self.visual_projection = nn.Linear(config.hidden_size, config.projection_dim, bias=False)
        self.text_projection = nn.Linear(text_config.hidden_size, config.projection_dim, bias=False)
        self.logit_scale = nn.Parameter(torch.empty(()))
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, TransformerForZeroShotImageClassification):
            init.constant_(module.logit_scale, self.config.logit_scale_init_value)

    def set_attn_implementation(self, *args: Any, **kwargs: Any) -> None:
        """Set the attention implementation of both towers, as `PreTrainedModel.set_attn_implementation` does of one."""
        super().set_attn_implementation(*args, **kwargs)
        # transformers 5.17 leaves out a module whose config is of the same class as the model's.
        self.text_transformer.set_attn_implementation(*args, **kwargs)

    def get_image_features(self, pixel_values: Tensor) -> Tensor:
        """Return the images' vectors of unit length, (B, C, height, width) -> (B, E)."""
        return self.embed_images(self.transformer(pixel_values=pixel_values, return_dict=True).last_hidden_state)

    def get_text_features(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Return the texts' vectors of unit length, (B', T) -> (B', E)."""
        outputs = self.text_transformer(input_ids, attention_mask, return_dict=True)
        return self.embed_texts(outputs.last_hidden_state, attention_mask)

    def embed_images(self, hidden: Tensor) -> Tensor:
        """Return vectors of unit length (B, E) of the patches' last hidden states (B, T, D)."""
        pooled = pool_tokens(hidden, None, self.config.pooling)
        return F.normalize(self.visual_projection(pooled), dim=-1)

    def embed_texts(self, hidden: Tensor, attention_mask: Tensor | None) -> Tensor:
        """Return vectors of unit length (B, E) of the tokens' last hidden states (B, T, D)."""
        pooled = pool_tokens(hidden, attention_mask, self.text_transformer.config.pooling)
        return F.normalize(self.text_projection(pooled), dim=-1)

    @known_arguments()
    def forward(
        self,
        input_ids: Tensor | None = None,
        pixel_values: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        return_loss: bool = True,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> TransformerZeroShotOutput | tuple:
        """Compute the outputs, and the loss where targets are given.

        Args:
            input_ids: (B', T) int64, in 0..V-1.
            pixel_values: (B, C, height, width), normalised by the processor.
            attention_mask: (B', T) 1 for tokens, 0 for padding.
            token_type_ids: (B', T) as tokenizers may give them.
            return_loss: give the loss of matched pairs where there are as many texts as images; in training over the
                rows of all processes, of which the loss is the same on each.
            output_hidden_states: give the towers' hidden states; the config's choice when None.
            return_dict: a ModelOutput (True) or a tuple (False); the config's choice when None.
        """
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        images = self.transformer(
            pixel_values=pixel_values, output_hidden_states=output_hidden_states, return_dict=True
        )
        texts = self.text_transformer(
            input_ids, attention_mask, token_type_ids=token_type_ids, output_hidden_states=output_hidden_states,
            return_dict=True,
        )  # fmt: skip
        image_embeds = self.embed_images(images.last_hidden_state)  # (B, E)
        text_embeds = self.embed_texts(texts.last_hidden_state, attention_mask)  # (B', E)
        # The limit is CLIP's, section 2.5: larger ones made its training unstable.
        scale = self.logit_scale.exp().clamp(max=100)
        logits_per_image = scale * image_embeds @ text_embeds.T  # (B, B')
        loss = None
        if return_loss and len(image_embeds) == len(text_embeds):
            loss = contrastive_loss(image_embeds, text_embeds, scale, gather=self.training)
        outputs = TransformerZeroShotOutput(
            loss, logits_per_image, logits_per_image.T, text_embeds, image_embeds, images.hidden_states,
            texts.hidden_states,
        )  # fmt: skip
        return self.finish(outputs, return_dict)


def pool_tokens(hidden: Tensor, attention_mask: Tensor | None, pooling: str) -> Tensor:
    """Map one vector a row, (B, T, D) -> (B, D): the mean of its tokens, the first or the last, padding left out."""
    if attention_mask is None:
        return {"mean": lambda: hidden.mean(1), "first": lambda: hidden[:, 0], "last": lambda: hidden[:, -1]}[pooling]()
    mask = attention_mask.to(hidden.dtype)
    if pooling == "mean":
        # A row of padding alone has the mean 0.
        return (hidden * mask.unsqueeze(-1)).sum(1) / mask.sum(1, keepdim=True).clamp(min=1)
    position = mask.argmax(1) if pooling == "first" else mask.shape[1] - 1 - mask.flip(1).argmax(1)
    return hidden[torch.arange(len(hidden), device=hidden.device), position]


def token_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean cross-entropy of tokens in float32: logits (B, T, classes), labels (B, T) with -100 for none."""
    return F.cross_entropy(logits.flatten(0, 1).float(), labels.flatten().to(logits.device))


def contrastive_loss(image_embeds: Tensor, text_embeds: Tensor, scale: Tensor, gather: bool) -> Tensor:
    """Compute which text belongs to an image, and which image to a text, by cross-entropy (arXiv:2103.00020, figure 3).

    Args:
        image_embeds: (B, E) of unit length.
        text_embeds: (B, E), row by row the images' texts.
        scale: the inverse temperature.
        gather: over the rows of all processes, if there are several.
    """
    images, texts = image_embeds.float(), text_embeds.float()
    if gather and dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        images, texts = gather_rows(images), gather_rows(texts)
    logits = scale.float() * images @ texts.T
    targets = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, targets) + F.cross_entropy(logits.T, targets)) / 2


def gather_rows(rows: Tensor) -> Tensor:
    """Return the rows of all processes, (B, E) -> (sum of B, E), in the order of the processes, which may have several
    B.

    Each process computes the same loss of all rows, and its own rows alone have a gradient. The mean over the
    processes is weighted by their rows. It is that of the whole batch when each own gradient is scaled by the inverse
    of these weights. With equal B that is DistributedDataParallel's mean."""
    sizes = [torch.zeros((), dtype=torch.long, device=rows.device) for _ in range(dist.get_world_size())]
    dist.all_gather(sizes, torch.tensor(len(rows), device=rows.device))
    sizes = [int(size) for size in sizes]
    padded = F.pad(rows.detach(), (0, 0, 0, max(sizes) - len(rows)))
    rows_of_processes = [torch.empty_like(padded) for _ in sizes]
    dist.all_gather(rows_of_processes, padded)
    rows_of_processes = [some[:size] for some, size in zip(rows_of_processes, sizes, strict=True)]
    factor = sum(sizes) / len(rows)
    rows_of_processes[dist.get_rank()] = rows + (factor - 1) * (
        rows - rows.detach()
    )  # the value of rows, factor times the gradient
    return torch.cat(rows_of_processes)


__all__ = [
    "TransformerConfig",
    "TransformerForCausalLM",
    "TransformerForImageClassification",
    "TransformerForMaskedLM",
    "TransformerForSequenceClassification",
    "TransformerForTokenClassification",
    "TransformerForZeroShotImageClassification",
    "TransformerModel",
    "TransformerPreTrainedModel",
]
