"""What a model, its config, its outputs or a processor may offer beside what all must: the one list of it.

Each ability is a Protocol: a class has it by having its members, and imports nothing for it, as uploaded files cannot.
Stages and tasks ask `isinstance(model, Samples)`. What `isinstance` cannot see is asked by a function below the
Protocols: an argument of `forward` or `sample`, a value that is None. tests/test_abilities.py holds every class that
discovery finds to the whole signature of each ability that it has, and CONTRIBUTING.md to this file's docstrings.

A class may take more arguments than its ability names, where they have defaults. Shapes: B rows of a batch, L classes
or targets, Q quantiles, N rows of whatever an argument counts.
"""

import inspect
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeGuard, runtime_checkable

if TYPE_CHECKING:  # described without paying for these imports
    import numpy as np
    from torch import Generator, Tensor

# ---------------------------------------------------------------- models, in training


@runtime_checkable
class HasConfig(Protocol):
    """Keep the hyper-parameters in an object, as every model of transformers does.

    Used wherever a field of a config is read."""

    config: Any


@runtime_checkable
class HasPlayers(Protocol):
    """Train one optimizer a player: `players` maps its name to its submodule, `player` says whose loss is asked for.

    Used by the training loop, which steps the players in turn on the same rows."""

    players: Mapping[str, str]

    def forward(self, *, player: str | None = None, **batch: "Tensor") -> Any: ...


@runtime_checkable
class NamesAveraged(Protocol):
    """Name the submodules whose weights `ema_decay` averages, when these are not all.

    Used by the training loop."""

    averaged: tuple[str, ...]


@runtime_checkable
class Diagnoses(Protocol):
    """Say in one line what is wrong where the values of a line of the log tell it, else give None.

    Used by the training loop, after each line of the log."""

    def diagnose(self, measures: dict[str, Any]) -> str | None: ...


class CarriesState(Protocol):
    """Take and give a state, (B, ...), so that a row goes on where it ended in the step before.

    Used by the training loop and by predictions with `carry_state` (truncated back-propagation)."""

    def forward(self, *, state: "Tensor | None" = None, **batch: "Tensor") -> "GivesState": ...


@runtime_checkable
class PairsTargets(Protocol):
    """Give the logits (N, L) that learn by themselves and the target of each, when these are not one a row.

    Used by the training loop's losses with label smoothing or class weights. N is a multiple of B: in an ensemble each
    member learns from every row."""

    def pair_targets(self, outputs: Any, labels: "Tensor") -> "tuple[Tensor, Tensor]": ...


@runtime_checkable
class FitsAfterTraining(Protocol):
    """Fit what is taken from the training rows once the weights are fixed, and refuse too few rows beforehand.

    Used by `train`: `check_training_rows` raises ValueError before the training, `fit_after_training` takes the batches
    of `forward` over all rows after it."""

    def check_training_rows(self, num_rows: int) -> None: ...

    def fit_after_training(self, batches: "Iterable[dict[str, Tensor]]") -> None: ...


# ---------------------------------------------------------------- models, in use


@runtime_checkable
class Samples(Protocol):
    """Draw new rows (num_samples, *row): images of 0..1, waveforms of -1..1, or what its processor turns into sounds.

    Used by `sample`, `augment`, the pipelines and the tasks that measure samples. Every further argument with a default
    is an option of `hubmodels sample`; where the config says `class_conditional`, `labels` is one."""

    def sample(self, num_samples: int, *, generator: "Generator | None" = None, batch_size: int = ...) -> "Tensor": ...


class SamplesClasses(Samples, Protocol):
    """Draw new rows of given classes (num_samples,), of all classes evenly when None.

    Used by `sample --labels`, `augment`, the pipelines and the tasks, where the config says `class_conditional`."""

    def sample(
        self,
        num_samples: int,
        labels: "Tensor | None" = None,
        *,
        generator: "Generator | None" = None,
        batch_size: int = ...,
    ) -> "Tensor": ...


class SamplesInSteps(Samples, Protocol):
    """Draw new rows in as many steps as are asked for, in its config's number when None.

    Used by the tasks that measure samples, for quality over the number of steps."""

    def sample(
        self,
        num_samples: int,
        *,
        num_inference_steps: int | None = None,
        generator: "Generator | None" = None,
        batch_size: int = ...,
    ) -> "Tensor": ...


@runtime_checkable
class ShowsTrajectory(Protocol):
    """Show how noise becomes samples: (num_samples, num_states, *row), the noise first.

    Used by the tasks that measure samples, for a figure."""

    def sample_trajectory(
        self,
        num_samples: int,
        num_states: int = ...,
        labels: "Tensor | None" = None,
        *,
        generator: "Generator | None" = None,
    ) -> "Tensor": ...


