"""Samples: rows that nobody recorded, as near to the real ones as can be measured.

A model that draws rows is measured by its samples alone, whatever a row is (see `sample_quality`). Where its forward
gives the loss of each row, validation has it too. A model whose config says `class_conditional` is given the classes in
training, and asked for those of the test rows.
"""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar

from ... import abilities
from ...errors import HubmodelsError
from ...fields import option
from ...progress import without_bars
from ...report import Estimate, Examination, Figure
from ...units import Units
from ..contract.columns import class_names, label_maps, ordered_labels
from ..contract.parts import FittedTarget, Target
from ..contract.problem import FittedInputT, Problem, TaskT
from ..contract.rows import model_device

if TYPE_CHECKING:
    import datasets
    import numpy as np
    import pyarrow
    import torch

    from ..contract.types import Batch, EncodedColumns, ModelOutput, RawRows, Rows

logger = logging.getLogger("hubmodels")

# What `sample_quality` measures of drawn rows, and the names of it in a table.
SAMPLE_METRICS = {
    "fid": "Fréchet distance of samples",
    "fid_floor": "Fréchet distance of training rows",
    "fid_ratio": "Fréchet distance over its floor",
    "sample_precision": "precision of samples",
    "sample_recall": "recall of samples",
    "sample_density": "density of samples",
    "sample_coverage": "coverage of samples",
}
CURVE_STEPS = (5, 10, 20, 50)  # of a model that samples in steps, measured at each


@dataclass(kw_only=True)
class Samples(Target):
    """Holds the options of rows to be drawn like, and of their classes where the model is to know them."""

    decided_fields: ClassVar[tuple[str, ...]] = ("id2label", "label2id")

    main_metric: ClassVar[str] = "fid"
    greater_is_better: ClassVar[bool] = False
    metric_names: ClassVar[dict[str, str]] = SAMPLE_METRICS

    label_column_name: str | None = option(None, "column of classes; the usual one when absent, or none")

    def columns(self, features: "datasets.Features", claimed: list[str]) -> list[str]:
        """Name the class column where there is one."""
        from .optional_class import optional_label_column

        return optional_label_column(features, self.label_column_name, claimed, needed=False)

    def units(self, features: "datasets.Features", columns: list[str]) -> Units:
        """Balance carved rows by their classes, where there are any; a row needs none."""
        return Units(classes=columns[0] if columns else None)

    def fit(self, train: "datasets.Dataset", columns: list[str]) -> "FittedSamples":
        """Take the names of the classes where there are any."""
        from .optional_class import optional_class_names

        names = optional_class_names(train, columns, needed=self.label_column_name is not None)
        return FittedSamples(options=self, names=names)

    def restore(self, config: Mapping[str, Any], state: Mapping[str, Any]) -> "FittedSamples":
        """Take the names of the classes from the config's `id2label`."""
        return FittedSamples(options=self, names=ordered_labels(config))


@dataclass(kw_only=True)
class FittedSamples(FittedTarget[Samples]):
    """Classes in the order of their numbers; none where the rows have none."""

    names: list[str]

    def config_fields(self) -> dict[str, Any]:
        """Return the label maps, of which a class-conditional model has its number of classes."""
        return dict(label_maps(self.names)) if self.names else {}

    def encoded_features(self) -> dict[str, Any]:
        """Return the Arrow type of `labels`."""
        import datasets

        return {"labels": datasets.Value("int64")}

    def encode(
        self, rows: "RawRows", row_numbers: list[int], columns: list[str], features: "datasets.Features"
    ) -> "Rows":
        """Encode `labels` (B,) int64, -1 for a row without a class that is known."""
        import numpy as np

        from .optional_class import optional_class_numbers

        if not columns:
            return {"labels": np.full(len(row_numbers), -1, dtype=np.int64)}
        column = columns[0]
        return {"labels": optional_class_numbers(rows[column], features[column], self.names)}

    def predict(self, outputs: "ModelOutput", batch: "Batch") -> "Batch":
        """Return the loss of each row, where the model gives one; else nothing but that it was there."""
        import torch

        loss = abilities.row_loss(outputs)
        if loss is not None:
            return {"losses": loss.float()}
        inputs = next(iter(batch.values()))
        return {"rows": torch.ones(len(inputs), device=inputs.device)}

    def metrics(self, rows: "Rows") -> dict[str, float]:
        """Compute the mean loss where the model gives one."""
        return {"loss": float(rows["losses"].mean(dtype="float64"))} if "losses" in rows else {}


