"""Pictures: the image as it should be, from an image as it is."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ...fields import option
from ..contract.parts import FittedTarget, Target

if TYPE_CHECKING:
    import datasets
    import numpy as np

    from ..contract.types import Batch, ModelOutput, Rows


@dataclass(kw_only=True)
class Pictures(Target):
    """Holds the options of images as they should be."""

    main_metric: ClassVar[str] = "psnr"
    greater_is_better: ClassVar[bool] = True
    metric_names: ClassVar[dict[str, str]] = {"psnr": "PSNR (dB)", "ssim": "SSIM", "mse": "mean squared error"}

    target_column_name: str | None = option(
        None, "column of the images as they should be; when absent, the images are clean and get the model's noise"
    )

    def fit(self, train: "datasets.Dataset", columns: list[str]) -> "FittedPictures":
        """Take nothing from the rows: an image as it should be is like an image as it is."""
        return FittedPictures(options=self)

    def restore(self, config: Mapping[str, Any], state: Mapping[str, Any]) -> "FittedPictures":
        """Take nothing from the checkpoint."""
        return FittedPictures(options=self)


@dataclass(kw_only=True)
class FittedPictures(FittedTarget[Pictures]):
    """Images as they should be, `labels` (B, C, H, W) in 0..1."""

    def predict(self, outputs: "ModelOutput", batch: "Batch") -> "Batch":
        """Return squared error, PSNR and SSIM of each row (see `quality_rows`)."""
        from .picture_quality import quality_rows

        return quality_rows(outputs.reconstruction, batch["labels"])

    def metrics(self, rows: "Rows") -> dict[str, float]:
        """Compute the means over the rows."""
        from .picture_quality import mean_quality

        means = mean_quality(rows)
        return {name: means[name] for name in self.options.metric_names}

    def answers(self, outputs: "ModelOutput") -> "dict[str, np.ndarray]":
        """Return `prediction`: the image as it should be, the bytes of a PNG file."""
        import io

        import numpy as np
        from PIL import Image

        images = (outputs.reconstruction.float().clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
        files = np.empty(len(images), dtype=object)
        for row, image in enumerate(images):
            file = io.BytesIO()
            Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(file, format="PNG")
            files[row] = file.getvalue()
        return {"prediction": files}
