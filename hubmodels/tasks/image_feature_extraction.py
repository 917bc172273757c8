"""Image feature extraction: images to few numbers, or codes, from which they can be drawn again (dimension reduction).

A model is asked by what it can do: whatever gives `latents` and a `reconstruction` is measured by these; a codebook, a
likelihood, samples, interpolations and anomaly scores are measured where the model has them. Labels are optional: no
model learns from them, only probes and figures use them.
"""

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ..errors import HubmodelsError, nearest
from ..fields import option
from ..report import Baseline, Estimate, Examination, Figure
from ._image_task import LabelledImageTask
from ._unbound import SAMPLE_METRICS
from .contract.columns import class_names

if TYPE_CHECKING:
    import datasets
    import numpy as np
    import torch

    from ._unbound import Batch, Rows

logger = logging.getLogger("hubmodels")

LIKELIHOOD_ROWS, IMPORTANCE_SAMPLES = 500, 100
PREDICT_ROWS = 500  # in one forward pass outside of the evaluation's own
MAP_ROWS = 2_000  # in the map of latents
SHOWN_COLUMNS = 12  # of a figure's pictures
INTERPOLATIONS, INTERPOLATION_STEPS = 6, 10


@dataclass(kw_only=True)
class ImageFeatureExtraction(LabelledImageTask):
    """An image and its latents."""

    tag: ClassVar[str] = "image-feature-extraction"
    head: ClassVar[str] = "Model"
    model_fields: ClassVar[tuple[str, ...]] = ("latent_shape", "num_codes", "kind")
    main_metric: ClassVar[str] = "mse"
    greater_is_better: ClassVar[bool] = False
    metric_names: ClassVar[dict[str, str]] = {
        "mse": "mean squared error",
        "psnr": "PSNR (dB)",
        "ssim": "SSIM",
        "linear_probe": "linear probe accuracy",
        "neighbour_accuracy": "5-nearest-neighbour accuracy",
        "negative_elbo": "negative ELBO (nats)",
        "negative_log_likelihood": f"negative log-likelihood (nats; {IMPORTANCE_SAMPLES} samples each, at most "
        f"{LIKELIHOOD_ROWS} rows)",
        "codebook_usage": "share of the codebook in use",
        "codebook_perplexity": "codebook perplexity",
        "anomaly_auroc": "AUROC of anomalies",
        **SAMPLE_METRICS,
    }

    normal_classes: list[str] | None = option(None, "classes to learn from; the others of the test are anomalies")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.normal_classes is not None and not self.normal_classes:
            raise ValueError("normal_classes must name at least one class, or be left out")

    # ---------------------------------------------------------------- columns

    def needs_labels(self) -> bool:
        return self.normal_classes is not None

    def training_rows(self, rows: "datasets.Dataset") -> "datasets.Dataset":
        """Without the rows of other than the normal classes, where these are named."""
        if self.normal_classes is None:
            return rows
        import datasets

        _, label = rows.features
        feature = rows.features[label]
        known = class_names(rows, label)
        for name in self.normal_classes:
            if name not in known:
                raise HubmodelsError(
                    f"normal_classes: unknown class {name!r}{nearest(name, known)}; classes are {', '.join(known)}"
                )
        normal: set = set(self.normal_classes)
        if isinstance(feature, datasets.ClassLabel):
            normal = {feature.names.index(name) for name in self.normal_classes}

        def is_normal(value: Any) -> bool:
            return (value if isinstance(feature, datasets.ClassLabel) else str(value)) in normal

        if not hasattr(rows, "__len__"):
            return rows.filter(lambda row: is_normal(row[label]))
        kept = rows.select([number for number, value in enumerate(rows[label]) if is_normal(value)])
        if len(kept) == 0:
            raise HubmodelsError(f"no training row is of the classes {', '.join(self.normal_classes)} (normal_classes)")
        return kept

    # ---------------------------------------------------------------- results, row by row

    def predict(self, outputs: Any, batch: "Batch") -> "Batch":
        """Of each row its squared error, PSNR and SSIM (see `quality_rows`)."""
        from ._image_quality import quality_rows

        return quality_rows(outputs.reconstruction, batch["pixel_values"])

    def metrics(self, rows: "Rows", config_values: dict[str, Any]) -> dict[str, float]:
        """Means over the rows."""
        import numpy as np

        names = {"mse": "squared_errors", "psnr": "psnr", "ssim": "ssim"}
        return {metric: rows[name].mean(dtype=np.float64) for metric, name in names.items()}

    def baseline(self, train: Any, test: Any, processor: Any, config_values: dict[str, Any], seed: int) -> Baseline:
        """Principal components of the pixels: as many numbers as there are latents, or for codes as many bits."""
        import numpy as np
        import torch

        from ._image_quality import quality_rows
        from ._latents import flat_rows

        started = time.perf_counter()
        components = self._components(train, config_values, seed)
        parts = []
        for rows in np.array_split(np.arange(len(test)), -(-len(test) // 1_000)):
            pixels = flat_rows(test, rows)
            drawn = torch.from_numpy(components.decode(components.encode(pixels)))
            shape = test.batch(torch.from_numpy(rows[:1]))["pixel_values"].shape[1:]
            parts.append(quality_rows(drawn.view(-1, *shape), torch.from_numpy(pixels).view(-1, *shape)))
        rows = {name: torch.cat([part[name] for part in parts]).numpy() for name in parts[0]}
        name = f"PCA of {components.num_components} components"
        if components.bits is not None:
            name += f" of {components.bits} bits (as many bits as the codes)"
        return Baseline(name=name, rows=rows, seconds=time.perf_counter() - started)

    def _components(self, train: Any, config_values: dict[str, Any], seed: int) -> Any:
        from ._latents import PrincipalComponents, equal_size, fitting_rows, flat_rows

        count, bits = equal_size(config_values["latent_shape"], _num_codes(config_values))
        return PrincipalComponents(flat_rows(train, fitting_rows(train, seed)), count, bits, seed)

    def plots(self, rows: "Rows", columns: Any, processor: Any, config_values: dict[str, Any]) -> Iterator[Figure]:
        """Which classes are drawn well."""
        from ._image_figures import errors_figure

        labels, errors = columns.tensor("labels").numpy(), rows["squared_errors"]
        names = config_values.get("id2label") or {}
        groups = [(name, errors[labels == int(number)]) for number, name in names.items()]
        groups = [(name, values) for name, values in groups if len(values)] if len(names) <= 40 else []
        yield Figure(
            name="errors",
            caption="Mean squared error of the test images"
            + (" of each class" if groups else "")
            + ": quartiles and median, whiskers from the 5th to the 95th percentile.",
            figure=errors_figure(groups or [("all", errors)], "mean squared error of an image"),
        )

    # ---------------------------------------------------------------- results of the whole model

    def examine(
        self,
        model: Any,
        columns: dict[str, Any],
        transform: "Callable[[Batch, torch.Generator | None], Batch]",
        processor: Any,
        config_values: dict[str, Any],
        seed: int,
    ) -> Examination:
        """Probes of the latents, likelihood, codebook, samples and anomalies: whatever the model and the rows allow."""
        import numpy as np

        from ._latents import codebook_counts, codebook_measures, encode_rows

        found = Examination()
        train, test = columns.get("train"), columns["test"]
        numbers = np.arange(len(test))
        encoded = encode_rows(model, test, numbers, transform)
        components = self._components(train, config_values, seed) if train is not None else None
        logger.info("Examining latents, likelihood and samples ...")
        found.figures += self._picture_plots(model, test, transform, config_values, seed)
        if train is not None:
            self._examine_probes(found, model, train, test, encoded, components, transform, seed)
        found.figures.append(self._map_plot(encoded["latents"], test, config_values, seed))
        if hasattr(model, "elbo"):
            self._examine_likelihood(found, model, test, transform, seed)
        if "codes" in encoded:
            num_codes = _num_codes(config_values)
            found.metrics |= codebook_measures(encoded["codes"], num_codes, seed)
            found.figures.append(self._codes_plot(codebook_counts(encoded["codes"], num_codes)))
        if self.normal_classes is not None and hasattr(model, "anomaly_score"):
            self._examine_anomalies(found, model, train, test, transform, config_values, seed)
        if hasattr(model, "sample"):
            self._examine_samples(found, model, train, test, components, config_values, seed)
        return found

    def _examine_probes(
        self, found: Examination, model: Any, train: Any, test: Any, encoded: Any, components: Any, transform: Any,
        seed: int,
    ) -> None:  # fmt: skip
        import numpy as np

        from ._latents import encode_rows, flat_rows, linear_probe, neighbour_probe, probe_rows

        labels, test_labels = train.tensor("labels").numpy(), test.tensor("labels").numpy()
        rows = probe_rows(labels, seed)
        test_rows = np.flatnonzero(np.isin(test_labels, labels[rows]))  # not those of classes never learnt from
        if len(test_rows) == 0 or len(np.unique(labels[rows])) < 2:
            return
        latents = encode_rows(model, train, rows, transform)["latents"]
        ways = [
            (found.metrics, latents, encoded["latents"][test_rows]),
            (
                found.baseline_metrics,
                components.encode(flat_rows(train, rows)),
                components.encode(flat_rows(test, test_rows)),
            ),
        ]
        for metrics, fitted, tested in ways:
            metrics["linear_probe"] = linear_probe(fitted, labels[rows], tested, test_labels[test_rows])
            metrics["neighbour_accuracy"] = neighbour_probe(fitted, labels[rows], tested, test_labels[test_rows])

    def _examine_likelihood(self, found: Examination, model: Any, test: Any, transform: Any, seed: int) -> None:
        import numpy as np
        import torch

        from ._sample_quality import mean_with_interval

        device = next(model.parameters()).device
        generator = torch.Generator(device=device).manual_seed(seed)

        def measured(rows: "torch.Tensor", measure: Callable) -> Estimate:
            parts = []
            for numbers in rows.split(PREDICT_ROWS):
                batch = {name: value.to(device) for name, value in test.batch(numbers).items()}
                parts.append(measure(transform(batch, None)["pixel_values"]).double().cpu())
            return mean_with_interval(-torch.cat(parts).numpy().astype(np.float64))

        try:
            elbo = measured(torch.arange(len(test)), lambda x: model.elbo(x, generator=generator))
        except ValueError as error:  # a model without a likelihood says so
            logger.info("No likelihood: %s", error)
            return
        found.metrics["negative_elbo"] = elbo
        drawn = np.sort(np.random.default_rng(seed).permutation(len(test))[:LIKELIHOOD_ROWS])
        found.metrics["negative_log_likelihood"] = measured(
            torch.from_numpy(drawn), lambda x: model.log_likelihood(x, IMPORTANCE_SAMPLES, generator=generator)
        )

    def _examine_anomalies(
        self, found: Examination, model: Any, train: Any, test: Any, transform: Any, config_values: dict[str, Any],
        seed: int,
    ) -> None:  # fmt: skip
        import numpy as np
        import torch

        from ._image_figures import roc_figure
        from ._latents import anomaly_area, fitting_rows, flat_rows, forest_scores

        anomalous = ~self._normal(test, config_values)
        if anomalous.all() or not anomalous.any():
            logger.info("No AUROC: the measured rows are all normal or all anomalous")
            return
        device = next(model.parameters()).device
        parts = []
        for numbers in torch.arange(len(test)).split(PREDICT_ROWS):
            batch = {name: value.to(device) for name, value in test.batch(numbers).items()}
            parts.append(model.anomaly_score(transform(batch, None)["pixel_values"]).double().cpu())
        curves = [("the network", torch.cat(parts).numpy())]
        found.metrics["anomaly_auroc"] = anomaly_area(curves[0][1], anomalous, seed)
        if train is not None:
            pixels = flat_rows(train, fitting_rows(train, seed))
            curves.append(("isolation forest", forest_scores(pixels, flat_rows(test, np.arange(len(test))), seed)))
            found.baseline_metrics["anomaly_auroc"] = anomaly_area(curves[1][1], anomalous, seed)
        found.figures.append(
            Figure(
                name="anomalies",
                caption=f"How many of the {anomalous.sum():,} test images of other classes stand out against the "
                f"{(~anomalous).sum():,} of {', '.join(self.normal_classes)}, the only ones learnt from.",
                figure=roc_figure(curves, anomalous),
            )
        )

    def _normal(self, test: Any, config_values: dict[str, Any]) -> "np.ndarray":
        """Which rows are of the classes that the model learnt from, (N,)."""
        import numpy as np

        if self.normal_classes is None:
            return np.ones(len(test), dtype=bool)
        names = config_values["id2label"]
        normal = [int(number) for number, name in names.items() if name in self.normal_classes]
        return np.isin(test.tensor("labels").numpy(), normal)

    def _examine_samples(
        self, found: Examination, model: Any, train: Any, test: Any, components: Any, config_values: dict[str, Any],
        seed: int,
    ) -> None:  # fmt: skip
        import numpy as np
        import torch

        from ._image_figures import picture_rows
        from ._sample_quality import MAX_IMAGES, FeatureExtractor, sample_images, sample_quality, take_pixels, to_bytes

        wanted = 6 * SHOWN_COLUMNS
        wished = np.flatnonzero(self._normal(test, config_values))
        count = min(len(wished), MAX_IMAGES)
        try:
            samples = sample_images(model, max(wanted, count if self.fid_classifier else 0), seed)
        except ValueError as error:  # a model that cannot sample says so
            logger.info("No samples: %s", error)
            return
        grid = samples[:wanted].view(6, SHOWN_COLUMNS, *samples.shape[1:]).numpy() / 255
        found.figures.append(Figure("samples", "Samples of the model, not chosen.", picture_rows(grid)))
        if self.fid_classifier is None:
            logger.info("No Fréchet distance of the samples: name a classifier with --fid_classifier")
            return
        extract = FeatureExtractor(self.fid_classifier, next(model.parameters()).device)
        real = extract(take_pixels(test, count, seed, wished))
        others = extract(take_pixels(train, count, seed)) if train is not None and len(train) >= count else None
        found.metrics |= sample_quality(extract(samples[:count]), others, real, seed)
        if components is not None:
            drawn = to_bytes(torch.from_numpy(components.sample(count, seed)).view(count, *samples.shape[1:]))
            found.baseline_metrics |= sample_quality(extract(drawn), others, real, seed)
            found.baseline_metrics.pop("fid_floor", None)

    # ---------------------------------------------------------------- figures

    def _picture_plots(
        self, model: Any, test: Any, transform: Any, config_values: dict[str, Any], seed: int
    ) -> list[Figure]:
        """Originals over reconstructions, and ways from one image to another."""
        import numpy as np
        import torch

        from ..formatting import shorten
        from ._image_figures import picture_rows

        device = next(model.parameters()).device
        labels = test.tensor("labels").numpy()
        names = config_values.get("id2label") or {}
        classes = len(np.unique(labels))
        columns = classes if 1 < classes <= SHOWN_COLUMNS else SHOWN_COLUMNS
        shown = _one_of_each(labels, 2 * columns)
        if len(shown) < 2 * columns:
            shown, columns = shown[: max(1, len(shown) // 2) * 2], max(1, len(shown) // 2)

        def prepared(rows: "np.ndarray") -> "torch.Tensor":
            batch = {name: value.to(device) for name, value in test.batch(torch.from_numpy(rows)).items()}
            return transform(batch, None)["pixel_values"]

        pixels = prepared(shown)
        drawn = model(pixel_values=pixels).reconstruction
        pairs = [value.split(columns) for value in (pixels, drawn)]
        grid = torch.stack([block for pair in zip(*pairs, strict=True) for block in pair]).float().cpu().numpy()
        words = [shorten(names[int(label)], 11) if label >= 0 else "" for label in labels[shown[:columns]]]
        if (labels[shown].reshape(-1, columns) != labels[shown[:columns]]).any():  # a class with a single image
            words = []
        plots = [
            Figure(
                name="reconstructions",
                caption=f"Test images and what is left of them after {_size_words(config_values)}.",
                figure=picture_rows(grid, ["image", "reconstruction"] * (len(grid) // 2), words),
            )
        ]
        if hasattr(model, "interpolate") and len(test) >= 2 * INTERPOLATIONS:
            ends = np.random.default_rng(seed).permutation(len(test))[: 2 * INTERPOLATIONS]
            first, last = prepared(ends).chunk(2)
            ways = model.interpolate(first, last, num_steps=INTERPOLATION_STEPS).float().cpu()
            ways = torch.cat([first[:, None].cpu(), ways, last[:, None].cpu()], dim=1).numpy()
            words = ["image", *[""] * INTERPOLATION_STEPS, "image"]
            plots.append(
                Figure(
                    name="interpolations",
                    caption="From one test image (left) to another (right) in even steps between their latents.",
                    figure=picture_rows(ways, (), words),
                )
            )
        return plots

    def _map_plot(self, latents: "np.ndarray", test: Any, config_values: dict[str, Any], seed: int) -> Figure:
        import numpy as np

        from ._image_figures import latent_map, map_figure

        rows = np.sort(np.random.default_rng(seed).permutation(len(latents))[:MAP_ROWS])
        names = list((config_values.get("id2label") or {}).values())
        labels = test.tensor("labels").numpy()[rows]
        return Figure(
            name="latents",
            caption=f"The latents of {len(rows):,} test images in the plane (t-SNE)"
            + (", coloured by class; no label was seen in training." if (labels >= 0).any() else "."),
            figure=map_figure(latent_map(latents[rows], seed), labels, names),
        )

    def _codes_plot(self, counts: "np.ndarray") -> Figure:
        from ._image_figures import codes_figure

        return Figure(
            name="codebook",
            caption=f"How often each of the {len(counts):,} codes occurs in the test images.",
            figure=codes_figure(counts),
        )

    # ---------------------------------------------------------------- use

    def answers(self, outputs: Any, config_values: dict[str, Any]) -> "dict[str, np.ndarray]":
        """One column a latent number: `latent_0`, ..."""
        latents = outputs.latents.flatten(1).float().cpu().numpy()
        return {f"latent_{place}": latents[:, place] for place in range(latents.shape[1])}

    def example(self) -> str:
        return (
            "import hubmodels  # makes transformers know the family\n"
            "from transformers import AutoImageProcessor, AutoModel, pipeline\n"
            "\n"
            'extract = pipeline("image-feature-extraction", model="{model_id}", pool=True)\n'
            'print(extract("picture.png"))  # a path, a URL or a PIL image: [[latent, latent, ...]]\n'
            "\n"
            'model = AutoModel.from_pretrained("{model_id}").eval()\n'
            'processor = AutoImageProcessor.from_pretrained("{model_id}")\n'
            'outputs = model(**processor(["picture.png"], return_tensors="pt"))\n'
            "print(outputs.latents, outputs.reconstruction)  # pixels in 0..1\n"
        )


def _one_of_each(labels: "np.ndarray", count: int) -> "np.ndarray":
    """Row numbers: the first row of each class in turn, then the second of each; without classes the first rows."""
    import numpy as np

    turns = np.zeros(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        turns[rows] = np.arange(len(rows))
    return np.lexsort((labels, turns))[:count]


def _num_codes(config_values: dict[str, Any]) -> int:
    """The size of the codebook; 0 where latents are numbers."""
    return config_values["num_codes"] if config_values["kind"] == "vector_quantized" else 0


def _size_words(config_values: dict[str, Any]) -> str:
    """ "16 numbers", or "7 x 7 codes, each one of 512"."""
    shape = config_values["latent_shape"]
    if num_codes := _num_codes(config_values):
        return f"{' x '.join(map(str, shape[1:]))} codes, each one of {num_codes:,}"
    return f"{' x '.join(map(str, shape))} numbers"
