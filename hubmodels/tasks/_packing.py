"""What the tasks on running text share: the tokens of all texts one after another, cut into windows."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ..errors import HubmodelsError
from ..fields import option
from ._text import TextTask, check_texts, text_column, vocabulary_size

if TYPE_CHECKING:
    import datasets
    import numpy as np
    import torch

    from ._unbound import Rows


@dataclass(kw_only=True)
class PackedTextTask(TextTask):
    """A task whose rows are windows of one stream of tokens, so that no place of a batch is padding."""

    config_fields: ClassVar[tuple[str, ...]] = ("vocab_size", "bos_token_id", "eos_token_id", "pad_token_id")
    carve: ClassVar[str] = "last"  # lines of a file follow each other
    overlap: ClassVar[int] = 0  # tokens that a window shares with the next one, and has beyond `context_length`

    context_length: int = option(256, "tokens that the model reads at once in training, >= 1")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.context_length < 1:
            raise ValueError(f"context_length must be at least 1, got {self.context_length}")

    def pack(self, texts: list[str], processor: Any) -> "list[np.ndarray]":
        """The tokens of each text with what stands between texts, int32."""
        raise NotImplementedError

    def select(self, dataset: "datasets.Dataset") -> "datasets.Dataset":
        return dataset.select_columns([text_column(dataset.features, self.text_column_name)])

    def longest(self, train: "datasets.Dataset", tokenizer: Any) -> int:
        return self.context_length

    def fit_config(self, train: "datasets.Dataset", processor: Any) -> dict[str, Any]:
        """Size of the vocabulary and numbers of the special tokens, as the tokenizer has them."""
        return {
            "vocab_size": vocabulary_size(processor),
            "bos_token_id": processor.bos_token_id,
            "eos_token_id": processor.eos_token_id,
            "pad_token_id": processor.pad_token_id,
        }

    def encoded_features(self, processor: Any, config_values: dict[str, Any]) -> "datasets.Features":
        import datasets

        return datasets.Features(input_ids=datasets.Value("int32"))

    def encode(
        self,
        rows: dict[str, list],
        row_numbers: list[int],
        features: "datasets.Features",
        processor: Any,
        config_values: dict[str, Any],
    ) -> "Rows":
        """The tokens of all rows, one after another, (N,) int32. An empty text has none."""
        import numpy as np

        (column,) = features
        check_texts(rows[column], row_numbers, column, empty=True)
        return {"input_ids": np.concatenate(self.pack(rows[column], processor))}

    def windows(self, columns: Any, processor: Any, config_values: dict[str, Any]) -> "tuple[torch.Tensor, int]":
        """The first token of each window, and the tokens in a window. An end-of-text token at the very end, which
        separates nothing, is left out where windows predict what follows."""
        import torch

        tokens = columns.tensor("input_ids") if len(columns) else []
        count = len(tokens)
        if self.overlap and count and int(tokens[-1]) == processor.eos_token_id:
            count -= 1
        number = (count - self.overlap) // self.context_length
        if number < 1:
            raise HubmodelsError(
                f"a split has only {count:,} tokens, fewer than the {self.context_length + self.overlap} of a window; "
                f"give more text or a smaller --context_length"
            )
        return torch.arange(number) * self.context_length, self.context_length + self.overlap

    def window_shift(self) -> int:
        return self.context_length - 1