class Extractor(Protocol):
    """Gives features (N, D) of samples or real rows."""

    def __call__(self, samples: "torch.Tensor", /) -> "np.ndarray":
        """Compute features (N, D) float64."""
        ...


ExtractorT = TypeVar("ExtractorT", bound=Extractor)


@dataclass
class RealRows(Generic[ExtractorT]):
    """Real rows that samples are held against, with their features."""

    columns: "EncodedColumns"  # which they were drawn from
    extract: ExtractorT
    features: "np.ndarray"  # (N, D)
    labels: "torch.Tensor | None"  # (N,), for a model that is told classes


@dataclass(kw_only=True)
class SamplesProblem(Problem[TaskT, FittedInputT, FittedSamples], Generic[TaskT, FittedInputT, ExtractorT]):
    """Rows of any kind to be drawn like: what does not depend on the kind."""

    validation_samples: ClassVar[int]  # that an evaluation during training draws, at most

    _validation: RealRows[ExtractorT] | None = field(default=None, init=False, repr=False, compare=False)

    # ---------------------------------------------------------------- what depends on the kind of row

    def take_real(self, columns: "EncodedColumns", count: int, seed: int) -> "tuple[torch.Tensor, torch.Tensor]":
        """Draw real rows as `draw_samples` gives samples.

        Returns:
            At most `count` rows, and their classes (N,).
        """
        raise NotImplementedError

    def draw_samples(
        self, model: Any, count: int, seed: int, labels: "torch.Tensor | None" = None, **options: Any
    ) -> "torch.Tensor":
        """Draw samples (count, ...) of the model, of these classes (count,) where they are given."""
        raise NotImplementedError

    def extractor(self, real: "torch.Tensor", device: "torch.device") -> ExtractorT:
        """Make what gives features; `real` are rows that it may be fitted on."""
        raise NotImplementedError

    # ---------------------------------------------------------------- classes

    @property
    def class_conditional(self) -> bool:
        """Tell whether the model is told classes. Raises HubmodelsError where it wants some and the data have none."""
        if not self.model_values.get("class_conditional"):
            return False
        if not self.target.names:
            raise HubmodelsError(
                "class_conditional needs a column of at least two classes: name it with --label_column_name, or learn "
                "without classes by --class_conditional false"
            )
        return True

    def asked_classes(self, labels: "torch.Tensor") -> "torch.Tensor | None":
        """Return the classes (N,) to ask the model for, those of real rows; None for a model that is told none."""
        if not self.class_conditional:
            return None
        if missing := int((labels < 0).sum()):
            raise HubmodelsError(f"{missing} test rows have no class of the training rows: drop them")
        return labels

    # ---------------------------------------------------------------- results

    def baseline(self, train: "EncodedColumns", test: "EncodedColumns") -> None:
        """Give no rows: `examine` draws from the classical method and measures it."""
        return None

    def figures(self, rows: "Rows", columns: "EncodedColumns") -> Iterator[Figure]:
        """Draw nothing: every figure needs the model."""
        return iter(())

    def validate(self, model: Any, columns: "EncodedColumns") -> dict[str, float]:
        """Compute the Fréchet distance of as many samples as there are validation rows, at most some hundreds.

        The features of the validation rows are computed once for all evaluations."""
        from .sample_quality import frechet_distance

        real = self._validation
        if real is None or real.columns is not columns:
            real = self._validation = self._real_rows(model, columns)
        samples = self.draw_samples(model, len(real.features), self.seed, real.labels)
        return {"fid": frechet_distance(real.extract(samples), real.features)}

    def _real_rows(self, model: Any, columns: "EncodedColumns") -> RealRows[ExtractorT]:
        """Take rows of the validation split and their features."""
        rows, labels = self.take_real(columns, min(len(columns), self.validation_samples), self.seed)
        extract = self.extractor(rows, model_device(model))
        return RealRows(columns, extract, extract(rows), self.asked_classes(labels))

    def examine_steps(
        self,
        examination: Examination,
        model: Any,
        extract: Extractor,
        real: "np.ndarray",
        labels: "torch.Tensor | None",
    ) -> None:
        """Measure the distance over the number of steps, for a model that samples in steps.

        Args:
            examination: which the metrics and the figure are added to.
            model: in eval mode.
            extract: gives features.
            real: (N, D) features of test rows; as many samples are drawn at each number of steps.
            labels: (N,) of the samples; None for a model that is told none.
        """
        import numpy as np

        from ..figures.charts import curves_figure
        from .sample_quality import frechet_distance

        if not abilities.samples_in_steps(model):
            return
        logger.info("Measuring samples of %s steps ...", ", ".join(map(str, CURVE_STEPS)))
        distances = []
        for steps in CURVE_STEPS:
            samples = self.draw_samples(model, len(real), self.seed, labels, num_inference_steps=steps)
            distances.append(frechet_distance(extract(samples), real))
            examination.metrics[f"fid_{steps}_steps"] = Estimate(distances[-1])
        caption = f"Fréchet distance of {len(real):,} samples over the number of steps."
        figure = curves_figure(np.array(CURVE_STEPS), [("samples", np.array(distances))], "steps", "Fréchet distance")
        examination.figures.append(Figure("steps", caption, figure))

    def trajectory(self, model: Any, count: int, states: int, labels: "torch.Tensor | None") -> "torch.Tensor | None":
        """Draw how noise becomes samples, (count, states, ...); None for a model that cannot show it."""
        import torch

        if not isinstance(model, abilities.ShowsTrajectory):
            return None
        options = {} if labels is None else {"labels": labels.unique()[:count].repeat(count)[:count]}
        generator = torch.Generator(device=model_device(model)).manual_seed(self.seed)
        return model.sample_trajectory(count, states, generator=generator, **options)

    # ---------------------------------------------------------------- use

    def encode_inputs(self, table: "pyarrow.Table", row_numbers: list[int]) -> "Rows":
        """Refuse files: nothing is told of a row that there is, new ones are drawn."""
        raise HubmodelsError(
            f"{self.task.tag} has no prediction from files: the model draws new rows; use `hubmodels sample` for them"
        )

    def draw_rows(self, model: Any, rows: "datasets.Dataset", per_class: int, seed: int) -> "datasets.Dataset":
        """Draw files of each class of the rows, as they hold them."""
        import datasets
        import torch

        (content, *_), columns = self.task.columns(rows.features)
        if not columns:
            raise HubmodelsError("the data have no column of classes: name it with --label_column_name")
        column = columns[0]
        known = {name: number for number, name in enumerate(self.target.names)}
        names = class_names(rows, column)
        if missing := [name for name in names if name not in known]:
            raise HubmodelsError(
                f"the model does not draw {', '.join(missing[:5])}: its classes are {', '.join(list(known)[:20])}"
            )
        labels = torch.tensor([known[name] for name in names]).repeat_interleave(per_class)
        files = self.draw_files(model, len(labels), seed, labels)
        drawn: Any = [name for name in names for _ in range(per_class)]
        if isinstance(rows.features[column], datasets.ClassLabel):
            drawn = rows.features[column].str2int(drawn)
        values = {content: [{"bytes": file, "path": None} for _, file in files], column: drawn}
        with without_bars():
            return datasets.Dataset.from_dict(values).cast(rows.features)

    def golden_inputs(self) -> "Batch":
        """Return the input's two fixed rows, and the first two classes for a model that is told them."""
        import torch

        inputs = self.input.golden_inputs()
        return {**inputs, "labels": torch.arange(2)} if self.class_conditional else inputs
