"""The check of the data: what it must see, and what it must leave alone."""

import io
import time
import wave

import datasets
import numpy as np
import pyarrow
import pytest
from PIL import Image

from hubmodels.data import CheckedData, Columns, check_splits
from hubmodels.data.origins import FileRows, Origin
from hubmodels.errors import HubmodelsError
from hubmodels.report import collect_notes
from hubmodels.units import Units


def origins_of(rows):
    """A file a split, whose first row is its second line."""
    return {role: Origin((FileRows(f"{role}.csv", len(split), 2),)) for role, split in rows.items()}


def check_table_splits(tables, strict=False, **units):
    """Check tables whose columns but `y` are numbers that the model sees as they are."""
    rows = {role: datasets.Dataset.from_dict(table) for role, table in tables.items()}
    names = [name for name in next(iter(tables.values())) if name != "y"]
    columns = {}
    for role, table in tables.items():
        matrix = np.array([[hash(v) % 997 if isinstance(v, str) else v for v in table[n]] for n in names]).T
        feature = datasets.List(datasets.Value("float32"), length=len(names))
        encoded = {"numeric_features": matrix.astype(np.float32), "labels": np.arange(len(matrix))}
        features = datasets.Features(numeric_features=feature, labels=datasets.Value("int64"))
        columns[role] = Columns(datasets.Dataset.from_dict(encoded, features=features))
    known = Units(inputs=tuple(names), targets=("y",), **units)
    data = CheckedData(rows, columns, ["numeric_features"], known, origins_of(rows))
    with collect_notes() as notes:
        findings = check_splits(data, strict=strict)
    return findings, notes


def numbers(seed, count, **columns):
    rng = np.random.default_rng(seed)
    table = {"a": rng.normal(size=count).tolist(), "b": rng.normal(size=count).tolist()}
    return table | columns | {"y": [f"c{i % 3}" for i in range(count)]}


def test_clean_data_get_one_quiet_note():
    tables = {"train": numbers(0, 300), "validation": numbers(1, 60), "test": numbers(2, 60)}
    findings, notes = check_table_splits(tables, strict=True, classes="y")
    assert findings == []
    assert [(said.topic, said.surprising) for said in notes] == [("check", False)]
    assert "300 train, 60 validation, 60 test rows: no copies across splits" in notes[0].text


def test_test_rows_that_stand_in_training_are_counted_and_named_by_their_lines():
    tables = {"train": numbers(0, 300), "validation": numbers(1, 60), "test": numbers(2, 60)}
    for name in ("a", "b"):
        tables["test"][name][7], tables["test"][name][9] = tables["train"][name][100], tables["train"][name][2]
    tables["test"]["y"][7], tables["test"]["y"][9] = tables["train"]["y"][100], tables["train"]["y"][2]
    (finding,), notes = check_table_splits(tables, classes="y")
    assert (finding.check, finding.split, finding.count) == ("copies", "test", 2)
    assert "row 7 (line 9) of test.csv is row 100 (line 102) of train.csv" in notes[0].text
    assert notes[0].surprising
    with pytest.raises(HubmodelsError, match="2 of 60 test rows stand in the training rows too"):
        check_table_splits(tables, strict=True, classes="y")


def test_a_column_that_the_processor_leaves_out_hides_no_copy():
    tables = {
        role: {"id": list(range(i, i + n))} | numbers(i, n) for role, i, n in (("train", 0, 300), ("test", 500, 60))
    }
    for name in ("a", "b", "y"):
        tables["test"][name][7] = tables["train"][name][100]
    assert check_table_splits(tables, classes="y")[0] == []
    rows = {role: datasets.Dataset.from_dict(table) for role, table in tables.items()}
    features = datasets.Features(x=datasets.Value("int64"))
    columns = {r: Columns(datasets.Dataset.from_dict({"x": [0] * len(t)}, features=features)) for r, t in rows.items()}
    units = Units(inputs=("id", "a", "b"), targets=("y",), classes="y")
    with collect_notes():
        (finding,) = check_splits(CheckedData(rows, columns, ["x"], units, origins_of(rows), read=["a", "b"]))
    assert (finding.check, finding.count) == ("copies", 1)


def test_equal_inputs_of_different_classes_are_said():
    tables = {"train": numbers(0, 300), "test": numbers(2, 60)}
    for name in ("a", "b"):
        tables["train"][name][10] = tables["train"][name][12]
    (finding,), _ = check_table_splits(tables, classes="y")
    assert (finding.check, finding.count) == ("contradictions", 2)
    assert "row 10 (line 12) of train.csv and row 12 (line 14) of train.csv" in finding.text()


