"""Measure a release on its test split anew, and write its results, figures and card; the weights stay.

For what is decided when the training is over: how a model draws its samples, or a measure that came later.

    python scripts/remeasure.py model_cards/gan-fashion-mnist --dataset_path FOLDER --set truncation=2.0

A field that is set stands in config.json and in the recipe afterwards, so that the recipe gives this release.
"""

import argparse
import logging
import sys

import yaml

from hubmodels import auto, publishing
from hubmodels.data import load_data
from hubmodels.evaluation import predict
from hubmodels.recipe import HubmodelsError
from hubmodels.workflow import encode_splits, measure, open_release, read_fields, read_recipe, select_rows


def remeasure(folder: str, overrides: dict, config_values: dict) -> None:
    """Measure with other fields of the data section (`overrides`) and of the config, and replace the results."""
    recipe = read_recipe(folder)
    opened = open_release(folder, overrides)
    task, processor, arguments = opened.task, opened.processor, opened.arguments
    model = auto.load_model(folder, recipe.family, task.head, config_values)
    values = opened.values | read_fields(model, task.model_fields)
    splits = load_data(opened.data_arguments).splits
    rows = select_rows(task, {name: splits[name] for name in ("train", "test")})
    columns = encode_splits(task, rows, processor, values)
    results, test_rows, plots = measure(model, task, columns, processor, values, arguments, baseline=True)
    transform = task.transform(processor, values, training=False)

    def predict_rows(rows: object) -> dict:
        return predict(model, rows, task.predict, transform, arguments.per_device_eval_batch_size, distributed=False)

    publishing.replace_results(
        folder,
        task=task,
        results=results.to_dict(),
        plots=[
            *task.plots(test_rows, columns["test"], processor, values),
            *task.explain(predict_rows, columns["test"], processor, values),
            *plots,
        ],
        config_values=config_values,
    )
    print(results.table())


def field(text: str) -> tuple[str, object]:
    """`truncation=2.0` -> ("truncation", 2.0)."""
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, yaml.safe_load(value)


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="the release")
    parser.add_argument("--dataset_path", help="a local copy of its data set")
    parser.add_argument("--fid_classifier", help="of generated images: the classifier that gives the features")
    parser.add_argument("--set", nargs="+", type=field, default=[], metavar="NAME=VALUE", help="fields of the config")
    arguments = parser.parse_args(words)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    overrides = {name: getattr(arguments, name) for name in ("dataset_path", "fid_classifier")}
    try:
        remeasure(arguments.folder, {k: v for k, v in overrides.items() if v is not None}, dict(arguments.set))
    except HubmodelsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
