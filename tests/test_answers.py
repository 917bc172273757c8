"""What is told of a row is one and the same in every way of use, for every task that discovery finds.

`pipeline(...)` and `hubmodels predict` give the same labels and numbers, to the digit, and the metrics of `hubmodels
evaluate` follow from them. A task is a case here, or among those without prediction from files, with the reason.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from answer_rows import (
    FEW,
    FILE_KINDS,
    MANY,
    Answers,
    captioned_pictures,
    class_columns,
    latent_columns,
    long_series_files,
    mapping_columns,
    picture,
    picture_columns,
    picture_folders,
    read_rows,
    rows_file,
    series_files,
    sound_folders,
    table_files,
    tagged_files,
    text_files,
)
from PIL import Image
from transformers import pipeline

from hubmodels import families
from hubmodels.cli import main
from hubmodels.data import load_data
from hubmodels.recipe import DataArguments, Recipe
from hubmodels.tasks import get_task, list_tasks
from hubmodels.use import evaluate_release, open_release, predict_file

# ---------------------------------------------------------------- the cases


@dataclass(frozen=True)
class Way:
    """How rows of a task lie on the disk, and how its pipeline's answers read as columns."""

    write: Callable[[Path], None]  # the splits train and test
    columns: Callable[[Any], Answers]
    call: dict[str, Any] = field(default_factory=dict)  # what the pipeline is told beside the rows


PICTURES, SOUNDS = Way(picture_folders, class_columns, {"top_k": 10}), Way(sound_folders, class_columns, {"top_k": 10})
WAYS = {
    "audio-classification": SOUNDS,
    "feature-extraction": Way(table_files, latent_columns),
    "image-classification": PICTURES,
    "image-feature-extraction": Way(picture_folders, latent_columns, {"pool": True}),
    "image-to-image": Way(picture_folders, picture_columns),
    "tabular-classification": Way(table_files, mapping_columns),
    "tabular-regression": Way(table_files, mapping_columns),
    "text-classification": Way(text_files, class_columns, {"top_k": None}),
    "time-series-classification": Way(series_files, mapping_columns),
}

CNN = {"hidden_sizes": [4], "depths": [1], "embedding_size": 4}
RNN = {"hidden_size": 12, "embedding_size": 8, "num_hidden_layers": 1}
TRANSFORMER = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
ENCODER = {**TRANSFORMER, "is_causal": False}
LATENTS = {"hidden_sizes": [6], "depths": [0], "latent_size": 3}
SOUND_DATA = {"n_fft": 128, "hop_length": 40, "num_mel_bins": 12}
ONE_CLASS = {"label_column_name": "kind", "feature_column_names": ["x", "z", "town"]}
SEVERAL_LABELS = {**ONE_CLASS, "label_column_name": ["warm", "wet"]}
ONE_NUMBER = {"target_column_names": ["price"], "feature_column_names": ["x", "z", "town"]}
NUMBERS = {**ONE_NUMBER, "target_column_names": ["rent", "price"]}
PAIRS = {"vocab_size": 300, "text_pair_column_name": "question"}