@runtime_checkable
class Interpolates(Protocol):
    """Go from one end to another, both (N, ...), in even steps: (N, num_steps, *row), both ends included.

    Used by image-feature-extraction, for a figure. The ends are rows, or of a model without an encoder latents."""

    def interpolate(self, first: "Tensor", last: "Tensor", /, *, num_steps: int = ...) -> "Tensor": ...


@runtime_checkable
class BoundsLikelihood(Protocol):
    """Bound the log-likelihood of rows, (B,) in nats, and estimate it by importance sampling.

    Used by image-feature-extraction. Both raise ValueError where the config's kind has no likelihood."""

    def elbo(self, values: "Tensor", num_samples: int = ..., generator: "Generator | None" = None) -> "Tensor": ...

    def log_likelihood(
        self, values: "Tensor", num_importance_samples: int = ..., generator: "Generator | None" = None
    ) -> "Tensor": ...


@runtime_checkable
class ScoresAnomalies(Protocol):
    """Score how little each row resembles the training rows, (B,): larger is odder.

    Used by image-feature-extraction with `normal_classes`."""

    def anomaly_score(self, values: "Tensor") -> "Tensor": ...


@runtime_checkable
class HasMembers(Protocol):
    """Give one member of an ensemble, counted from 0, as a model of its own; raise ValueError for another index.

    Used by `predict --member`."""

    def extract_member(self, index: int) -> Any: ...


@runtime_checkable
class Generates(Protocol):
    """Continue rows of tokens (B, T) as texts, as transformers' `generate` does.

    Used by the golden outputs of a release, which hold a text that was generated greedily."""

    def generate(self, inputs: "Tensor | None" = None, **kwargs: Any) -> Any: ...


# ---------------------------------------------------------------- configs


@runtime_checkable
class KnowsLabels(Protocol):
    """Say how many classes or targets there are, and of which kind: one class a row, several labels, numbers.

    Used by the training loop's losses with label smoothing or class weights, through `count_classes`."""

    num_labels: int
    problem_type: str | None


@runtime_checkable
class ClassConditional(Protocol):
    """Say whether the model is told the class of each row that it draws.

    Used wherever samples are drawn, through `is_class_conditional`."""

    class_conditional: bool


@runtime_checkable
class LimitsLength(Protocol):
    """Say how many tokens the model reads at most; None for any number.

    Used by text-generation and by golden outputs, through `longest_input`."""

    max_position_embeddings: int | None


# ---------------------------------------------------------------- outputs


@runtime_checkable
class GivesLogits(Protocol):
    """Give logits, (B, L) or (B, T, L) of T tokens.

    Used by the training loop's losses, through `logits`."""

    logits: "Tensor | None"


@runtime_checkable
class GivesState(Protocol):
    """Give the state behind each row's last step, (B, ...).

    Used by the training loop and by predictions with `carry_state`."""

    state: "Tensor | None"


@runtime_checkable
class GivesMeasures(Protocol):
    """Give scalars by name beside the loss, in some training steps or in all.

    Used by the log of the training loop, through `measures`."""

    measures: "dict[str, Tensor] | None"


@runtime_checkable
class GivesRowLoss(Protocol):
    """Give the loss of each row, (B,).

    Used by the tasks that measure samples and by the losses of weighted rows, through `row_loss`."""

    row_loss: "Tensor | None"


@runtime_checkable
class GivesSpread(Protocol):
    """Give the standard deviation over the members of an ensemble, (B, L).

    Used by the tasks on tables, through `spread`."""

    spread: "Tensor | None"


@runtime_checkable
class GivesQuantiles(Protocol):
    """Give quantiles of the prediction, ascending, (B, L, Q), of a forecast (B, steps, L, Q).

    Used by tabular-regression and time-series-forecasting, through `quantile_values`."""

    quantile_values: "Tensor | None"


@runtime_checkable
class GivesCodes(Protocol):
    """Give the discrete codes of a codebook, (B, positions...).

    Used by image-feature-extraction, through `codes`."""

    codes: "Tensor | None"


@runtime_checkable
class GivesPooled(Protocol):
    """Give one vector a row, (B, D), or of images (B, D, 1, 1).

    Used by the tasks that measure samples by a classifier's features, through `pooler_output`."""

    pooler_output: "Tensor | None"


# ---------------------------------------------------------------- processors, and what looks at samples


@runtime_checkable
class ReadsImages(Protocol):
    """Read images (paths, PIL images, arrays) as bytes of one size (B, C, H, W), and scale bytes for the model.

    Used by the tasks on images."""

    def to_pixels(self, images: Any) -> "np.ndarray": ...

    def normalize_pixels(self, pixels: "Tensor") -> "Tensor": ...


@runtime_checkable
class ReadsSounds(Protocol):
    """Read sounds (paths, bytes, samples) as (B, num_samples) int16 of one rate, loudness and length.

    Used by the pipeline and the tasks on sounds."""

    def to_samples(self, sounds: Any, sampling_rate: int | None = None) -> "np.ndarray": ...


