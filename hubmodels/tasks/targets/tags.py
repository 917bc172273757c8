"""A tag for each word of a sentence (names, parts of speech): labels, predictions, metrics over entities."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ...errors import BadRow, HubmodelsError
from ...fields import option
from ...report import Figure
from ..contract.columns import (
    can_be_classes,
    choose_column,
    class_names,
    class_numbers,
    describe_columns,
    existing_column,
    label_maps,
)
from ..contract.parts import FittedTarget, Target
from ..contract.weights import row_weights, sum_over_rows

if TYPE_CHECKING:
    import datasets
    import numpy as np

    from ..contract.types import Batch, ModelOutput, RawRows, Rows

TAG_NAMES = ("ner_tags", "tags", "labels", "pos_tags", "upos", "label")
NO_LABEL = -100  # of a token that carries no tag
ROWS_AT_ONCE = 1_000


@dataclass(kw_only=True)
class Tags(Target):
    """Holds the options of a tag a word."""

    decided_fields: ClassVar[tuple[str, ...]] = ("id2label", "label2id")

    weighs_rows: ClassVar[bool] = True
    main_metric: ClassVar[str] = "f1"
    greater_is_better: ClassVar[bool] = True
    metric_names: ClassVar[dict[str, str]] = {
        "f1": "entity F1",
        "precision": "entity precision",
        "recall": "entity recall",
        "accuracy": "word accuracy",
    }

    label_column_name: str | None = option(None, "column of the tags; the only column of tags when absent")

    def columns(self, features: "datasets.Features", claimed: list[str]) -> list[str]:
        """Name the column of tags: the chosen one, else the only one of lists of classes, else by a usual name."""
        return [tag_column(features, self.label_column_name, claimed)]

    def fit(self, train: "datasets.Dataset", columns: list[str]) -> "FittedTags":
        """Take a class column's own names in their order, or the distinct texts or integers of the rows, sorted."""
        import datasets

        (column,) = columns
        feature = train.features[column].feature
        flat: list[Any] = []
        if not isinstance(feature, datasets.ClassLabel):
            batches = train.select_columns([column]).iter(batch_size=ROWS_AT_ONCE)
            flat = [tag for rows in batches for tags in rows[column] for tag in tags or ()]
        rows = datasets.Dataset.from_dict({column: flat}, features=datasets.Features({column: feature}))
        return FittedTags(options=self, names=class_names(rows, column))

    def restore(self, config: Mapping[str, Any], state: Mapping[str, Any]) -> "FittedTags":
        """Take the tags from the config's `id2label`."""
        labels = {int(number): str(label) for number, label in (config.get("id2label") or {}).items()}
        return FittedTags(options=self, names=[labels[number] for number in sorted(labels)])


