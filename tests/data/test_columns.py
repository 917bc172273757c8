"""Columns: the Arrow rows seen as tensors are the rows."""

import datasets
import numpy as np
import pytest
import torch

from hubmodels.data.columns import Columns, WindowedColumns, encode_dataset
from hubmodels.data.loading import load_data
from hubmodels.errors import HubmodelsError
from hubmodels.recipe import DataArguments

FEATURES = datasets.Features(
    image=datasets.Array3D((1, 4, 3), "uint8"),
    series=datasets.List(datasets.Value("float32"), length=5),
    grid=datasets.List(datasets.List(datasets.Value("int64"), length=2), length=3),
    label=datasets.Value("int64"),
)


@pytest.fixture(scope="module")
def rows():
    random = np.random.default_rng(0)
    return {
        "image": random.integers(0, 256, (2500, 1, 4, 3), dtype=np.uint8),
        "series": random.normal(size=(2500, 5)).astype(np.float32),
        "grid": random.integers(0, 9, (2500, 3, 2)),
        "label": random.integers(0, 9, 2500),
    }


def encoded(rows, tmp_path):
    """The rows through a cached map, as the workflow does it: the columns come in chunks of 1,000."""
    (tmp_path / "n.csv").write_text("n\n" + "\n".join(map(str, range(2500))))
    numbers = datasets.load_dataset("csv", data_files=str(tmp_path / "n.csv"), cache_dir=str(tmp_path))["train"]

    def encode(batch, indices):
        return {name: values[batch["n"]] for name, values in rows.items()}

    return numbers.map(encode, batched=True, with_indices=True, remove_columns=["n"], features=FEATURES)


@pytest.mark.parametrize("resident_bytes", [2**31, 0], ids=["resident", "memory-mapped"])
def test_a_batch_has_the_rows_asked_for_in_their_order(rows, tmp_path, resident_bytes):
    columns = Columns(encoded(rows, tmp_path), resident_bytes)
    wanted = torch.tensor([2499, 0, 1000, 999, 1000, 7])
    batch = columns.batch(wanted)
    assert list(batch) == list(rows)
    for name, values in rows.items():
        assert np.array_equal(batch[name].numpy(), values[wanted.numpy()])
        assert np.array_equal(columns.tensor(name).numpy(), values)
        assert batch[name].dtype == torch.from_numpy(values).dtype


def test_writing_into_a_batch_does_not_change_the_column(rows, tmp_path):
    columns = Columns(encoded(rows, tmp_path))
    columns.batch(torch.arange(3))["image"].zero_()
    assert np.array_equal(columns.batch(torch.arange(3))["image"].numpy(), rows["image"][:3])


def test_a_selection_of_rows_is_respected(rows, tmp_path):
    columns = Columns(encoded(rows, tmp_path).select([5, 3, 8]))
    assert columns.batch(torch.tensor([0, 2]))["label"].tolist() == rows["label"][[5, 8]].tolist()


def test_a_second_encoding_reads_the_cache(tmp_path):
    (tmp_path / "n.csv").write_text("n\n1\n2\n3\n")
    numbers = datasets.load_dataset("csv", data_files=str(tmp_path / "n.csv"), cache_dir=str(tmp_path))["train"]
    calls = []

    def encode(batch, indices):
        calls.append(indices)
        return {"double": np.array(batch["n"]) * 2}

    features = datasets.Features(double=datasets.Value("int64"))
    for key in ("a", "a", "b"):
        columns = encode_dataset(numbers, encode, features, key, "Encoding")
        assert columns.tensor("double").tolist() == [2, 4, 6]
    assert calls == [[0, 1, 2], [0, 1, 2]]


def test_missing_values_and_ragged_rows_are_refused():
    missing = datasets.Dataset.from_dict({"x": [1, None]}, features=datasets.Features(x=datasets.Value("int64")))
    with pytest.raises(HubmodelsError, match="missing values"):
        Columns(missing)
    ragged = datasets.Dataset.from_dict({"x": [[1], [1, 2]]})
    with pytest.raises(HubmodelsError, match="no fixed shape"):
        Columns(ragged)


def test_windows_are_slices_of_the_stream(tmp_path):
    values = np.arange(40, dtype=np.float32).reshape(20, 2)
    columns = Columns(
        datasets.Dataset.from_dict(
            {"values": values.tolist(), "hour": list(range(20))},
            features=datasets.Features(
                values=datasets.List(datasets.Value("float32"), length=2), hour=datasets.Value("int32")
            ),
        )
    )
    windows = WindowedColumns(columns, torch.tensor([0, 3, 14]), 6)
    assert len(windows) == 3
    batch = windows.batch(torch.tensor([2, 0]))
    assert torch.equal(batch["values"], torch.tensor(np.stack([values[14:20], values[0:6]])))
    assert batch["hour"].tolist() == [list(range(14, 20)), list(range(6))]
    assert windows.tensor("hour").tolist() == list(range(20))


def test_a_split_without_a_window_is_refused():
    columns = Columns(datasets.Dataset.from_dict({"hour": [1, 2]}))
    with pytest.raises(HubmodelsError, match="2 steps holds no window of 6"):
        WindowedColumns(columns, torch.tensor([], dtype=torch.int64), 6)


def test_a_bar_stands_for_encoding_and_none_for_types_and_orders_of_rows(capfd, tmp_path) -> None:
    rows = load_data(DataArguments(dataset="sklearn:iris")).splits["train"]  # its target is cast to classes
    Columns(datasets.Dataset.from_dict({"x": [1.0, 2.0, 3.0]}).select([2, 0]))
    assert "%|" not in capfd.readouterr().err
    kind = datasets.Features(x=datasets.Value("float64"))
    encode_dataset(rows, lambda some, _: {"x": np.zeros(len(some["target"]))}, kind, str(tmp_path), "Encoding train")
    assert "Encoding train: 100%|" in capfd.readouterr().err
