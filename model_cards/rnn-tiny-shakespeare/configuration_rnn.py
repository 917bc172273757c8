"""Configuration of the recurrent network. The defaults are a two-layer LSTM language model on bytes."""

from typing import Literal

from huggingface_hub.dataclasses import strict
from transformers.configuration_utils import PreTrainedConfig


@strict
class RnnConfig(PreTrainedConfig):
    """What decides the network of an `RnnModel` and its heads.

    The dropouts are those of AWD-LSTM (Merity et al. 2017, arXiv:1708.02182, section 4): one draw holds for all
    steps of a sequence, and for weights and embeddings also for all rows of a batch.

    Raises:
        huggingface_hub.errors.StrictDataclassError: a field has another type or lies outside of the range beside it.
    """

    model_type = "hubmodels_rnn"

    # Recurrence
    cell: Literal["rnn", "lstm", "gru"] = "lstm"  # Elman's, long short-term memory, or gated recurrent unit
    hidden_size: int = 256  # width of each layer's state, >= 1
    num_hidden_layers: int = 2  # layers, each of which reads the one below, >= 1
    bidirectional: bool = False  # each layer also reads from the end, which doubles its width; not for causal LMs
    hidden_act: Literal["tanh", "relu"] = "tanh"  # activation of cell rnn; the other cells have their own
    forget_gate_bias: float | int = 1.0  # what the forget gates' bias of an LSTM starts at
    hidden_dropout_prob: float | int = 0.0  # share of features dropped between layers, in [0, 1)
    weight_dropout_prob: float | int = 0.0  # share of recurrent weights dropped, the same for all steps, in [0, 1)

    # Text
    vocab_size: int = 256  # tokens that are known, >= 1
    embedding_size: int = 128  # width of an embedded token, >= 1
    tie_word_embeddings: bool = False  # causal LM: the output layer's weights are the embeddings; where embedding_size
    # is not the width of a layer, a linear map leads from one to the other
    pad_token_id: int | None = None  # token that fills a batch; absent where there is none
    bos_token_id: int | None = None  # token that begins a text
    eos_token_id: int | list[int] | None = None  # token or tokens that end a text
    embedding_dropout_prob: float | int = 0.0  # share of the vocabulary dropped, wherever it occurs, in [0, 1)
    input_dropout_prob: float | int = 0.0  # share of the input's features dropped, in [0, 1)

    # Heads
    output_dropout_prob: float | int = 0.0  # share of the last layer's features dropped, in [0, 1)
    pooling: Literal["last", "max", "mean"] = "last"  # a sequence's features: the last valid step's (for the backward
    # direction the first's), or each feature's maximum or mean over the valid steps

    # Time series

    def validate_sizes(self) -> None:
        """Refuse sizes that no network can have."""
        for name in ("hidden_size", "num_hidden_layers", "vocab_size", "embedding_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")

    def validate_dropout(self) -> None:
        """Refuse shares that leave nothing."""
        for name in ("embedding", "input", "hidden", "weight", "output"):
            if not 0 <= getattr(self, f"{name}_dropout_prob") < 1:
                value = getattr(self, f"{name}_dropout_prob")
                raise ValueError(f"{name}_dropout_prob must be at least 0 and below 1, got {value}")

    @property
    def num_directions(self) -> int:
        """Directions in which a layer reads: 1 or 2."""
        return 2 if self.bidirectional else 1

    @property
    def output_size(self) -> int:
        """Width of a layer's output."""
        return self.hidden_size * self.num_directions

    @property
    def state_shape(self) -> tuple[int, int, int]:
        """Shape of a row's state: layers times directions, 2 for an LSTM (hidden and cell) or 1, hidden_size."""
        num_parts = 2 if self.cell == "lstm" else 1
        return self.num_hidden_layers * self.num_directions, num_parts, self.hidden_size


__all__ = ["RnnConfig"]