@dataclass(kw_only=True)
class FittedTags(FittedTarget[Tags]):
    """Tags in the order of their numbers."""

    names: list[str]

    def config_fields(self) -> dict[str, Any]:
        """Return the label maps."""
        return label_maps(self.names)

    def number_tags(
        self, rows: "RawRows", row_numbers: list[int], column: str, features: "datasets.Features", words: str
    ) -> "list[np.ndarray]":
        """Return the numbers of each sentence's tags, (words,) int64 each.

        `words` is the column of words, of which each has a tag. Raises HubmodelsError naming a row with more or fewer,
        or with an unknown tag."""
        import numpy as np

        for sentence, tags, number in zip(rows[words], rows[column], row_numbers, strict=True):
            if tags is None or len(tags) != len(sentence):
                raise BadRow(
                    number,
                    column,
                    f"there are {len(tags or ())} tags and {len(sentence)} words in column {words!r}; each word needs "
                    "one",
                )
        flat = [tag for tags in rows[column] for tag in tags]
        numbers = [number for tags, number in zip(rows[column], row_numbers, strict=True) for _ in tags]
        labels = class_numbers(flat, numbers, column, features[column].feature, dict(enumerate(self.names)))
        return np.split(labels, np.cumsum([len(tags) for tags in rows[column]])[:-1])

    def predict(self, outputs: "ModelOutput", batch: "Batch") -> "Batch":
        """Return counts of each sentence, see `tag_rows`."""
        import torch

        from .tag_rows import tag_rows

        labels, predictions = batch["labels"], outputs.logits.argmax(dim=-1)
        counted = labels != NO_LABEL
        pairs = [
            (label[some].tolist(), prediction[some].tolist())
            for label, prediction, some in zip(labels.cpu(), predictions.cpu(), counted.cpu(), strict=True)
        ]
        return {name: torch.from_numpy(value).to(labels.device) for name, value in tag_rows(pairs, self.names).items()}

    def metrics(self, rows: "Rows") -> dict[str, float]:
        """Compute precision, recall and F1 over all entities (micro), and the share of words with the right tag."""
        weights = row_weights(rows)
        right, predicted, actual = (
            float(sum_over_rows(rows[name], weights).sum()) for name in ("right", "predicted", "actual")
        )
        hits, words = (float(sum_over_rows(rows[name], weights)) for name in ("hits", "words"))
        nothing = float("nan")
        return {
            "f1": 2 * right / (predicted + actual) if predicted + actual else nothing,
            "precision": right / predicted if predicted else nothing,
            "recall": right / actual if actual else nothing,
            "accuracy": hits / words if words else nothing,
        }

    def class_names(self) -> list[str]:
        """Name the kinds of entities: the tags without B- and I-, and without O."""
        from .tag_rows import entity_kinds

        return entity_kinds(self.names)

    def class_metrics(self, rows: "Rows") -> "dict[str, np.ndarray]":
        """Compute precision, recall and F1 of each kind of entity."""
        import numpy as np

        weights = row_weights(rows)
        right, predicted, actual = (
            sum_over_rows(rows[name], weights).astype(float) for name in ("right", "predicted", "actual")
        )
        with np.errstate(invalid="ignore"):
            return {"precision": right / predicted, "recall": right / actual, "f1": 2 * right / (predicted + actual)}

    def figures(self, rows: "Rows") -> Iterator[Figure]:
        """Draw the confusion matrix of the kinds of tags, where they are few."""
        from ..figures.classes import confusion_figure
        from .tag_rows import MATRIX_KINDS, OUTSIDE, pairs_of_counts

        kinds = [OUTSIDE, *self.class_names()]
        if len(kinds) <= MATRIX_KINDS and "confusion" in rows:
            yield Figure(
                name="confusion_matrix",
                caption="Confusion matrix of the words of the test rows by kind of tag: true kinds down, predicted "
                "kinds across, coloured by the share of the true kind.",
                figure=confusion_figure(pairs_of_counts(rows["confusion"].sum(axis=0)), kinds),
            )


def tag_column(features: "datasets.Features", chosen: str | None, others: list[str]) -> str:
    """Name the column of tags (lists of classes): the `chosen` one, else by type and usual name, not of the `others`.

    Raises:
        HubmodelsError: there is none, there are several, or the chosen one is of another type.
    """
    import datasets

    lists = {
        name: feature.feature
        for name, feature in features.items()
        if isinstance(feature, datasets.List | datasets.LargeList)
    }
    if chosen is not None:
        existing_column(chosen, features, "label_column_name")
        if chosen not in lists or not can_be_classes(lists[chosen]):
            raise HubmodelsError(f"column {chosen!r} holds no lists of tags; choose another --label_column_name")
        return chosen
    candidates = [name for name, kind in lists.items() if isinstance(kind, datasets.ClassLabel)] or [
        name
        for name, kind in lists.items()
        if name.lower() in TAG_NAMES and name not in others and can_be_classes(kind)
    ]
    if not candidates:
        raise HubmodelsError(
            f"the data set has no column of tags (a list of classes, one a word); its columns are "
            f"{describe_columns(features)} (name it with --label_column_name)"
        )
    return choose_column(candidates, TAG_NAMES, "tag", "label_column_name")
