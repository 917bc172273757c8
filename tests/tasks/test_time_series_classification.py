"""Time-series classification: nested and long tables, encoded rows, augmentation, baseline, figures, bad input."""

import datasets
import numpy as np
import pandas as pd
import pyarrow
import pytest
import torch

from hubmodels.errors import HubmodelsError
from hubmodels.tasks.inputs import series_augmentation as augmentation
from hubmodels.tasks.inputs.series_values import series_features
from hubmodels.tasks.time_series_classification import TimeSeriesClassification


def make_series(rows: int = 30, seed: int = 0) -> tuple[list[list[list[float]]], list[str]]:
    """Series of 4 to 9 steps and 2 channels; the class is the sign of the slope."""
    generator = np.random.default_rng(seed)
    series, labels = [], []
    for row in range(rows):
        steps = np.arange(4 + row % 6)[:, None]
        series.append((steps * (1 if row % 2 else -1) + generator.normal(0, 0.2, (len(steps), 2))).round(3).tolist())
        labels.append("up" if row % 2 else "down")
    return series, labels


def make_dataset(rows: int = 30, seed: int = 0) -> datasets.Dataset:
    series, labels = make_series(rows, seed)
    return datasets.Dataset.from_dict({"id": range(rows), "series": series, "label": labels})


def make_long(rows: int = 30) -> pd.DataFrame:
    series, labels = make_series(rows)
    parts = [
        pd.DataFrame(np.array(one), columns=["x", "y"]).assign(id=f"s{row}", time=range(len(one)), label=labels[row])
        for row, one in enumerate(series)
    ]
    return pd.concat(parts)


@pytest.fixture
def encode(encode_rows):
    """A problem of these options, fitted to a data set or given, and the data set's encoded rows."""

    def run(dataset: datasets.Dataset, problem=None, **options):
        task = problem.task if problem else TimeSeriesClassification.from_options(**options)
        rows = task.select(dataset)
        problem = problem or task.fit(rows)
        return problem, encode_rows(problem, rows)

    return run


def test_rows_are_padded_to_the_longest_and_batches_trimmed_to_theirs(encode) -> None:
    problem, columns = encode(make_dataset())
    assert columns.tensor("values").shape == (30, 9, 2)
    assert problem.config_fields() == {
        "num_input_channels": 2,
        "id2label": {0: "down", 1: "up"},
        "label2id": {"down": 0, "up": 1},
        "problem_type": "single_label_classification",
    }
    series, labels = make_series()
    every = np.concatenate([np.array(one) for one in series])
    inputs = problem.transform(training=False)(columns.batch(torch.tensor([1, 6])))
    assert inputs["past_values"].shape == (2, 5, 2)
    assert inputs["attention_mask"].tolist() == [[1, 1, 1, 1, 1], [1, 1, 1, 1, 0]]
    assert inputs["labels"].tolist() == [labels.index("up") % 2, 0]
    expected = (np.array(series[1]) - every.mean(0)) / every.std(0)
    np.testing.assert_allclose(inputs["past_values"][0], expected, rtol=1e-4, atol=1e-5)
    assert inputs["past_values"][1, 4].tolist() == [0, 0]
    golden = problem.golden_inputs()
    assert {name: value.dtype for name, value in golden.items()} == {
        name: value.dtype for name, value in inputs.items() if name != "labels"
    }


def test_a_long_table_gives_the_rows_of_the_nested_one(encode) -> None:
    _, expected = encode(make_dataset())
    long = make_long().sample(frac=1, random_state=0).sort_values("time", kind="stable")
    first_seen = [int(name[1:]) for name in long["id"].unique()]
    problem, columns = encode(datasets.Dataset.from_pandas(long, preserve_index=False))
    assert problem.config_fields()["num_input_channels"] == 2
    for name in ("length", "labels", "observed"):
        assert torch.equal(columns.tensor(name), expected.tensor(name)[first_seen])
    torch.testing.assert_close(columns.tensor("values"), expected.tensor("values")[first_seen])


def test_a_gap_in_a_long_table_is_a_missing_step(encode) -> None:
    long = make_long()
    long = long[~((long["id"] == "s3") & (long["time"] == 2))]
    _, columns = encode(datasets.Dataset.from_pandas(long, preserve_index=False))
    assert columns.tensor("length")[3] == 7
    assert columns.tensor("observed")[3, :, 0].tolist() == [1, 1, 0, 1, 1, 1, 1, 0, 0]


def test_a_series_of_one_channel_may_be_a_plain_list_with_missing_values(encode) -> None:
    dataset = datasets.Dataset.from_dict({"x": [[1.0, None, 3.0], [2.0, 5.0]] * 3, "label": ["a", "b"] * 3})
    problem, columns = encode(dataset)
    assert columns.tensor("observed")[0, :, 0].tolist() == [1, 0, 1]
    assert problem.processor.mean == [pytest.approx(11 / 4)]


def test_longer_series_than_in_training_are_refused_or_cut_as_chosen(encode, tmp_path) -> None:
    problem, _ = encode(make_dataset(3))
    with pytest.raises(
        HubmodelsError, match="row 3.* 7 steps, the longest in training had 6.*--longer_series truncate"
    ):
        encode(make_dataset(6), problem)
    problem.processor.save_pretrained(tmp_path)
    task = TimeSeriesClassification.from_options(longer_series="truncate")
    cutting = task.fit(task.select(make_dataset(3)), checkpoint=str(tmp_path))
    _, columns = encode(make_dataset(6), cutting)
    assert columns.tensor("length").tolist() == [4, 5, 6, 6, 6, 6]


