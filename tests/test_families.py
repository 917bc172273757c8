"""Discovery of the families, what they declare, and fresh models."""

import pytest

from hubmodels import HubmodelsError
from hubmodels.families import (
    build_config,
    build_model,
    check_requires,
    config_class,
    config_fields,
    declared,
    family_classes,
    family_of,
    family_purpose,
    family_recipe,
    family_tasks,
    find_code,
    list_families,
)

HEAD = "ForImageClassification"
MLP = {"image_size": 4, "hidden_sizes": [8], "id2label": {0: "cat", 1: "dog", 2: "owl"}}


# Discovery


def test_families_are_found_by_their_folders() -> None:
    assert {"cnn", "mlp"} <= set(list_families())


def test_every_family_folder_is_complete() -> None:
    for family in list_families():
        assert config_class(family).model_type == f"hubmodels_{family}"
        assert "Model" in family_classes(family)
        assert family_tasks(family)
        assert family_purpose(family)


def test_an_unknown_family_is_refused_with_the_nearest() -> None:
    with pytest.raises(HubmodelsError, match=r"unknown family 'cnnn', did you mean 'cnn'\?; the families are .*cnn"):
        build_model("cnnn", HEAD, {})


def test_an_unknown_head_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(
        HubmodelsError, match=r"family mlp has no ForFlying, only .*ForImageClassification.*no family has it"
    ):
        build_model("mlp", "ForFlying", {})


def test_default_recipes_fit_their_family() -> None:
    for family in list_families():
        for task in family_tasks(family):
            recipe = family_recipe(family, task)
            assert set(recipe) <= {"data", "model", "training"}
            build_config(family, recipe.get("model", {}))


def test_a_task_that_a_family_does_not_do_is_refused_with_those_that_it_does() -> None:
    with pytest.raises(HubmodelsError, match=r"family mlp does not do 'flying', only .*image-classification"):
        family_recipe("mlp", "flying")


def test_a_family_is_known_by_the_type_of_its_config_without_an_import(run_python) -> None:
    assert {family_of(config_class(family).model_type): family for family in list_families()} == {
        family: family for family in list_families()
    }
    for other in (
        "resnet",
        "mlp",
        "hubmodels_",
        "hubmodels_nothing",
        "hubmodels_../models/mlp",
        None,
        3,
        ["hubmodels_mlp"],
    ):
        assert family_of(other) is None
    printed = run_python("""
import sys
from hubmodels.families import family_of
print(family_of("hubmodels_rnn"), [name for name in sys.modules if ".models." in name or name == "torch"])
""")
    assert printed.strip() == "rnn []"


def test_code_is_found_by_its_name_alone_and_nothing_outside_the_package_is() -> None:
    assert find_code("modeling_mlp.py").parts[-3:] == ("models", "mlp", "modeling_mlp.py")
    assert find_code("processing_image.py").parts[-2:] == ("processors", "processing_image.py")
    for name in ("modeling_nothing.py", "recipe.yaml", "../../families.py", "*.py", "modeling_*.py"):
        assert find_code(name) is None


# What a family declares


def test_a_family_is_given_the_fields_that_it_declares_and_no_others() -> None:
    values = {"image_size": 8, "id2label": {0: "a"}, "num_labels": 1, "season_errors": [1.0], "vocab_size": 7}
    assert declared("cnn", values) == {"image_size": 8, "id2label": {0: "a"}, "num_labels": 1}
    assert set(declared("transformer", values)) == {"image_size", "id2label", "num_labels", "vocab_size"}
    assert declared("mlp", {}) == {}


def test_a_field_that_a_task_requires_and_a_family_lacks_is_refused_by_the_familys_name() -> None:
    check_requires("transformer", "text-generation", ("vocab_size", "num_labels"))
    check_requires("cnn", "image-classification", ())
    with pytest.raises(
        HubmodelsError,
        match=r"family cnn cannot do text-generation: its config has no field vocab_size; families that .*: rnn, tran",
    ):
        check_requires("cnn", "text-generation", ("num_labels", "vocab_size"))
    with pytest.raises(HubmodelsError, match=r"has no field wings, feathers; no family has all it needs"):
        check_requires("mlp", "flying", ("wings", "feathers"))
    with pytest.raises(HubmodelsError, match="unknown family 'mpl', did you mean 'mlp'"):
        check_requires("mpl", "flying", ("wings",))


def test_every_familys_default_recipes_ask_for_fields_that_it_declares() -> None:
    for family in list_families():
        for task in family_tasks(family):
            model = family_recipe(family, task).get("model", {})
            assert declared(family, model) == model
            assert set(model) <= set(config_fields(family))


# Building


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"hiden_sizes": [8]},
            "unknown field 'hiden_sizes' in the recipe's model section, did you mean 'hidden_sizes'?",
        ),
        ({"hidden_sizes": "wide"}, "model: hidden_sizes must be a list of integers.*, got 'wide'"),
        ({"hidden_sizes": []}, r"model: hidden_sizes must name at least one width, each at least 1, got \[\]"),
        (
            {"normalization": "batchnorm"},
            "normalization must be one of none, batch_norm, layer_norm.*did you mean 'batch_n",
        ),
        ({"problem_type": "clasification"}, "problem_type"),
        ({"id2label": {"cat": 0}}, "id2label must map 0, 1, 2, ... to labels, got {'cat': 0}"),
        ({"id2label": ["cat"]}, "id2label must be a mapping or none"),
        ({"num_labels": 0}, "num_labels must be at least 1, got 0"),
        ({"num_labels": 2, "id2label": {0: "a"}}, "num_labels is 2 but id2label has 1 labels"),
    ],
)
def test_model_fields_that_cannot_be_used_give_one_line(values: dict, message: str) -> None:
    with pytest.raises(HubmodelsError, match=message) as caught:
        build_model("mlp", HEAD, values)
    assert "\n" not in str(caught.value)


def test_labels_make_the_number_of_outputs() -> None:
    model = build_model("mlp", HEAD, MLP)
    assert model.config.num_labels == model.classifier.out_features == 3
    assert model.config.label2id == {"cat": 0, "dog": 1, "owl": 2}
    # As a recipe in JSON or YAML may have them.
    assert build_config("mlp", {"id2label": {"0": "cat", "1": "dog"}}).id2label == {0: "cat", 1: "dog"}
    assert build_model("mlp", HEAD, {"num_labels": 5}).classifier.out_features == 5
