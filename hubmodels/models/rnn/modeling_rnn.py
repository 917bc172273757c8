"""Recurrent networks for text: a language model, a classifier of sequences and one of tokens.

Elman networks, LSTMs and GRUs (papers in modeling_rnn_encoder.py), regularised as AWD-LSTM is (Merity et al. 2017,
arXiv:1708.02182), whose activation penalties and averaged SGD are left out.
"""

from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from transformers.generation import GenerationMixin
from transformers.modeling_outputs import SequenceClassifierOutput, TokenClassifierOutput
from transformers.utils import ModelOutput

from .configuration_rnn import RnnConfig
from .modeling_rnn_encoder import RnnModel, RnnPreTrainedModel, drop_features
from .modeling_rnn_series import RnnForTimeSeriesClassification, RnnForTimeSeriesPrediction
from .modeling_rnn_shared import classification_loss, known_arguments

# B batch, T steps (tokens), E embedding_size, H hidden_size, D width of a layer's output (H times directions),
# V vocab_size, N num_labels, and the state's layers, directions and parts as in modeling_rnn_encoder.py


@dataclass
class RnnCausalLMOutput(ModelOutput):
    """Holds what an `RnnForCausalLM` gives."""

    loss: Tensor | None = None  # nats a token, a mean over the labels, in float32
    logits: Tensor | None = None  # (B, T, V)
    state: Tensor | None = None  # (B, L * R, P, H) behind each row's last valid step
    hidden_states: tuple[Tensor, ...] | None = None  # the embeddings and each layer's outputs