@runtime_checkable
class RestoresSounds(Protocol):
    """Turn what a model draws, (B, mels, frames) or (B, num_samples), back into waveforms (B, num_samples) in -1..1.

    Used by the pipeline text-to-audio and the task of that name."""

    sampling_rate: int

    def to_audio(self, input_values: "Tensor", *, generator: "Generator | None" = None) -> "Tensor": ...


@runtime_checkable
class Classifies(Protocol):
    """Name the classes that it sees in samples, (N,) int64 in the order of `class_names`.

    Used by the tasks that measure samples, of what extracts their features."""

    @property
    def class_names(self) -> list[str]: ...

    def classify(self, samples: Any, /) -> "np.ndarray": ...


ABILITIES: dict[str, tuple[type, ...]] = {
    "model in training": (
        HasConfig, HasPlayers, NamesAveraged, Diagnoses, CarriesState, PairsTargets, FitsAfterTraining,
    ),
    "model in use": (
        Samples, SamplesClasses, SamplesInSteps, ShowsTrajectory, Interpolates, BoundsLikelihood, ScoresAnomalies,
        HasMembers, Generates,
    ),
    "config": (KnowsLabels, ClassConditional, LimitsLength),
    "output": (
        GivesLogits, GivesState, GivesMeasures, GivesRowLoss, GivesSpread, GivesQuantiles, GivesCodes, GivesPooled,
    ),
    "processor": (ReadsImages, ReadsSounds, RestoresSounds),
    "feature extractor": (Classifies,),
}  # fmt: skip


# ---------------------------------------------------------------- what isinstance does not see


def players(model: object) -> Mapping[str, str]:
    """Give a model's players, name to path of the submodule; an empty mapping where the whole model is the only one."""
    return model.players if isinstance(model, HasPlayers) else {}


def averaged(model: object) -> tuple[str, ...]:
    """Give the submodules whose weights are averaged; an empty tuple where these are all."""
    return model.averaged if isinstance(model, NamesAveraged) else ()


def carries_state(model: Any) -> TypeGuard[CarriesState]:
    """Tell whether `forward` takes a `state` that can go along from batch to batch: only of one player can it."""
    return "state" in inspect.signature(model.forward).parameters and not players(model)


def count_classes(model: object) -> int:
    """Give the number of classes of a model with one class a row; 0 of another kind of model, or for a single label."""
    config = model.config if isinstance(model, HasConfig) else None
    if players(model) or not isinstance(config, KnowsLabels):
        return 0
    one_class = config.problem_type in (None, "single_label_classification")
    return config.num_labels if one_class and config.num_labels > 1 else 0


def samples_in_steps(model: Any) -> TypeGuard[SamplesInSteps]:
    """Tell whether `sample` takes `num_inference_steps`."""
    return isinstance(model, Samples) and "num_inference_steps" in inspect.signature(model.sample).parameters


def samples_classes(model: Any) -> TypeGuard[SamplesClasses]:
    """Tell whether the model samples, and is told the class of each row."""
    return isinstance(model, HasConfig) and is_class_conditional(model.config) and isinstance(model, Samples)


def is_class_conditional(config: object) -> bool:
    """Tell whether a model with this config is told the class of each row that it draws."""
    return isinstance(config, ClassConditional) and bool(config.class_conditional)


def longest_input(config: object) -> int | None:
    """Give the number of tokens that a model with this config reads at most; None for any number."""
    return config.max_position_embeddings if isinstance(config, LimitsLength) else None


def logits(outputs: object) -> "Tensor | None":
    """Give an output's logits, None where it has none."""
    return outputs.logits if isinstance(outputs, GivesLogits) else None


def measures(outputs: object) -> "dict[str, Tensor]":
    """Give an output's scalars by name, an empty dict where it has none."""
    return (outputs.measures or {}) if isinstance(outputs, GivesMeasures) else {}


def row_loss(outputs: object) -> "Tensor | None":
    """Give the loss of each row (B,), None where the output has none."""
    return outputs.row_loss if isinstance(outputs, GivesRowLoss) else None


def spread(outputs: object) -> "Tensor | None":
    """Give the standard deviation over an ensemble's members (B, L), None where the output has none."""
    return outputs.spread if isinstance(outputs, GivesSpread) else None


def quantile_values(outputs: object) -> "Tensor | None":
    """Give the quantiles (B, L, Q) or (B, steps, L, Q), None where the output has none."""
    return outputs.quantile_values if isinstance(outputs, GivesQuantiles) else None


def codes(outputs: object) -> "Tensor | None":
    """Give the discrete codes (B, positions...), None where the output has none."""
    return outputs.codes if isinstance(outputs, GivesCodes) else None


def pooler_output(outputs: object) -> "Tensor | None":
    """Give one vector a row, None where the output has none."""
    return outputs.pooler_output if isinstance(outputs, GivesPooled) else None
