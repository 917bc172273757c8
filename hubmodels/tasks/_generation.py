"""What the tasks share whose models draw new rows: what is told of each row; all else is measured of samples."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar

from ..errors import HubmodelsError
from ..report import Figure
from .contract.columns import class_names

if TYPE_CHECKING:
    from ._unbound import Batch, Rows


class SampledAsAWhole:
    """For a `Task` whose `examine` measures samples, the classical method's too. It stands before the task among the
    base classes."""

    head: ClassVar[str] = "Model"
    model_fields: ClassVar[tuple[str, ...]] = ("class_conditional",)
    main_metric: ClassVar[str] = "fid"
    greater_is_better: ClassVar[bool] = False

    def predict(self, outputs: Any, batch: "Batch") -> "Batch":
        """Of each row its loss, where the model gives one; else nothing but that it was there."""
        import torch

        loss = getattr(outputs, "row_loss", None)
        if loss is not None:
            return {"losses": loss.float()}
        inputs = next(iter(batch.values()))
        return {"rows": torch.ones(len(inputs), device=inputs.device)}

    def metrics(self, rows: "Rows", config_values: dict[str, Any]) -> dict[str, float]:
        import numpy as np

        return {"loss": float(rows["losses"].mean(dtype=np.float64))} if "losses" in rows else {}

    def baseline(self, train: Any, test: Any, processor: Any, config_values: dict[str, Any], seed: int) -> None:
        """None: `examine` draws from the classical method and measures it."""
        return None

    def plots(self, rows: "Rows", columns: Any, processor: Any, config_values: dict[str, Any]) -> Iterator[Figure]:
        """None: every figure needs the model."""
        return iter(())

    def draw_rows(self, model: Any, rows: Any, processor: Any, per_class: int, seed: int) -> Any:
        """Files of each class of the rows, as they hold them."""
        import datasets
        import torch

        content, *label = rows.features
        if not label:
            raise HubmodelsError("the data have no column of classes: name it with --label_column_name")
        known = {str(name): int(number) for number, name in model.config.id2label.items()}
        names = class_names(rows, label[0])
        if missing := [name for name in names if name not in known]:
            raise HubmodelsError(
                f"the model does not draw {', '.join(missing[:5])}: its classes are {', '.join(list(known)[:20])}"
            )
        labels = torch.tensor([known[name] for name in names]).repeat_interleave(per_class)
        files = self.draw_files(model, processor, len(labels), seed, labels)
        drawn = [name for name in names for _ in range(per_class)]
        if isinstance(rows.features[label[0]], datasets.ClassLabel):
            drawn = rows.features[label[0]].str2int(drawn)
        columns = {content: [{"bytes": file, "path": None} for _, file in files], label[0]: drawn}
        return datasets.Dataset.from_dict(columns).cast(rows.features)
