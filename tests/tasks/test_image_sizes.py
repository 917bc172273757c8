"""Images of any size with the default recipes, photographs, and images that cannot be read."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, Features, Value
from datasets import Image as ImageFeature
from PIL import Image

from hubmodels.data import Origin
from hubmodels.errors import BadRow, HubmodelsError
from hubmodels.families import family_tasks, list_families
from hubmodels.recipes import default_recipe, parse_recipe
from hubmodels.report import collect_notes
from hubmodels.steps import build_model, drop_unreadable, fit_problem, select_rows, suit_task
from hubmodels.tasks import get_task
from hubmodels.tasks.inputs.image_options import ImageOptions

CASES = [
    (family, task)
    for family in list_families()
    for task in family_tasks(family)
    if isinstance(get_task(task)().input, ImageOptions)
]


def image_rows(height: int, width: int, count: int = 6, mode: str = "RGB") -> Dataset:
    pixels = np.random.default_rng(0).integers(0, 256, (count, height, width, 3), dtype=np.uint8)
    features = Features(image=ImageFeature(), label=ClassLabel(names=["a", "b"]), text=Value("string"))
    images = [Image.fromarray(one).convert(mode) for one in pixels]
    texts = [f"a picture {index}" for index in range(count)]
    return Dataset.from_dict({"image": images, "label": [0, 1] * (count // 2), "text": texts}, features=features)


def prepare(family: str, task_tag: str, rows: Dataset, **data):
    recipe = default_recipe(family, task_tag)
    recipe.data |= data
    _, task, _ = parse_recipe(recipe)
    selected = select_rows(task, {"train": rows})["train"]
    with collect_notes() as notes:
        problem = fit_problem(suit_task(task, selected, recipe), selected, None, 0)
    return build_model(recipe, problem, 0), problem, [note.text for note in notes]


@pytest.mark.parametrize(("height", "width"), [(33, 33), (30, 40), (9, 50)])
@pytest.mark.parametrize(("family", "task"), CASES)
def test_every_family_and_task_takes_any_size_with_its_default_recipe(family, task, height, width) -> None:
    model, problem, notes = prepare(family, task, image_rows(height, width))
    size = problem.golden_inputs()["pixel_values"].shape[-2:]
    assert all(abs(side - usual) <= 8 for side, usual in zip(size, (height, width), strict=True))
    assert (tuple(size) == (height, width)) != any(f"{height} x {width} pixels and are brought to" in n for n in notes)
    with torch.no_grad():
        model.eval()(**problem.golden_inputs())


def test_photographs_are_made_smaller_in_their_proportions_and_it_is_said() -> None:
    _, problem, notes = prepare("cnn", "image-classification", image_rows(600, 800, count=2))
    assert problem.golden_inputs()["pixel_values"].shape[-2:] == (192, 256)
    assert any("usually 600 x 800 pixels and are brought to 192 x 256" in text for text in notes)


def test_a_size_that_was_chosen_is_taken_and_a_wrong_one_refused() -> None:
    _, problem, notes = prepare("autoencoder", "image-feature-extraction", image_rows(33, 33), image_size=16)
    assert problem.golden_inputs()["pixel_values"].shape[-2:] == (16, 16)
    assert not notes
    with pytest.raises(HubmodelsError, match="image_size"):
        prepare("autoencoder", "image-feature-extraction", image_rows(33, 33), image_size=33)


def test_differing_sizes_are_said_with_the_least_the_usual_and_the_most() -> None:
    sizes = [(6, 8), (6, 8), (6, 8), (10, 4)]
    images = [Image.new("L", (width, height)) for height, width in sizes]
    features = Features(image=ImageFeature(), label=ClassLabel(names=["a", "b"]))
    _, _, notes = prepare(
        "mlp", "image-classification", Dataset.from_dict({"image": images, "label": [0, 1, 0, 1]}, features)
    )
    assert "Images differ in size: 6 to 10 pixels high, 4 to 8 wide, usually 6 x 8." in notes


def damaged(folder: Path, good: int, bad: int) -> Dataset:
    """Rows of JPEG files, the last `bad` of which are cut short."""
    paths = []
    for index in range(good + bad):
        path = folder / f"{index:03}.jpg"
        file = io.BytesIO()
        Image.fromarray(np.random.default_rng(index).integers(0, 256, (24, 24, 3), dtype=np.uint8)).save(file, "JPEG")
        content = file.getvalue()
        path.write_bytes(content if index < good else content[: len(content) // 2])
        paths.append(str(path))
    features = Features(image=ImageFeature(), label=ClassLabel(names=["a", "b"]))
    return Dataset.from_dict({"image": paths, "label": [index % 2 for index in range(good + bad)]}, features)


def test_one_damaged_file_is_left_out_and_named_and_more_are_refused_by_name(tmp_path) -> None:
    task = get_task("image-classification")()
    rows = select_rows(task, {"train": damaged(tmp_path, 9, 1)})
    with collect_notes() as notes:
        readable = drop_unreadable(task, rows, {"train": Origin()}, 0.01)
    assert len(readable["train"]) == 9
    assert f"{tmp_path.name}/009.jpg" in notes[0].text
    assert "1 of 10 train rows are left out" in notes[0].text
    several = select_rows(task, {"test": damaged(tmp_path, 8, 2)})
    with pytest.raises(HubmodelsError, match=r"2 of 10 test rows .*008\.jpg.*009\.jpg.*--max_unreadable 0\.2"):
        drop_unreadable(task, several, {}, 0.19)
    assert len(drop_unreadable(task, several, {}, 0.2)["test"]) == 8


def test_a_bad_image_is_a_bad_row_with_its_file(tmp_path) -> None:
    task = get_task("image-classification")()
    rows = select_rows(task, {"train": damaged(tmp_path, 3, 1)})["train"]
    problem = task.fit(rows.select(range(3)))
    with pytest.raises(BadRow, match=r"003\.jpg") as caught:
        problem.encode(rows[:], list(range(4)), rows.features)
    assert (caught.value.row, caught.value.column) == (3, "image")