def test_rows_of_few_different_values_are_no_copies():
    table = {"a": [float(i % 4) for i in range(300)], "y": [f"c{i % 3}" for i in range(300)]}
    findings, notes = check_table_splits({"train": table, "test": {n: v[:60] for n, v in table.items()}}, classes="y")
    assert findings == []
    assert "repeat a few different ones" in notes[0].text


@pytest.mark.parametrize("role", ["train", "test"])
def test_classes_that_a_split_lacks_are_said_with_the_rows_of_the_others(role):
    tables = {"train": numbers(0, 300), "test": numbers(2, 60)}
    tables[role]["y"] = ["c0" if name == "c2" else name for name in tables[role]["y"]]
    (finding,), _ = check_table_splits(tables, classes="y")
    assert (finding.check, finding.split, finding.count) == ("classes", role, 1)
    assert ("'c2' (0 train, 20 test rows)" if role == "train" else "'c2' (100 train, 0 test rows)") in finding.text()


def target_copies(rng, count):
    classes = rng.integers(0, 3, count)
    return {
        "renamed": [f"code {c}" for c in classes],
        "threshold": (classes + rng.uniform(0.0, 0.9, count)).tolist(),
        "noise": rng.normal(size=count).tolist(),
        "y": [f"c{c}" for c in classes],
    }


def test_columns_that_tell_the_class_alone_are_named_and_others_are_not():
    tables = {
        role: target_copies(np.random.default_rng(i), n) for i, (role, n) in enumerate([("train", 400), ("test", 90)])
    }
    findings, _ = check_table_splits(tables, classes="y")
    assert [finding.check for finding in findings] == ["giveaway", "giveaway"]
    assert [finding.examples[0].split(" ")[0] for finding in findings] == ["'renamed'", "'threshold'"]


@pytest.mark.parametrize(
    ("noise", "name", "number"), [(0.0, "x", 1), (0.2, "x", 0), (0.2, "y_next", 1), (1.0, "y_next", 0)]
)
def test_a_number_that_tells_the_number_is_a_giveaway_sooner_where_its_name_speaks_of_it(noise, name, number):
    tables = {}
    for seed, role in enumerate(("train", "test")):
        rng = np.random.default_rng(seed)
        target = rng.normal(size=600)
        tables[role] = {
            name: (3 * target + 3 * noise * rng.normal(size=600) + 5).tolist(),
            "z": rng.normal(size=600).tolist(),
            "y": target.tolist(),
        }
    findings, _ = check_table_splits(tables, numbers="y")
    assert len(findings) == number


def test_a_rare_class_is_no_giveaway():
    tables = {"train": numbers(0, 1000), "test": numbers(1, 200)}
    for table in tables.values():
        table["y"] = ["rare" if i % 100 == 0 else "usual" for i in range(len(table["y"]))]
    assert check_table_splits(tables, classes="y")[0] == []


def test_constant_columns_are_named_once():
    tables = {
        role: numbers(seed, 90) | {"k": [1.0] * 90, "m": [0.5] * 90} for seed, role in enumerate(("train", "test"))
    }
    (finding,), _ = check_table_splits(tables, classes="y")
    assert (finding.check, finding.count) == ("constant", 2)
    assert finding.remedy == "drop_columns: [k, m]"


# Texts


def check_texts(train, test):
    rows = {
        role: datasets.Dataset.from_dict({"text": texts, "y": [i % 2 for i in range(len(texts))]})
        for role, texts in (("train", train), ("test", test))
    }
    features = datasets.Features(input_ids=datasets.List(datasets.Value("int32"), length=1))
    columns = {
        role: Columns(datasets.Dataset.from_dict({"input_ids": [[7]] * len(split)}, features=features))
        for role, split in rows.items()
    }
    units = Units(inputs=("text",), targets=("y",), classes="y")
    with collect_notes():
        return check_splits(CheckedData(rows, columns, ["input_ids"], units, origins_of(rows)))


def test_texts_are_compared_as_written_and_but_for_case_blanks_and_signs():
    train = [f"A film, number {i}!" for i in range(60)] + ["Größe “eins”", "...", "?"]
    test = ["A film, number 4!", "a  FILM number 6", "GRÖSSE eins", "!!", "something else", "another"]
    findings = check_texts(train, test)
    assert [(finding.check, finding.count) for finding in findings] == [("copies", 1), ("near copies", 2)]
    assert "row 1 (line 3) of test.csv is row 6 (line 8) of train.csv" in findings[1].text()


def test_long_texts_that_the_model_cuts_are_no_copies():
    assert check_texts([f"the same beginning {i}" for i in range(40)], ["the same beginning x", "and y"]) == []


# Images and sounds


def image_rows(seeds, suffix, side=8):
    rows = []
    for seed in seeds:
        file = io.BytesIO()
        pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(file, suffix)
        rows.append({"bytes": file.getvalue(), "path": f"{seed}.{suffix}"})
    return rows