# task, family, what is special; options of the data section, fields of the model
CASES: dict[tuple[str, str, str], tuple[dict[str, Any], dict[str, Any]]] = {
    ("audio-classification", "cnn", ""): (SOUND_DATA, CNN),
    ("feature-extraction", "autoencoder", ""): (
        {"feature_column_names": ["x", "z", "price", "rent"]},
        {"kind": "plain", "backbone": "dense", "hidden_sizes": [16], "normalization": "none", "latent_size": 2},
    ),
    ("image-classification", "cnn", ""): ({}, CNN),
    ("image-classification", "mlp", ""): ({}, {"hidden_sizes": [16]}),
    ("image-classification", "transformer", ""): ({}, {**TRANSFORMER, "patch_size": 4}),
    ("image-feature-extraction", "autoencoder", "plain"): ({}, {**LATENTS, "kind": "plain"}),
    ("image-feature-extraction", "autoencoder", "variational"): ({}, {**LATENTS, "kind": "variational"}),
    ("image-feature-extraction", "autoencoder", "codes"): (
        {}, {**LATENTS, "kind": "vector_quantized", "latent_map": True, "codebook_size": 8},
    ),
    ("image-to-image", "autoencoder", ""): (
        {}, {"kind": "denoising", "latent_map": True, "hidden_sizes": [6], "depths": [0],
             "noise_types": ["gaussian"], "noise_strength": [0.2, 0.5]},
    ),
    ("tabular-classification", "mlp", "one"): (ONE_CLASS, {"hidden_sizes": [16]}),
    ("tabular-classification", "mlp", "ensemble"): (ONE_CLASS, {"hidden_sizes": [16], "num_ensemble": 3}),
    ("tabular-classification", "mlp", "labels"): (SEVERAL_LABELS, {"hidden_sizes": [16]}),
    ("tabular-classification", "mlp", "labels of an ensemble"): (
        SEVERAL_LABELS, {"hidden_sizes": [16], "num_ensemble": 3},
    ),
    ("tabular-regression", "mlp", "one"): (ONE_NUMBER, {"hidden_sizes": [16]}),
    ("tabular-regression", "mlp", "one quantile"): (ONE_NUMBER, {"hidden_sizes": [16], "quantiles": [0.5]}),
    ("tabular-regression", "mlp", "three quantiles"): (
        ONE_NUMBER, {"hidden_sizes": [16], "quantiles": [0.1, 0.5, 0.9]},
    ),
    ("tabular-regression", "mlp", "numbers of an ensemble"): (
        NUMBERS, {"hidden_sizes": [16], "quantiles": [0.1, 0.9], "num_ensemble": 2},
    ),
    ("text-classification", "rnn", ""): ({"vocab_size": 300}, {**RNN, "bidirectional": True, "pooling": "max"}),
    ("text-classification", "rnn", "pairs"): (PAIRS, RNN),
    ("text-classification", "transformer", ""): ({"vocab_size": 300}, ENCODER),
    ("text-classification", "transformer", "pairs"): (PAIRS, ENCODER),
    ("time-series-classification", "rnn", ""): ({}, {**RNN, "cell": "gru", "bidirectional": True}),
}  # fmt: skip
ANSWERED = [pytest.param(*case, id="-".join(filter(None, case))) for case in CASES]


# ---------------------------------------------------------------- tasks without prediction from files


@dataclass(frozen=True)
class Refusal:
    """A task of which there is no prediction from files."""

    reason: str
    write: Callable[[Path], None]
    data: dict[str, Any]
    models: dict[str, dict[str, Any]]  # family -> fields


DRAWING = {"hidden_sizes": [4, 8], "depth": 1, "num_norm_groups": 2, "attention_stages": []}
REFUSALS = {
    "fill-mask": Refusal(
        "the tokens to fill are marked in the text, and there may be several", text_files,
        {"vocab_size": 300, "text_column_name": "text"}, {"transformer": ENCODER},
    ),
    "text-generation": Refusal(
        "a text goes on in as many ways as are drawn", text_files,
        {"vocab_size": 300, "text_column_name": "text"}, {"rnn": RNN, "transformer": TRANSFORMER},
    ),
    "text-to-audio": Refusal(
        "sounds are drawn: `hubmodels sample`", sound_folders,
        {"n_fft": 128, "hop_length": 40, "num_mel_bins": 12},
        {"diffusion": {**DRAWING, "data": "audio", "class_conditional": True}},
    ),
    "token-classification": Refusal(
        "a row has as many answers as words", tagged_files, {"vocab_size": 300}, {"rnn": RNN, "transformer": ENCODER},
    ),
    "unconditional-image-generation": Refusal(
        "images are drawn: `hubmodels sample`", picture_folders, {},
        {"diffusion": DRAWING, "gan": {"generator_sizes": [8], "discriminator_sizes": [8]}},
    ),
    "zero-shot-image-classification": Refusal(
        "the classes are named when it is asked", captioned_pictures, {"vocab_size": 300},
        {"transformer": {**TRANSFORMER, "patch_size": 4, "projection_dim": 8, "text_tower": {"num_hidden_layers": 1}}},
    ),
}  # fmt: skip
# Many rows have one answer (`test_forecasts_are_the_problems_answers`, tests/tasks/test_forecast_files.py).
WHOLE_FILES = {("time-series-forecasting", "rnn")}
REFUSED = [(tag, family) for tag, refusal in REFUSALS.items() for family in refusal.models]


# ---------------------------------------------------------------- releases


