"""The learning curves: which rows each method gets, what is measured once, and the table that the README speaks of."""

import importlib.util
import json
from pathlib import Path
from types import SimpleNamespace

import datasets
import pytest

SCRIPT = Path(__file__).parent.parent / "scripts" / "learning_curve.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("learning_curve", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for split, count in (("train", 50), ("validation", 5), ("test", 7)):
        datasets.Dataset.from_dict({"x": list(range(count))}).to_parquet(tmp_path / "data" / f"{split}-0.parquet")
    return tmp_path / "data"


def test_a_seed_draws_its_rows_of_the_training_split_and_all_test_rows(script, data: Path, tmp_path: Path) -> None:
    whole = datasets.load_dataset(str(data))
    drawn = {}
    for seed, count in ((0, 20), (0, 30), (1, 20)):
        folder = tmp_path / f"{seed}-{count}"
        folder.mkdir()
        found = datasets.load_dataset(str(script.draw_rows(whole, count, seed, folder)))
        assert set(found) == {"train", "test"}  # what chooses is carved from the rows themselves
        assert len(found["test"]) == 7
        drawn[seed, count] = set(found["train"]["x"])
        assert len(drawn[seed, count]) == count
    assert drawn[0, 20] < drawn[0, 30]
    assert drawn[0, 20] != drawn[1, 20]


def test_what_was_measured_is_left_out(script, data: Path, tmp_path: Path, monkeypatch) -> None:
    curve = script.Curve("id", (10, 20), {"net": 5}, "accuracy", "accuracy", True, {"boost": script.BOOSTING})
    monkeypatch.setattr(script, "CURVES", {"toy": curve})
    asked = []

    def measured(curve, release, data, count, seed, folder):
        asked.append((count, seed))
        return {release: count / 100, script.BOOSTING: 0.5}

    monkeypatch.setattr(script, "measure_network", measured)
    output = tmp_path / "curve.jsonl"
    arguments = SimpleNamespace(sets=["toy"], toy=str(data), methods=None, seeds=1, output=output)
    script.measure(arguments)
    assert asked == [(10, 0), (20, 0)]
    script.measure(arguments)
    assert asked == [(10, 0), (20, 0)]
    arguments.seeds = 2
    script.measure(arguments)
    assert asked[2:] == [(10, 1), (20, 1)]
    assert len(output.read_text().splitlines()) == 8


def test_the_table_has_the_best_of_each_line_bold_and_a_dash_for_what_was_not_measured(script, tmp_path: Path) -> None:
    lines = [
        {"data": "fashion_mnist", "rows": rows, "seed": seed, "method": method, "value": value + seed / 100}
        for rows, method, value in ((100, "cnn-fashion-mnist", 0.5), (100, "boosting", 0.6), (300, "boosting", 0.7))
        for seed in range(2)
    ]
    path = tmp_path / "curve.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in reversed(lines)))
    text = script.page(path)
    assert "| fashion_mnist, test accuracy, rows | cnn-fashion-mnist | boosting |" in text
    assert "| 100 | 0.5050 ± 0.0071 | **0.6050 ± 0.0071** |" in text
    assert "| 300 | - | **0.7050 ± 0.0071** |" in text


def test_the_committed_table_is_that_of_the_committed_numbers(script) -> None:
    path = script.FOLDER / "learning_curve.jsonl"
    assert path.with_suffix(".md").read_text(encoding="utf-8") == script.page(path)
    assert path.with_suffix(".png").exists()