def check_images(tables, feature=None, tensors=None):
    kinds = datasets.Features({"image": feature or datasets.Image(decode=False), "y": datasets.Value("string")})
    rows, columns = {}, {}
    for role, items in tables.items():
        table = {"image": items, "y": [f"c{i % 2}" for i in range(len(items))]}
        stored = pyarrow.Table.from_pydict(table, schema=kinds.arrow_schema)  # sounds as files, without an encoder
        rows[role] = datasets.Dataset(stored)
        pixels = tensors(items)
        encoded = datasets.Features(pixel_values=datasets.Array3D(pixels.shape[1:], "uint8"))
        columns[role] = Columns(datasets.Dataset.from_dict({"pixel_values": pixels}, features=encoded))
    units = Units(inputs=("image",), targets=("y",), classes="y")
    with collect_notes():
        return check_splits(CheckedData(rows, columns, ["pixel_values"], units, {}))


def decode(items):
    pixels = [np.asarray(Image.open(io.BytesIO(item["bytes"])).resize((8, 8))) for item in items]
    return np.stack(pixels).transpose(0, 3, 1, 2)


def test_the_same_image_in_another_file_format_is_a_copy():
    (finding,) = check_images(
        {"train": image_rows(range(40), "PNG"), "test": [*image_rows([100, 101], "PNG"), *image_rows([6], "BMP")]},
        tensors=decode,
    )
    assert (finding.check, finding.count) == ("copies", 1)
    assert "row 2 is row 6" in finding.text()


def test_large_images_of_equal_samples_are_compared_in_full():
    train = np.random.default_rng(0).integers(0, 256, (20, 3, 64, 64), dtype=np.uint8)
    test = train[:2].copy()
    test[1, 2, 63, 61] ^= 1  # one pixel, most likely not among the words that are hashed
    tables = {"train": image_rows(range(20), "PNG"), "test": image_rows([100, 101], "PNG")}
    findings = check_images(tables, tensors=lambda items: train if len(items) == 20 else test)
    assert [finding.count for finding in findings] == [1]


def test_splits_of_other_image_sizes_are_said_and_mixed_sizes_are_not():
    apart = {"train": image_rows(range(30), "PNG"), "test": image_rows(range(100, 110), "PNG", side=12)}
    (finding,) = check_images(apart, tensors=decode)
    assert (finding.check, finding.split) == ("image sizes", "test")
    assert "train: 8 x 8" in finding.text()
    assert "test: 12 x 12" in finding.text()
    mixed = {
        "train": [*image_rows(range(15), "PNG"), *image_rows(range(15, 30), "PNG", side=12)],
        "test": image_rows(range(100, 110), "PNG", side=12),
    }
    assert check_images(mixed, tensors=decode) == []


def sound_rows(count, rate):
    rows = []
    for number in range(count):
        file = io.BytesIO()
        with wave.open(file, "wb") as sound:
            sound.setnchannels(1)
            sound.setsampwidth(2)
            sound.setframerate(rate)
            sound.writeframes(bytes([number, 0] * 50))
        rows.append({"bytes": file.getvalue(), "path": None})
    return rows


def test_sampling_rates_that_differ_are_said():
    rng = np.random.default_rng(0)
    tables = {"train": sound_rows(30, 8000), "test": sound_rows(10, 16000)}
    findings = check_images(
        tables,
        feature=datasets.Audio(decode=False),
        tensors=lambda items: rng.integers(0, 256, (len(items), 1, 2, 2), dtype=np.uint8),
    )
    assert [finding.check for finding in findings] == ["sampling rates"]
    assert "8,000 Hz" in findings[0].text()


def test_the_check_takes_a_time_linear_in_the_rows():
    def seconds(count):
        tables = {"train": numbers(0, count), "test": numbers(1, count // 4)}
        started = time.perf_counter()
        rows = {role: datasets.Dataset.from_dict(table) for role, table in tables.items()}
        features = datasets.Features(x=datasets.List(datasets.Value("float32"), length=2))
        columns = {
            role: Columns(
                datasets.Dataset.from_dict({"x": np.array([table["a"], table["b"]], np.float32).T}, features=features)
            )
            for role, table in tables.items()
        }
        units = Units(inputs=("a", "b"), targets=("y",), classes="y")
        started = time.perf_counter()
        with collect_notes():
            check_splits(CheckedData(rows, columns, ["x"], units, {}))
        return time.perf_counter() - started

    seconds(1_000)
    assert seconds(40_000) < 40 * max(seconds(4_000), 0.01)  # ten times the rows; a hundredfold were quadratic


def test_a_stream_is_not_checked():
    assert check_splits(CheckedData({}, {}, [], Units(), {})) == []
