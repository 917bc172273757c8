"""Recipes: strict sections, YAML in and out, and what bad input gets."""

from dataclasses import dataclass
from typing import Literal

import pytest

from hubmodels.errors import HubmodelsError, nearest
from hubmodels.fields import convert, option_fields, parse_section
from hubmodels.recipe import DataArguments, Recipe, TrainingArguments, load_yaml


@dataclass(kw_only=True)
class Options:
    label_column_name: str | None = None
    image_size: int | list[int] | None = None
    kind: Literal["plain", "basic"] = "plain"


def test_a_recipe_is_the_same_after_a_trip_through_yaml(tmp_path):
    recipe = Recipe(
        family="cnn",
        task="image-classification",
        data={"dataset": "a/b"},
        model={"hidden_sizes": [16, 32]},
        training={"learning_rate": 3e-4, "lr_scheduler_kwargs": {"num_cycles": 0.5}},
    )
    recipe.save(tmp_path / "recipe.yaml")
    assert Recipe.load(tmp_path / "recipe.yaml") == recipe


def test_a_saved_recipe_leaves_out_what_belongs_to_one_run():
    recipe = Recipe(
        family="cnn",
        task="t",
        data={"dataset": "a/b", "dataset_path": "/copy"},
        training={"output_dir": "/somewhere", "report_to": ["tensorboard"], "seed": 1},
    )
    assert recipe.to_dict()["training"] == {"seed": 1}
    assert recipe.to_dict()["data"] == {"dataset": "a/b"}


def test_scientific_notation_in_yaml_is_a_number(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text("a: 3e-4\nb: 1e3\nc: -2.5E+2\nd: 12\ne: 1.5\nf: 1e4x\n")
    assert load_yaml(path) == {"a": 3e-4, "b": 1000.0, "c": -250.0, "d": 12, "e": 1.5, "f": "1e4x"}


def test_field_names_are_unique_over_the_sections():
    names = [*option_fields(DataArguments), *option_fields(TrainingArguments)]
    assert len(names) == len(set(names))


def test_two_dataclasses_share_a_section():
    data, options = parse_section({"dataset": "x", "image_size": 8}, "data", DataArguments, Options)
    assert (data.dataset, options.image_size) == ("x", 8)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"learning_rat": 1}, "did you mean 'learning_rate'"),
        ({"learning_rate": "fast"}, "learning_rate must be a number, got 'fast'"),
        ({"learning_rate": -1}, "learning_rate must be greater than 0"),
        ({"optim": "sdg"}, "did you mean 'sgd'"),
        ({"per_device_train_batch_size": 0}, "per_device_train_batch_size must be at least 1"),
        ({"seed": 1.5}, "seed must be an integer, got 1.5"),
        ({"bf16": "maybe"}, "bf16 must be true or false"),
        ({"bf16": True, "fp16": True}, "choose one"),
        ({"max_steps": 0}, "max_steps must be -1"),
        ({"ema_decay": 1.0}, "below 1"),
        ({"eval_strategy": "no", "load_best_model_at_end": True}, "need eval_strategy"),
    ],
)
def test_a_wrong_training_field_is_refused_in_one_line(values, words):
    with pytest.raises(HubmodelsError, match=words) as caught:
        parse_section(values, "training", TrainingArguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("family: cnn\n", "names no task"),
        ("- a\n", "must be a mapping"),
        ("family: cnn\ntask: t\nmodell: {}\n", "did you mean 'model'"),
        ("family: cnn\ntask: t\nmodel: 3\n", "section model"),
        ("family: [\n", "is not YAML"),
    ],
)
def test_a_wrong_recipe_file_is_refused_in_one_line(tmp_path, text, words):
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(HubmodelsError, match=words) as caught:
        Recipe.load(path)
    assert "\n" not in str(caught.value)


def test_a_missing_recipe_is_named(tmp_path):
    with pytest.raises(HubmodelsError, match=r"nowhere\.yaml"):
        Recipe.load(tmp_path / "nowhere.yaml")


@pytest.mark.parametrize(
    ("value", "expected", "result"),
    [
        ("3", int, 3),
        ("1e-3", float, 1e-3),
        (2, float, 2),
        ("true", bool, True),
        ("none", int | None, None),
        (["16", "32"], list[int], [16, 32]),
        ("28", int | list[int] | None, 28),
        (["28", "32"], int | list[int] | None, [28, 32]),
        ("plain", Literal["plain", "basic"], "plain"),
        ("{a: 1}", dict | None, {"a": 1}),
        ("12", str | None, "12"),
    ],
)
def test_words_of_a_command_line_become_values_of_the_field(value, expected, result):
    assert convert(value, expected, "x") == result


def test_nearest_is_silent_when_nothing_is_close():
    assert nearest("zebra", ["learning_rate"]) == ""


def test_an_alias_is_refused_which_could_unfold_to_any_size(tmp_path) -> None:
    lines = ["family: mlp", "task: tabular-classification", "model: {a: &a [1, 1], b: *a}"]
    (tmp_path / "recipe.yaml").write_text("\n".join(lines))
    with pytest.raises(HubmodelsError, match=r"it has an alias, \*a: write the value out"):
        Recipe.load(tmp_path / "recipe.yaml")
