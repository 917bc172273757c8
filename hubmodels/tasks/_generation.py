"""What the tasks share whose models draw new rows: what is told of each row; all else is measured of samples."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar

from . import Plot

if TYPE_CHECKING:
    from . import Batch, Rows


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

    def plots(self, rows: "Rows", columns: Any, processor: Any, config_values: dict[str, Any]) -> Iterator[Plot]:
        """None: every figure needs the model."""
        return iter(())
