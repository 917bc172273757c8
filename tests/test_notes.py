"""Notes: said once, shown on the screen, in the card, in problem.json and in --json; and nothing beside the model
loses the model."""

import json
from pathlib import Path

import pytest
import yaml

from hubmodels import workflow
from hubmodels.figures import new_figure
from hubmodels.formatting import format_duration, format_notes
from hubmodels.publishing import verify_folder
from hubmodels.recipe import Recipe
from hubmodels.report import Figure, Note, collect_notes, note
from hubmodels.tasks.tabular_classification import TabularClassificationProblem

SAID = Note(
    "columns", "its values number the rows | <b>", "row", "left out", surprising=True, remedy="column_kinds: {}"
)


def recipe(folder: Path) -> Recipe:
    training = {"max_steps": 2, "output_dir": str(folder)}
    data, model = {"dataset": "sklearn:iris"}, {"hidden_sizes": [8]}
    return Recipe(family="mlp", task="tabular-classification", data=data, model=model, training=training)


def test_a_note_is_collected_once_by_the_innermost_block() -> None:
    note("rows", "nobody listens")
    with collect_notes() as outer:
        note("rows", "a")
        with collect_notes() as inner:
            note("rows", "b")
        for _ in range(2):
            note("rows", "c", surprising=True)
    assert [one.text for one in outer] == ["a", "c"]
    assert [one.text for one in inner] == ["b"]
    assert Note(**outer[1].to_dict()) == outer[1]


def test_the_screen_shows_surprises_in_full_and_columns_as_a_table() -> None:
    quiet = Note("columns", "all values are numbers", "age", "number")
    text = format_notes([Note("splits", "a fifth was carved"), quiet, SAID])
    first, *lines = text.splitlines()
    assert first == "What each column was taken for:"
    assert lines[0] == "  ! column 'row', left out: its values number the rows | <b>; to change it: column_kinds: {}"
    assert lines[1].split() == ["column", "taken", "for", "why"]
    assert lines[3].split(maxsplit=2) == ["age", "number", "all values are numbers"]
    assert lines[-1] == "  - a fifth was carved"


@pytest.mark.parametrize(("seconds", "text"), [(3, "3 s"), (700, "12 min"), (12_000, "3 h 20 min")])
def test_a_time_is_said_as_people_say_it(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


def test_a_release_repeats_its_notes_and_its_card_escapes_them(tmp_path: Path, monkeypatch) -> None:
    load = workflow.load_data

    def loading(*arguments, **options):
        note(**vars(SAID))
        return load(*arguments, **options)

    monkeypatch.setattr(workflow, "load_data", loading)
    outcome = workflow.train_and_release(recipe(tmp_path), baseline=False)
    assert SAID in outcome.notes
    problem = json.loads((outcome.folder / "problem.json").read_text(encoding="utf-8"))
    assert SAID.to_dict() in problem["notes"]
    card = (outcome.folder / "README.md").read_text(encoding="utf-8")
    assert "### What was decided about the data" in card
    assert r"its values number the rows \| \<b\>; to change it: column\_kinds: {}" in card
    verify_folder(outcome.folder)


@pytest.mark.parametrize("method", ["baseline", "figures", "explain", "examine"])
def test_what_fails_beside_the_model_is_a_note_and_the_release_is_there(method: str, tmp_path, monkeypatch) -> None:
    def fail(*_):
        raise RuntimeError("no such luck")

    monkeypatch.setattr(TabularClassificationProblem, method, fail)
    outcome = workflow.train_and_release(recipe(tmp_path))
    verify_folder(outcome.folder)
    assert any("no such luck" in said.text and said.surprising for said in outcome.notes)
    problem = json.loads((outcome.folder / "problem.json").read_text(encoding="utf-8"))
    assert any("no such luck" in said["text"] for said in problem["notes"])
    assert "accuracy" in outcome.results.metrics
    assert (outcome.results.baseline_metrics is None) == (method == "baseline")


def test_a_figure_that_cannot_be_drawn_is_left_out_of_the_release(tmp_path, monkeypatch) -> None:
    def figures(self, rows, columns):
        figure = new_figure(2, 2)[0]
        figure.axes[0].set_title(r"$\no$ such formula")  # fails where it is saved
        yield Figure("bad", "It cannot be drawn.", figure)
        yield Figure("good", "It can.", new_figure(2, 2)[0])

    monkeypatch.setattr(TabularClassificationProblem, "figures", figures)
    outcome = workflow.train_and_release(recipe(tmp_path), baseline=False)
    verify_folder(outcome.folder)
    assert (outcome.folder / "figures" / "good.png").is_file()
    assert not (outcome.folder / "figures" / "bad.png").exists()
    assert any(said.text.startswith("figures/bad.png of the release could not be computed") for said in outcome.notes)


def test_a_release_is_there_before_what_stands_beside_it(tmp_path, monkeypatch) -> None:
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(TabularClassificationProblem, "baseline", interrupt)
    with pytest.raises(KeyboardInterrupt):
        workflow.train_and_release(recipe(tmp_path))
    verify_folder(tmp_path / "release")


def test_a_dry_run_says_what_would_be_done_and_trains_nothing(tmp_path, run_cli) -> None:
    words = "train --family mlp --task tabular-classification --dataset sklearn:iris --hidden_sizes 8 --dry_run"
    code, out, err = run_cli(*words.split(), "--output_dir", tmp_path / "run")
    assert code == 0, err
    filled = yaml.safe_load(out.partition("\n\n")[0])
    assert filled["training"]["learning_rate"] > 0
    assert filled["model"]["hidden_sizes"] == [8]
    assert "image_size" not in filled["model"]  # no head of tables reads it
    assert "weights" in out
    assert not (tmp_path / "run").exists()
    code, out, _ = run_cli(*words.split(), "--json", "--output_dir", tmp_path / "run")
    values = json.loads(out)
    assert values["steps"] == 80  # 108 rows, 64 at a time, 40 epochs
    assert values["seconds"] >= 0
    assert values["num_parameters"] > 0
    (tmp_path / "filled.yaml").write_text(yaml.safe_dump(values["recipe"]), encoding="utf-8")
    assert workflow.parse_recipe(Recipe.load(tmp_path / "filled.yaml"))  # it is a recipe that can be trained


def test_a_dry_run_of_weighted_rows_is_timed_as_they_are_trained(tmp_path) -> None:
    rows = [f"{index % 7},{1 + index % 3},{'ab'[index % 2]}" for index in range(60)]
    (tmp_path / "rows.csv").write_text("x,weight,label\n" + "\n".join(rows) + "\n", encoding="utf-8")
    planned = recipe(tmp_path / "run")
    planned.data = {"dataset": str(tmp_path / "rows.csv"), "weight_column": "weight"}
    assert workflow.plan(planned).estimate.seconds > 0