class RnnForCausalLM(RnnPreTrainedModel, GenerationMixin):
    """A language model: the next token's logits at each token.

    `generate` feeds one token at a time with the state, so that every token costs the same. `state` can be given to it,
    too, to go on from an earlier text."""

    _tied_weights_keys = {"lm_head.weight": "rnn.embeddings.weight"}  # noqa: RUF012
    _is_stateful = True

    def __init__(self, config: RnnConfig) -> None:
        if config.bidirectional:
            raise ValueError("a causal language model reads in one direction: bidirectional must be false, got true")
        super().__init__(config)
        self.rnn = RnnModel(config)
        width = config.embedding_size if config.tie_word_embeddings else config.output_size
        same = width == config.output_size
        self.projection = nn.Identity() if same else nn.Linear(config.output_size, width, bias=False)
        self.lm_head = nn.Linear(width, config.vocab_size)
        self.post_init()

    def get_output_embeddings(self) -> nn.Linear:
        return self.lm_head

    def set_output_embeddings(self, lm_head: nn.Linear) -> None:
        self.lm_head = lm_head

    @known_arguments("shift_labels")
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        state: Tensor | None = None,
        labels: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        logits_to_keep: int = 0,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        **kwargs: Any,
    ) -> RnnCausalLMOutput | tuple:
        """Compute the outputs, and the loss where targets are given.

        Args:
            input_ids: (B, T), tokens.
            attention_mask: (B, T), 1 for tokens, 0 for padding, wherever it is; no padding when absent.
            state: (B, L * R, P, H), an earlier call's, to go on from there; from the start when absent.
            labels: (B, T), usually the input_ids: the model is asked for the label after each token. -100 for none.
            inputs_embeds: (B, T, E) instead of input_ids.
            logits_to_keep: give the logits of so many last tokens, 0 for all; labels need all.
            output_hidden_states: give the embeddings and each layer's outputs too; the config's choice when None.
            return_dict: a ModelOutput (True) or a tuple (False); the config's choice when None.
            **kwargs: `shift_labels`, (B, T), in the place of labels: the token after each, beside it. -100 for none. It
                is not declared: Trainer evaluates a loss only where all declared labels are given.
        """
        config, shift_labels = self.config, kwargs.get("shift_labels")
        # As a tuple: a ModelOutput takes a tenth of a token's time in `generate`.
        outputs = self.rnn(input_ids, attention_mask, state, inputs_embeds, output_hidden_states, return_dict=False)
        hidden, _, state, *rest = outputs  # (B, T, D)
        if (
            state.device.type == "mps"
        ):  # there alone `generate` of transformers 5.23 asks whether it can take steps back
            state.is_croppable = False
        hidden = hidden[:, -logits_to_keep:] if logits_to_keep else hidden
        hidden = drop_features(hidden, config.output_dropout_prob, self.training)
        logits = self.lm_head(self.projection(hidden))  # (B, T, V)
        loss = None
        if shift_labels is None and labels is not None:
            shift_labels = F.pad(labels[:, 1:], (0, 1), value=-100)
        if shift_labels is not None:
            loss = token_loss(logits, shift_labels)
        output = RnnCausalLMOutput(loss=loss, logits=logits, state=state, hidden_states=rest[0] if rest else None)
        return output if (config.return_dict if return_dict is None else return_dict) else output.to_tuple()

    # Generation

    @classmethod
    def _supports_default_dynamic_cache(cls) -> bool:
        """Say no: the state is no cache of keys and values."""
        return False

    def prepare_inputs_for_generation(
        self,
        input_ids: Tensor,
        state: Tensor | None = None,
        attention_mask: Tensor | None = None,
        use_cache: bool | None = True,
        is_first_iteration: bool | None = False,
        next_sequence_length: int | None = None,
        output_hidden_states: bool | None = None,
        logits_to_keep: int = 1,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Return what `forward` takes in a step of `generate`: the text, later the newest token and the state."""
        del next_sequence_length, kwargs
        inputs = {"input_ids": input_ids, "state": state, "output_hidden_states": output_hidden_states}
        if use_cache and not is_first_iteration:
            return {**inputs, "input_ids": input_ids[:, -1:]}
        return {**inputs, "attention_mask": attention_mask, "logits_to_keep": logits_to_keep}

    def _update_model_kwargs_for_generation(
        self, outputs: ModelOutput, model_kwargs: dict[str, Any], is_encoder_decoder: bool = False,
        num_new_tokens: int = 1,
    ) -> dict[str, Any]:  # fmt: skip
        """Keep the state for the next step, or without use_cache the mask for the whole text so far."""
        if model_kwargs.get("use_cache", True):
            model_kwargs["state"] = outputs.state
        elif model_kwargs.get("attention_mask") is not None:
            model_kwargs["attention_mask"] = F.pad(model_kwargs["attention_mask"], (0, num_new_tokens), value=1)
        return model_kwargs

    @staticmethod
    def _reorder_cache(state: Tensor, beam_idx: Tensor) -> Tensor:
        """Return the states of the beams that go on."""
        return state.index_select(0, beam_idx)


class RnnForSequenceClassification(RnnPreTrainedModel):
    """A linear classifier on the pooled sequence."""

    def __init__(self, config: RnnConfig) -> None:
        super().__init__(config)
        self.num_labels = config.num_labels
        self.rnn = RnnModel(config)
        self.dropout = nn.Dropout(config.output_dropout_prob)
        self.classifier = nn.Linear(config.output_size, config.num_labels)
        self.post_init()

    @known_arguments()
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> SequenceClassifierOutput | tuple:
        """Compute the outputs, and the loss where targets are given.

        Args:
            input_ids: (B, T), tokens.
            attention_mask: (B, T), 1 for tokens, 0 for padding, wherever it is; no padding when absent.
            labels: targets, of the form that `classification_loss` tells for the config's problem_type.
            inputs_embeds: (B, T, E) instead of input_ids.
            output_hidden_states: give the embeddings and each layer's outputs too; the config's choice when None.
            return_dict: a ModelOutput (True) or a tuple (False); the config's choice when None.
        """
        outputs = self.rnn(input_ids, attention_mask, None, inputs_embeds, output_hidden_states, return_dict=True)
        logits = self.classifier(self.dropout(outputs.pooler_output))  # (B, N)
        loss = None if labels is None else classification_loss(logits, labels, self.config.problem_type)
        output = SequenceClassifierOutput(loss=loss, logits=logits, hidden_states=outputs.hidden_states)
        return output if (self.config.return_dict if return_dict is None else return_dict) else output.to_tuple()


class RnnForTokenClassification(RnnPreTrainedModel):
    """A linear classifier on each token."""

    def __init__(self, config: RnnConfig) -> None:
        super().__init__(config)
        self.num_labels = config.num_labels
        self.rnn = RnnModel(config)
        self.classifier = nn.Linear(config.output_size, config.num_labels)
        self.post_init()

    @known_arguments()
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> TokenClassifierOutput | tuple:
        """Compute the outputs, and the loss where targets are given.

        Args:
            input_ids: (B, T), tokens.
            attention_mask: (B, T), 1 for tokens, 0 for padding, wherever it is; no padding when absent.
            labels: (B, T), the class of each token, -100 for none.
            inputs_embeds: (B, T, E) instead of input_ids.
            output_hidden_states: give the embeddings and each layer's outputs too; the config's choice when None.
            return_dict: a ModelOutput (True) or a tuple (False); the config's choice when None.
        """
        outputs = self.rnn(input_ids, attention_mask, None, inputs_embeds, output_hidden_states, return_dict=True)
        hidden = drop_features(outputs.last_hidden_state, self.config.output_dropout_prob, self.training)
        logits = self.classifier(hidden)  # (B, T, N)
        loss = None if labels is None else token_loss(logits, labels)
        output = TokenClassifierOutput(loss=loss, logits=logits, hidden_states=outputs.hidden_states)
        return output if (self.config.return_dict if return_dict is None else return_dict) else output.to_tuple()


def token_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Compute mean cross-entropy in nats, in float32, over the labels (B, T) that are not -100. Raises ValueError where
    the labels have another shape than the tokens."""
    if labels.shape != logits.shape[:2]:
        raise ValueError(f"labels must have the tokens' shape {tuple(logits.shape[:2])}, got {tuple(labels.shape)}")
    return F.cross_entropy(logits.flatten(0, 1).float(), labels.flatten())


__all__ = [
    "RnnConfig",
    "RnnForCausalLM",
    "RnnForSequenceClassification",
    "RnnForTimeSeriesClassification",
    "RnnForTimeSeriesPrediction",
    "RnnForTokenClassification",
    "RnnModel",
    "RnnPreTrainedModel",
]