def save_release(folder: Path, data_folder: Path, tag: str, family: str, data: dict, fields: dict) -> Path:
    """Save an untrained model with what is fitted to the training rows, and its recipe."""
    options = {"dataset": str(data_folder), **data}
    task = get_task(tag).from_options(**data)
    problem = task.fit(task.select(load_data(DataArguments(dataset=str(data_folder))).splits["train"]))
    torch.manual_seed(2)
    values = {**families.declared(family, problem.config_fields()), **fields}
    model = families.build_model(family, task.head, values)
    with torch.no_grad():
        for weight in model.parameters():  # so that the answers differ from row to row
            weight.mul_(2)
    model.save_pretrained(folder)
    problem.save(folder)
    Recipe(family=family, task=tag, data=options, model=fields).save(folder / "recipe.yaml")
    return folder


@pytest.fixture(scope="module")
def data_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Callable[[Path], None]], Path]:
    """Write the rows of an input once."""
    folders: dict[Callable[[Path], None], Path] = {}

    def write(writer: Callable[[Path], None]) -> Path:
        if writer not in folders:
            folders[writer] = tmp_path_factory.mktemp(writer.__name__)
            writer(folders[writer])
        return folders[writer]

    return write


@pytest.fixture(scope="module")
def release_of(data_of: Callable, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Make the release of a case once."""
    folders: dict[tuple[str, str, str], Path] = {}

    def make(*case: str) -> Path:
        if case not in folders:
            data, fields = CASES[case]
            folder = tmp_path_factory.mktemp("release")
            folders[case] = save_release(folder, data_of(WAYS[case[0]].write), case[0], case[1], data, fields)
        return folders[case]

    return make


def pipeline_rows(tag: str, source: Path, data: dict[str, Any]) -> Any:
    """Give the rows of a file as the task's pipeline takes them."""
    if WAYS[tag].write is table_files:
        return str(source)
    rows = read_rows(source)
    if "series" in rows:
        return [np.array(values, dtype=np.float64) for values in rows["series"]]
    if "text_pair_column_name" in data:
        pairs = zip(rows["text"], rows[data["text_pair_column_name"]], strict=True)
        return [{"text": text, "text_pair": pair} for text, pair in pairs]
    return next(rows[name].tolist() for name in ("image", "audio", "text") if name in rows)


def predicted_columns(release: Path, source: Path, output: Path) -> Answers:
    """Give what `hubmodels predict` writes of rows, in batches of its usual size."""
    count = predict_file(str(release), str(source), str(output), keep=[])
    frame = pd.read_parquet(output)
    assert count == len(frame)
    if "uncertainty_warm" in frame:  # of each label; the pipeline tells that of the likeliest
        likeliest = frame[["probability_warm", "probability_wet"]].to_numpy().argmax(axis=1)
        deviations = frame[["uncertainty_warm", "uncertainty_wet"]].to_numpy()[range(count), likeliest]
        frame = frame.drop(columns=["uncertainty_warm", "uncertainty_wet"])
        frame["uncertainty of the likeliest"] = deviations
    columns = {name: frame[name].tolist() for name in frame}
    if isinstance(columns.get("prediction", [""])[0], bytes):
        columns["prediction"] = [picture(Image.open(io.BytesIO(file))) for file in columns["prediction"]]
    return columns


# ---------------------------------------------------------------- the tests


def test_every_task_and_family_that_discovery_finds_answers_here_or_has_a_reason_not_to() -> None:
    assert set(WAYS) == {tag for tag, _, _ in CASES}
    assert not set(WAYS) & set(REFUSALS)
    here = {(tag, family) for tag, family, _ in CASES} | set(REFUSED) | WHOLE_FILES
    assert here == {(tag, family) for family in families.list_families() for tag in families.family_tasks(family)}
    assert {tag for tag, _ in here} == set(list_tasks())
    assert all(refusal.reason for refusal in REFUSALS.values())


@pytest.mark.parametrize("count", [FEW, MANY])
@pytest.mark.parametrize(("tag", "family", "name"), ANSWERED)
def test_the_pipeline_and_predict_answer_alike_to_the_digit(
    tag: str, family: str, name: str, count: int, data_of: Callable, release_of: Callable, tmp_path: Path
) -> None:
    way, release = WAYS[tag], release_of(tag, family, name)
    source = rows_file(data_of(way.write), count, tmp_path)
    predicted = predicted_columns(release, source, tmp_path / "answers.parquet")
    ask = pipeline(tag, model=str(release))
    rows = pipeline_rows(tag, source, CASES[tag, family, name][0])
    told = way.columns(ask(rows, batch_size=count, **way.call))
    assert list(told) == list(predicted)
    for column, values in told.items():
        assert values == predicted[column], column
    assert all(len(values) == count for values in told.values())
    assert any(len(set(values)) > 1 for values in told.values())


def true_values(data: Path, columns: list[str]) -> pd.DataFrame:
    """Give the true labels or numbers of the test rows, in their order."""
    rows = read_rows(data / "test" if (data / "test").is_dir() else next(data.glob("test.*")))
    files = next((rows[name] for name in ("image", "audio") if name in rows), None)
    return rows[columns] if files is None else pd.DataFrame({"label": [Path(file).parent.name for file in files]})


MEASURED = [case for case in ANSWERED if "classification" in case.values[0] or "regression" in case.values[0]]


@pytest.mark.parametrize(("tag", "family", "name"), MEASURED)
def test_the_metrics_of_evaluate_follow_from_the_answers(
    tag: str, family: str, name: str, data_of: Callable, release_of: Callable, tmp_path: Path
) -> None:
    data, release = data_of(WAYS[tag].write), release_of(tag, family, name)
    predict_file(str(release), str(rows_file(data, MANY, tmp_path)), str(tmp_path / "answers.parquet"), keep=[])
    answers = pd.read_parquet(tmp_path / "answers.parquet")
    measured = {name: value.value for name, value in evaluate_release(str(release), {}).metrics.items()}
    options = CASES[tag, family, name][0]
    columns = options.get("target_column_names", options.get("label_column_name", "label"))
    columns = columns if isinstance(columns, list) else [columns]
    truth = true_values(data, columns)
    if tag == "tabular-regression":
        predictions = [column for column in answers if column.startswith("prediction")]
        errors = answers[predictions].to_numpy(np.float64) - truth.to_numpy()
        assert measured["rmse"] == pytest.approx(np.sqrt((errors**2).mean(axis=0)).mean(), rel=1e-5)
        assert ("coverage" in measured) == any(column.startswith("low") for column in answers)
        if "coverage" in measured:
            low, high = (answers.filter(regex=f"^{end}").to_numpy() for end in ("low", "high"))
            inside = (low <= truth.to_numpy(np.float32)) & (truth.to_numpy(np.float32) <= high)
            assert measured["coverage"] == inside.mean()
    elif len(columns) > 1:
        told = np.stack([answers[f"probability_{column}"] >= 0.5 for column in columns], axis=1)
        assert measured["accuracy"] == (told == truth.to_numpy()).all(axis=1).mean()
        assert measured["label_accuracy"] == (told == truth.to_numpy()).mean()
    else:
        label = truth[columns[0]]
        assert measured["accuracy"] == (answers["prediction"] == label).mean()
        likelihood = [row[f"probability_{one}"] for one, (_, row) in zip(label, answers.iterrows(), strict=True)]
        assert measured["log_loss"] == pytest.approx(-np.log(likelihood).mean(), rel=1e-5)
        assert answers["prediction"].nunique() > 1


@pytest.mark.parametrize(("tag", "family"), REFUSED)
def test_predict_refuses_a_task_without_prediction_from_files_in_one_line(
    tag: str, family: str, data_of: Callable, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refusal = REFUSALS[tag]
    data = data_of(refusal.write)
    release = save_release(tmp_path / "release", data, tag, family, refusal.data, refusal.models[family])
    source = data / "test" if (data / "test").is_dir() else next(data.glob("test.*"))
    capsys.readouterr()
    code = main(["predict", str(release), str(source), "--output", str(tmp_path / "out.csv")])
    lines = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert code == 2
    assert len(lines) == 1
    assert "no prediction from files" in lines[0]
    assert not (tmp_path / "out.csv").exists()


def test_forecasts_are_the_problems_answers(data_of: Callable, tmp_path: Path) -> None:
    data = data_of(long_series_files)
    options = {"context_length": 12, "prediction_length": 4, "quantiles": [0.1, 0.5, 0.9]}
    fields = {**RNN, "segment_length": 4, "distribution_output": "quantile"}
    release = save_release(tmp_path / "release", data, "time-series-forecasting", "rnn", options, fields)
    frame = pd.read_csv(data / "test.csv", parse_dates=["date"])
    opened = open_release(str(release))
    with torch.no_grad():
        outputs = opened.model.eval()(**opened.problem.processor(frame, return_tensors="pt"))
    answers = opened.problem.answers(outputs)
    rows = pd.DataFrame(pipeline("time-series-forecasting", model=str(release))(frame))
    assert list(rows) == ["date", *answers] == ["date", "a", "a_0.1", "a_0.5", "a_0.9", "b", "b_0.1", "b_0.5", "b_0.9"]
    for name, values in answers.items():
        assert rows[name].tolist() == values[0].tolist()
    assert main(["predict", str(release), str(data / "test.csv"), "--output", str(tmp_path / "out.csv")]) == 0
    written = pd.read_csv(tmp_path / "out.csv", parse_dates=["date"])
    pd.testing.assert_frame_equal(written, rows, check_dtype=False, rtol=1e-6)


@pytest.mark.parametrize(("quantiles", "names"), [([0.5], ["prediction"]), ([0.1, 0.9], ["prediction", "low", "high"])])
def test_one_quantile_tells_no_interval_and_two_do(
    quantiles: list[float], names: list[str], data_of: Callable, tmp_path: Path
) -> None:
    data, fields = data_of(table_files), {"hidden_sizes": [16], "quantiles": quantiles}
    release = save_release(tmp_path / "release", data, "tabular-regression", "mlp", ONE_NUMBER, fields)
    row = {"x": 0.3, "z": 0.1, "town": "n"}
    assert list(pipeline("tabular-regression", model=str(release))(row)) == names
    predict_file(str(release), str(data / "test.csv"), str(tmp_path / "out.csv"), keep=[])
    assert list(pd.read_csv(tmp_path / "out.csv")) == names


def test_targets_have_the_names_of_problem_json_and_without_it_those_of_the_config(
    data_of: Callable, tmp_path: Path
) -> None:
    fields, row = {"hidden_sizes": [16]}, {"x": 0.3, "z": 0.1, "town": "n"}
    release = save_release(tmp_path / "release", data_of(table_files), "tabular-regression", "mlp", NUMBERS, fields)
    assert set(pipeline("tabular-regression", model=str(release))(row)["prediction"]) == {"rent", "price"}
    (release / "problem.json").unlink()
    answer = pipeline("tabular-regression", model=str(release))(row)
    assert set(answer["prediction"]) == {"LABEL_0", "LABEL_1"}


@pytest.mark.parametrize(
    ("case", "processor"),
    [
        (("audio-classification", "cnn", ""), "feature_extractor"),
        (("feature-extraction", "autoencoder", ""), "processor"),
        (("image-classification", "cnn", ""), "image_processor"),
        (("tabular-classification", "mlp", "one"), "processor"),
        (("text-classification", "rnn", ""), "tokenizer"),
        (("time-series-classification", "rnn", ""), "processor"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_a_model_in_memory_answers_as_its_checkpoint_does(
    case: tuple[str, str, str], processor: str, data_of: Callable, release_of: Callable, tmp_path: Path
) -> None:
    tag, saved = case[0], pipeline(case[0], model=str(release_of(*case)))
    model = type(saved.model)(saved.model.config).eval()
    model.load_state_dict(saved.model.state_dict())
    model.name_or_path = ""
    in_memory = pipeline(tag, model=model, **{processor: getattr(saved, processor)})
    rows = pipeline_rows(tag, rows_file(data_of(WAYS[tag].write), FEW, tmp_path), {})
    assert in_memory(rows) == saved(rows)


@pytest.mark.parametrize(("tag", "usual"), [("audio-classification", 7), ("image-classification", 5)])
def test_a_pipeline_gives_its_usual_number_of_classes_or_as_many_as_asked_and_another_function_when_named(
    tag: str, usual: int, data_of: Callable, release_of: Callable, tmp_path: Path
) -> None:
    (row, *_) = pipeline_rows(tag, rows_file(data_of(WAYS[tag].write), FEW, tmp_path), {})
    classify = pipeline(tag, model=str(release_of(tag, "cnn", "")))
    everything = classify(row, top_k=10)
    assert len(everything) == len(FILE_KINDS)
    assert classify(row) == everything[:usual]
    assert classify(row, top_k=2) == everything[:2]
    scores = classify(row, function_to_apply="none", top_k=10)
    weights = np.exp([item["score"] for item in scores])
    np.testing.assert_allclose([item["score"] for item in everything], weights / weights.sum(), rtol=1e-5)