def test_augmentation_moves_only_what_is_there_and_follows_its_generator(encode) -> None:
    options = {"jitter": 0.1, "magnitude_scaling": 0.1, "time_warping": 0.3, "random_cropping": 0.3}
    problem, columns = encode(make_dataset(), **options)
    batch = columns.batch(torch.arange(30))
    augment = problem.transform(training=True)
    first, again, other = (augment(batch, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["attention_mask"], other["attention_mask"])
    inside = first["attention_mask"].bool()
    assert torch.equal(first["past_observed_mask"].all(-1), inside)
    assert (first["past_values"][~inside] == 0).all()
    assert (inside.sum(1) >= 1).all()


def test_a_crop_is_a_stretch_of_its_series_and_a_warp_keeps_the_ends() -> None:
    values = torch.arange(1.0, 11).view(1, 10, 1).repeat(50, 1, 1)
    lengths = torch.full((50,), 8)
    observed = (torch.arange(10) < 8)[None, :, None].expand(values.shape)
    generator = torch.Generator().manual_seed(0)
    cropped, _, kept = augmentation.random_crop(values, observed, lengths, 0.5, generator)
    assert set(kept.tolist()) == {5, 6, 7, 8}
    for row, length in zip(cropped[..., 0], kept.tolist(), strict=True):
        assert (row[:length].diff() == 1).all()
        assert row[:length].max() <= 8
        assert (row[length:] == 0).all()
    warped, _, ends = augmentation.time_warp(values, observed, lengths, 0.4, generator)
    assert ends.min() < 7
    assert ends.max() == 10
    for row, length in zip(warped[..., 0], ends.tolist(), strict=True):
        assert row[0] == 1
        assert row[length - 1] == 8
        assert (row[:length].diff() >= 0).all()


def test_the_baselines_features_are_those_of_numpy(encode) -> None:
    _, columns = encode(make_dataset())
    features, length = series_features(columns, np.array([7, 1])), 5
    one = columns.tensor("values")[1, :length].double().numpy()
    slope = [np.polyfit(np.arange(length), one[:, channel], 1)[0] for channel in range(2)]
    expected = [*one.mean(0), *one.std(0), *one.min(0), *one.max(0), *one[0], *one[-1], *slope, length]
    np.testing.assert_allclose(features[1], expected, rtol=1e-5, atol=1e-6)


def test_the_baseline_tells_rising_from_falling_series(encode) -> None:
    problem, train = encode(make_dataset(60))
    _, test = encode(make_dataset(40, seed=1), problem)
    baseline = problem.baseline(train, test)
    assert problem.metrics(baseline.rows)["accuracy"] == 1
    assert baseline.name == "logistic regression on mean, spread, range, ends, slope and length"
    plots = {plot.name: plot for plot in problem.figures(baseline.rows, test)}
    assert list(plots) == ["confusion_matrix", "examples", "reliability"]
    assert len(plots["examples"].figure.axes[0].lines) == 3 * 2


def test_rows_to_predict_are_the_series_of_a_file(encode) -> None:
    problem, columns = encode(make_dataset())
    inputs = problem.encode_inputs(pyarrow.table({"n": range(30), "series": make_series()[0]}), list(range(30)))
    assert list(inputs) == ["values", "observed", "length"]
    for name, array in inputs.items():
        np.testing.assert_array_equal(array, columns.tensor(name))
    with pytest.raises(HubmodelsError, match="no column of whole series 'series' among n"):
        problem.encode_inputs(pyarrow.table({"n": [1]}), [0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"series": [[], *make_series()[0][1:]]}, "row 0, column 'series': it holds no series: it is empty"),
        ({"series": [[[1.0], [2.0]], *make_series()[0][1:]]}, "channels"),
        ({"series": [[[1.0, 2.0], [2.0]], *make_series()[0][1:]]}, "steps differ in length"),
        ({"series": [[[1.0, np.inf]], *make_series()[0][1:]]}, "infinite"),
        ({"label": [None, *make_series()[1][1:]]}, "row 0, column 'label': it has no class"),
        ({"label": ["up"] * 30}, "needs at least 2"),
        ({"values": make_series()[0], "data": make_series()[0], "series": [1] * 30}, "several columns of lists"),
        ({"id": [1.0] * 30, "series": [1] * 30}, "neither a column of lists"),
    ],
)
def test_bad_tables_are_refused_in_one_line(encode, change, message) -> None:
    columns = {"id": range(30), "series": make_series()[0], "label": make_series()[1]}
    with pytest.raises(HubmodelsError, match=message) as caught:
        encode(datasets.Dataset.from_dict(columns | change))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda frame: frame.assign(label=["up", "down"] * (len(frame) // 2) + ["up"] * (len(frame) % 2)),
            "several classes",
        ),
        (lambda frame: frame.assign(time=0), "not sorted"),
    ],
)
def test_bad_long_tables_are_refused(change, message) -> None:
    with pytest.raises(HubmodelsError, match=message):
        TimeSeriesClassification().select(datasets.Dataset.from_pandas(change(make_long()), preserve_index=False))


@pytest.mark.parametrize("options", [{"jitter": -1.0}, {"time_warping": 1.0}, {"random_cropping": -0.1}])
def test_options_that_cannot_work_are_refused(options) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        TimeSeriesClassification.from_options(**options)


def test_a_stream_without_types_and_a_long_table_as_a_stream_are_refused() -> None:
    stream = datasets.Dataset.from_pandas(make_long(), preserve_index=False).to_iterable_dataset()
    with pytest.raises(HubmodelsError, match="leave out --streaming"):
        TimeSeriesClassification().select(stream)
    untyped = datasets.IterableDataset.from_generator(lambda: iter([{"series": [[1.0]], "label": "a"}]))
    with pytest.raises(HubmodelsError, match="does not tell its columns; leave out --streaming"):
        TimeSeriesClassification().select(untyped)
