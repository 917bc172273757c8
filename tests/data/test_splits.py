"""Carving: nothing that belongs together is torn apart, classes keep their shares, the order of a file is nothing."""

import datasets
import numpy as np
import pytest

from hubmodels.data.carving import gather_units
from hubmodels.data.loading import load_data
from hubmodels.data.row_hashes import hash_rows
from hubmodels.data.splits import carve_splits, count_rows, limit_rows
from hubmodels.errors import HubmodelsError
from hubmodels.recipe import DataArguments
from hubmodels.report import collect_notes
from hubmodels.units import Units

FRACTIONS = {"test": 0.2, "validation": 0.1}


def arguments(**given):
    return DataArguments(dataset="rows", carve=given.pop("carve", "random"), **given)


def random_table(seed: int, num_rows: int, num_classes: int = 4, num_groups: int = 30) -> datasets.Dataset:
    """Rows with an id, a number, a class (some rare) and a group; one row in ten repeats another's inputs."""
    rng = np.random.default_rng(seed)
    shares = 1 / np.arange(1, num_classes + 1) ** 2
    classes = rng.choice(num_classes, num_rows, p=shares / shares.sum())
    values = rng.normal(size=num_rows).round(3)
    copied = rng.choice(num_rows, num_rows // 10, replace=False)
    values[copied] = values[rng.integers(0, num_rows, len(copied))]
    groups = rng.integers(0, num_groups, num_rows)
    return datasets.Dataset.from_dict(
        {"row": list(range(num_rows)), "x": values.tolist(), "y": [f"c{i}" for i in classes], "g": groups.tolist()}
    )


def carve(rows, units, **given):
    return carve_splits(rows, FRACTIONS, units, arguments(**given))[0]


TABLE = Units(inputs=("x",), targets=("y",), classes="y")


@pytest.mark.parametrize("seed", range(8))
def test_each_row_is_in_one_split_and_equal_inputs_never_in_two(seed):
    rows = random_table(seed, 60 + 97 * seed)
    splits = carve(rows, TABLE)
    assert sorted(number for split in splits.values() for number in split["row"]) == list(range(len(rows)))
    values = [set(split["x"]) for split in splits.values()]
    assert not values[0] & values[1]
    assert not values[0] & values[2]
    assert not values[1] & values[2]
    assert abs(len(splits["test"]) - 0.2 * len(rows)) <= 0.03 * len(rows) + 2


@pytest.mark.parametrize("seed", range(8))
def test_every_class_of_three_different_rows_is_in_every_split(seed):
    rows = random_table(seed, 60 + 97 * seed, num_classes=6)
    splits = carve(rows, TABLE)
    values_of = {}
    for value, name in zip(rows["x"], rows["y"], strict=True):
        values_of.setdefault(name, set()).add(value)
    for name, values in values_of.items():
        for role in ("train", "test", "validation") if len(values) >= 3 else ("train",):
            # A value that two classes share is counted for one of them alone.
            if sum(value in others for other, others in values_of.items() if other != name for value in values) == 0:
                assert name in splits[role]["y"], (name, role)


def test_a_column_that_numbers_the_rows_hides_no_copy():
    rows = random_table(3, 400)
    splits = carve(rows, Units(inputs=("row", "x", "g"), targets=("y",), classes="y"))
    pairs = [set(zip(split["x"], split["g"], strict=True)) for split in splits.values()]
    assert not pairs[0] & pairs[1]
    assert not pairs[0] & pairs[2]
    doubled = datasets.concatenate_datasets([rows.remove_columns("row"), rows.remove_columns("row")])
    doubled = doubled.add_column("row", list(range(800)))
    splits = carve(doubled, Units(inputs=("row", "x", "g"), targets=("y",), classes="y"))
    assert not set(splits["test"]["x"]) & set(splits["train"]["x"]) - {
        x for x in rows["x"] if rows["x"][:].count(x) > 1
    }


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_of_a_rare_class_the_training_rows_come_first_then_the_test_rows(count):
    rows = datasets.Dataset.from_dict({"x": list(range(200)), "y": ["rare"] * count + ["usual"] * (200 - count)})
    splits = carve(rows, Units(inputs=("x",), targets=("y",), classes="y"))
    expected = {1: (1, 0, 0), 2: (1, 1, 0), 3: (1, 1, 1), 4: (2, 1, 1)}[count]
    assert tuple(splits[role]["y"].count("rare") for role in ("train", "test", "validation")) == expected


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("grouped", [False, True])
def test_the_order_of_the_rows_in_the_file_is_nothing(seed, grouped):
    rows = random_table(seed, 300)
    shuffled = rows.select(np.random.default_rng(seed + 100).permutation(len(rows)))
    given = {"group_column": "g"} if grouped else {}
    first, second = carve(rows, TABLE, **given), carve(shuffled, TABLE, **given)
    assert {role: sorted(split["row"]) for role, split in first.items()} == {
        role: sorted(split["row"]) for role, split in second.items()
    }
    other = carve(rows, TABLE, split_seed=7, **given)
    assert other["test"]["row"] != first["test"]["row"]


@pytest.mark.parametrize("seed", range(6))
def test_groups_stay_together_and_classes_keep_about_their_shares(seed):
    rows = random_table(seed, 900, num_classes=3, num_groups=60)
    splits = carve(rows, TABLE, group_column="g")
    groups = [set(split["g"]) for split in splits.values()]
    assert not groups[0] & groups[1]
    assert not groups[0] & groups[2]
    assert not groups[1] & groups[2]
    assert sum(map(len, groups)) == 60
    for name in ("c0", "c1", "c2"):
        share = splits["test"]["y"].count(name) / len(splits["test"])
        assert abs(share - rows["y"][:].count(name) / 900) < 0.05
    assert 140 <= len(splits["test"]) <= 220


def test_a_class_that_two_groups_have_is_in_training_and_in_the_test():
    names = ["a"] * 60 + ["b"] * 20
    rows = datasets.Dataset.from_dict({"x": list(range(80)), "y": names, "g": [i // 10 for i in range(80)]})
    splits = carve(rows, Units(inputs=("x",), targets=("y",), classes="y"), group_column="g")
    assert splits["train"]["y"].count("b") == splits["test"]["y"].count("b") == 10


def test_a_long_table_of_series_is_carved_by_whole_series():
    rows = datasets.Dataset.from_dict({"id": [i // 25 for i in range(1000)], "v": list(range(1000))})
    splits = carve(rows, Units(inputs=("id", "v"), group=("id",)))
    assert {role: len(set(split["id"])) for role, split in splits.items()} == {"test": 8, "validation": 3, "train": 29}
    assert all(split["id"].count(i) == 25 for split in splits.values() for i in set(split["id"]))


def test_rows_that_are_few_and_repeat_are_drawn_one_by_one():
    rows = datasets.Dataset.from_dict({"x": [i % 3 for i in range(300)], "y": [i % 2 for i in range(300)]})
    with collect_notes() as notes:
        splits = carve(rows, Units(inputs=("x",), targets=("y",), classes="y"))
    assert {role: len(split) for role, split in splits.items()} == {"test": 60, "validation": 24, "train": 216}
    assert "only 3 different rows" in notes[0].text


def test_numbers_are_carved_over_their_whole_range():
    rows = datasets.Dataset.from_dict({"x": list(range(500)), "y": [float(i) ** 3 for i in range(500)]})
    splits = carve(rows, Units(inputs=("x",), targets=("y",), numbers="y"))
    counts = np.histogram(splits["test"]["x"], bins=10, range=(0, 500))[0]
    assert counts.sum() == 100
    assert counts.min() >= 9


def test_the_last_steps_of_each_series_are_carved_with_what_is_looked_back_on():
    times = [np.datetime64("2026-01-01") + i for i in range(50)]
    stacked = [(name, time, i) for name in "ab" for i, time in enumerate(times)]
    shuffled = [stacked[i] for i in np.random.default_rng(0).permutation(100)]
    rows = datasets.Dataset.from_dict(
        {"id": [r[0] for r in shuffled], "t": [r[1].item() for r in shuffled], "step": [r[2] for r in shuffled]}
    )
    splits = carve(rows, Units(inputs=("step",), time="t", series=("id",), context=5), carve="last")
    for name in "ab":
        steps = {
            role: sorted(step for key, step in zip(split["id"], split["step"], strict=True) if key == name)
            for role, split in splits.items()
        }
        assert steps == {
            "train": list(range(36)),
            "validation": list(range(31, 40)),
            "test": list(range(35, 50)),
        }


def test_rows_to_look_back_on_are_counted_in_no_split_but_said():
    rows = datasets.Dataset.from_dict({"id": ["a"] * 50 + ["b"] * 50, "v": list(range(100))})
    units = Units(inputs=("v",), series=("id",), context=5)
    splits, sentences = carve_splits(rows, FRACTIONS, units, arguments(carve="last"))
    assert count_rows(splits, tuple(FRACTIONS)) == {"train": 72, "validation": 8, "test": 20}
    assert {role: len(split) for role, split in splits.items()} == {"train": 72, "validation": 18, "test": 30}
    assert "carved from its 100 rows, 72 to train on, 8 for validation, 20 for the test." in sentences[0]
    assert "10 for the test and 10 for validation beside the counted ones" in sentences[-1]


def test_rows_without_a_group_are_no_group_and_stay_together_only_where_they_are_equal():
    rows = random_table(0, 600, num_groups=40)
    absent = set(range(0, 600, 3))
    grouped = [None if number in absent else f"p{group}" for number, group in enumerate(rows["g"])]
    rows = rows.remove_columns("g").add_column("g", grouped)
    splits = carve(rows, Units(inputs=("x", "g"), targets=("y",), classes="y"), group_column="g")
    shares = [sum(group is None for group in split["g"]) / len(absent) for split in splits.values()]
    assert all(0 < share < 1 for share in shares)
    values = [{x for x, g in zip(split["x"], split["g"], strict=True) if g is None} for split in splits.values()]
    assert not values[0] & values[1]
    assert not values[0] & values[2]
    assert not values[1] & values[2]
    groups = [set(split["g"]) - {None} for split in splits.values()]
    assert not groups[0] & groups[1]
    assert not groups[0] & groups[2]
    assert not groups[1] & groups[2]


def test_a_series_of_one_step_stays_in_training():
    rows = datasets.Dataset.from_dict({"id": ["a"] * 20 + ["b"], "v": list(range(21))})
    splits = carve(rows, Units(inputs=("v",), series=("id",)), carve="last")
    assert splits["train"]["v"][-1] == 20
    assert splits["test"]["v"][:] == [16, 17, 18, 19]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"group_column": "grp"}, "no column 'grp'; its columns are x, g, one"),
        ({"group_column": "one"}, "from 1 groups of equal 'one': 3 are needed"),
        ({"group_column": "g", "carve": "last"}, "give --carve random"),
    ],
)
def test_groups_that_cannot_be_obeyed_are_refused(given, words):
    rows = datasets.Dataset.from_dict({"x": list(range(50)), "g": [i % 5 for i in range(50)], "one": [0] * 50})
    with pytest.raises(HubmodelsError, match=words):
        carve(rows, Units(inputs=("x",)), **given)


def test_the_note_says_how_many_rows_by_which_rule_and_seed():
    with collect_notes() as notes:
        carve(random_table(0, 400), TABLE, split_seed=3)
    (said,) = notes
    assert said.topic == "splits"
    for words in ("from its 400 rows", "seed 3", "4 classes of 'y' in its share", "occur twice or more"):
        assert words in said.text


# Values of every kind, alone and in lists, and the same behind a gap.
KINDS = {
    "numbers": [1.5, -2.0, None, 1.5],
    "whole": [3, 2**60, None, 3],
    "texts": ["a", "", None, "a"],
    "truths": [True, False, None, True],
    "lists": [[1, 2], [2, 1], None, [1, 2]],
    "nested": [[["a"], []], [["a"]], None, [["a"], []]],
    "records": [{"a": 1, "b": "x"}, {"a": 1, "b": "y"}, None, {"a": 1, "b": "x"}],
    "bytes": [b"\x00", b"", None, b"\x00"],
}


@pytest.mark.parametrize("kind", KINDS)
def test_equal_values_have_equal_hashes_and_others_do_not(kind):
    hashes = hash_rows(datasets.Dataset.from_dict({"x": KINDS[kind]}), ["x"])
    assert hashes[0] == hashes[3]
    assert len(set(hashes[:3])) == 3
    turned = datasets.Dataset.from_dict({"x": KINDS[kind][::-1]})
    assert list(hash_rows(turned, ["x"])) == list(hashes[::-1])


def test_images_are_equal_by_their_bytes_wherever_they_lie(tmp_path):
    (tmp_path / "a.png").write_bytes(b"one")
    features = datasets.Features({"x": datasets.Image(decode=False)})
    rows = [{"path": str(tmp_path / "a.png"), "bytes": None}, {"path": "elsewhere.png", "bytes": b"one"}]
    hashes = hash_rows(datasets.Dataset.from_dict({"x": rows}, features=features), ["x"])
    assert hashes[0] == hashes[1]


def test_a_limit_keeps_classes_of_a_sorted_file():
    rows = datasets.Dataset.from_dict({"x": list(range(300)), "y": ["a"] * 200 + ["b"] * 97 + ["c"] * 3})
    units = Units(inputs=("x",), targets=("y",), classes="y")
    limited = limit_rows(rows, 30, "train", units, arguments())
    assert len(limited) == 30
    counts = [limited["y"][:].count(name) for name in "abc"]
    assert counts[2] == 1
    assert abs(counts[0] - 20) <= 1
    assert limit_rows(rows, 300, "train", units, arguments()) is rows


def test_units_of_a_limit_stay_whole():
    rows = datasets.Dataset.from_dict({"id": [i // 10 for i in range(200)], "v": list(range(200))})
    limited = limit_rows(rows, 50, "train", Units(inputs=("v",), group=("id",)), arguments())
    assert all(limited["id"][:].count(i) == 10 for i in set(limited["id"]))


# Rows and splits without a target


def table(path, head, lines):
    path.write_text("\n".join([head, *lines]) + "\n")
    return path


def units_of(*targets):
    return lambda features: Units(inputs=("x",), targets=targets)


def test_a_row_without_a_target_is_named_as_its_file_counts_it(tmp_path):
    lines = [f"{i},{'' if i in (4, 90) else i}" for i in range(100)]
    path = table(tmp_path / "rows.csv", "x,y", lines)
    with pytest.raises(HubmodelsError) as caught:
        load_data(DataArguments(dataset=str(path)), units_of("y"))
    assert "row 4 (line 6) of rows.csv, column 'y'" in str(caught.value)
    assert "1 more row" in str(caught.value)
    assert "--missing_targets drop" in str(caught.value)


@pytest.mark.parametrize("given", [{"carve": "last"}, {"carve": "random"}, {"test_split": "train[20:30]"}])
def test_a_row_of_any_split_is_known_by_its_number_in_the_file(tmp_path, given):
    path = table(tmp_path / "rows.csv", "x,y", [f"{2 * i},{i}" for i in range(50)])
    loaded = load_data(DataArguments(dataset=str(path), **given), units_of("y"))
    for role, split in loaded.splits.items():
        numbers = [value // 2 for value in split["x"]]
        words = [loaded.origins[role].words(split, position) for position in range(len(split))]
        assert words == [f"row {number} (line {number + 2}) of rows.csv" for number in numbers]


def test_rows_without_a_target_are_dropped_and_counted_before_carving(tmp_path):
    lines = [f"{i},{'' if i % 10 == 3 else i}" for i in range(100)]
    path = table(tmp_path / "rows.csv", "x,y", lines)
    with collect_notes() as notes:
        loaded = load_data(DataArguments(dataset=str(path), missing_targets="drop"), units_of("y"))
    assert sorted(x for split in loaded.splits.values() for x in split["x"]) == [i for i in range(100) if i % 10 != 3]
    (said,) = [said for said in notes if said.topic == "rows"]
    assert "10 of 100 rows of the train split have no target" in said.text
    assert said.surprising


def test_a_class_below_zero_is_none():
    features = datasets.Features({"x": datasets.Value("int64"), "y": datasets.ClassLabel(names=["a", "b"])})
    rows = datasets.Dataset.from_dict({"x": [0, 1, 2], "y": [0, -1, 1]}, features=features)
    from hubmodels.data.targets import has_no_targets, lacks_target

    assert lacks_target(rows, ("y",)).tolist() == [False, True, False]
    assert has_no_targets(rows.select([1]), ("y",))
    assert not has_no_targets(rows, ("y",))
    assert has_no_targets(rows, ("z",))
    assert not has_no_targets(rows, ())


def test_a_test_split_without_targets_is_set_apart_and_another_carved(tmp_path):
    table(tmp_path / "train.csv", "x,y", [f"{i},{i % 2}" for i in range(100)])
    table(tmp_path / "test.csv", "x,y", [f"{i}," for i in range(200, 230)])
    with collect_notes() as notes:
        loaded = load_data(DataArguments(dataset=str(tmp_path)), units_of("y"))
    assert loaded.carved == ("test", "validation")
    assert max(loaded.splits["test"]["x"]) < 100
    assert any("test split (30 rows) has no target 'y'" in said.text and said.surprising for said in notes)


# What is given to be measured


def test_all_rows_of_data_without_splits_are_measured(tmp_path):
    path = table(tmp_path / "rows.csv", "x,y", [f"{i},{i}" for i in range(50)])
    with collect_notes() as notes:
        loaded = load_data(DataArguments(dataset=str(path)), units_of("y"), measured="test")
    assert loaded.splits["test"]["x"][:] == list(range(50))
    assert list(loaded.splits) == ["test"]
    assert loaded.carved == ()
    assert any("all its rows are measured" in said.text for said in notes)


def test_of_data_with_splits_the_one_that_is_asked_for_is_measured(tmp_path):
    for name, count in (("train", 40), ("test", 7)):
        table(tmp_path / f"{name}.csv", "x,y", [f"{i},{i}" for i in range(count)])
    loaded = load_data(DataArguments(dataset=str(tmp_path)), units_of("y"), measured="test")
    assert {role: len(split) for role, split in loaded.splits.items()} == {"test": 7}
    (tmp_path / "train.csv").unlink()
    loaded = load_data(DataArguments(dataset=str(tmp_path)), units_of("y"), measured="test")
    assert {role: len(split) for role, split in loaded.splits.items()} == {"test": 7}


def test_keys_differ_by_seed_and_not_by_anything_else():
    rows = random_table(1, 100)
    first, same, other = (gather_units(rows, TABLE, (), seed) for seed in (0, 0, 1))
    assert (first.keys == same.keys).all()
    assert (first.keys != other.keys).all()
