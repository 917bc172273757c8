"""Augmentation of batches, against windows, mirror images and rectangles found by search."""

import pytest
import torch

from hubmodels.processors.processing_image import HubmodelsImageProcessor
from hubmodels.tasks.image_classification import ImageClassification
from hubmodels.tasks.inputs import image_augmentation as augmentation


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(count: int, channels: int = 1, height: int = 6, width: int = 8) -> torch.Tensor:
    return torch.randint(1, 256, (count, channels, height, width), dtype=torch.uint8, generator=generator(9))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_crop_is_a_window_of_the_padded_image_and_every_window_occurs(channels: int) -> None:
    pixels = images(400, channels)
    cropped = augmentation.random_crop(pixels, 2, generator())
    assert cropped.shape == pixels.shape
    assert cropped.is_contiguous()
    seen = []
    for image, crop in zip(pixels, cropped, strict=True):
        padded = torch.zeros(channels, 10, 12, dtype=torch.uint8)
        padded[:, 2:8, 2:10] = image
        places = [(y, x) for y in range(5) for x in range(5) if torch.equal(padded[:, y : y + 6, x : x + 8], crop)]
        assert len(places) == 1
        seen += places
    counts = torch.tensor([seen.count((y, x)) for y in range(5) for x in range(5)])
    assert counts.min() >= 4  # 16 expected of each of 25 windows; 4 is 3 standard deviations below
    assert counts.max() <= 30


def test_each_image_is_mirrored_or_not_as_often_as_asked() -> None:
    pixels = images(1000)
    flipped = augmentation.random_horizontal_flip(pixels.clone(), 0.3, generator())
    mirrored = torch.tensor([torch.equal(new, torch.flip(old, [2])) for old, new in zip(pixels, flipped, strict=True)])
    kept = torch.tensor([torch.equal(new, old) for old, new in zip(pixels, flipped, strict=True)])
    assert (mirrored ^ kept).all()
    assert 0.25 < mirrored.float().mean() < 0.35
    assert torch.equal(augmentation.random_horizontal_flip(pixels, 1.0, generator()), pixels.flip(3))
    assert torch.equal(augmentation.random_horizontal_flip(pixels, 0.0, generator()), pixels)


def test_erasing_fills_one_rectangle_of_the_papers_size_with_noise() -> None:
    side = 40
    pixels = torch.zeros(2000, 3, side, side, dtype=torch.uint8)
    erased = augmentation.random_erasing(pixels, 0.5, generator())
    touched = erased.amax(dim=1) > 0  # a pixel inside stays 0 in all three channels once in 16.8 million
    hit = touched.flatten(1).any(dim=1)
    assert 0.46 < hit.float().mean() < 0.54
    areas, ratios, tops = [], [], []
    for mask in touched[hit]:
        ys, xs = mask.any(dim=1).nonzero().flatten(), mask.any(dim=0).nonzero().flatten()
        height, width = len(ys), len(xs)
        assert mask.sum() == height * width  # one full rectangle
        assert (ys[-1] - ys[0] + 1, xs[-1] - xs[0] + 1) == (height, width)
        areas.append(height * width / side**2)
        ratios.append(height / width)
        tops.append(int(ys[0]))
    areas, ratios = torch.tensor(areas), torch.tensor(ratios)
    # Sides are rounded to whole pixels.
    assert areas.min() > 0.015
    assert areas.max() < 0.42
    assert abs(areas.mean() - 0.21) < 0.02
    assert ratios.min() > 0.27
    assert ratios.max() < 3.7
    assert abs(ratios.log().mean()) < 0.08  # tall and wide alike
    assert min(tops) == 0
    noise = erased.permute(0, 2, 3, 1)[touched].flatten().float()
    counts = torch.histc(noise, bins=16, min=0, max=256)
    assert (counts / counts.sum() - 1 / 16).abs().max() < 0.002  # uniform bytes


def test_what_is_outside_of_the_rectangle_stays() -> None:
    pixels = images(300, 3, 20, 20)
    erased = augmentation.random_erasing(pixels.clone(), 1.0, generator())
    changed = (erased != pixels).any(dim=1)
    for mask in changed:
        ys, xs = mask.any(dim=1).nonzero().flatten(), mask.any(dim=0).nonzero().flatten()
        assert len(ys) * len(xs) <= 0.45 * 400
    assert changed.flatten(1).any(dim=1).float().mean() > 0.99
    assert torch.equal(augmentation.random_erasing(pixels, 0.0, generator()), pixels)


def test_random_bytes_use_all_of_each_draw() -> None:
    values = augmentation.random_bytes(torch.Size((4, 1001)), generator(), torch.device("cpu"))
    for place in range(8):
        part = values.flatten()[place::8].float()
        assert abs(part.mean() - 127.5) < 12  # 500 values: standard deviation 3.3
        assert part.max() > 240


def test_mixup_blends_images_and_labels_by_the_same_share() -> None:
    labels = torch.arange(64) % 5
    values = torch.nn.functional.one_hot(labels, 5).float()  # the value is the label, so both must come out alike
    shares = []
    for seed in range(50):
        mixed, targets = augmentation.mixup(values, labels, 5, 0.2, generator(seed))
        assert targets.shape == (64, 5)
        torch.testing.assert_close(mixed, targets)
        torch.testing.assert_close(targets.sum(dim=1), torch.ones(64))
        shares.append(targets[torch.arange(64), labels].min().item())
    assert (torch.tensor(shares) > 0.999).any()  # Beta(0.2, 0.2) lies at the ends, sometimes between
    assert ((torch.tensor(shares) > 0.05) & (torch.tensor(shares) < 0.95)).any()


def test_the_mixing_share_has_the_betas_mean_and_variance() -> None:
    labels, values = torch.tensor([0, 1]), torch.eye(2)
    shares = []
    for seed in range(4000):
        _, targets = augmentation.mixup(values, labels, 2, 2.0, generator(seed))
        if not torch.equal(targets, values):  # the rows were paired with each other
            shares.append(targets[0, 0])
    shares = torch.stack(shares)
    assert abs(shares.mean() - 0.5) < 0.02
    assert abs(shares.var() - 1 / 20) < 0.005  # a b / ((a + b)^2 (a + b + 1)) with a = b = 2


def bound(processor: HubmodelsImageProcessor, num_classes: int, **options):
    """The task with these options bound to a processor and classes, without data."""
    task = ImageClassification.from_options(**options)
    config = {"id2label": {index: str(index) for index in range(num_classes)}}
    return task.bind(task.input.bind(processor), config, {})


@pytest.fixture
def everything():
    size = {"height": 6, "width": 8}
    processor = HubmodelsImageProcessor(num_channels=1, size=size, image_mean=[0.3], image_std=[0.2])
    options = {"random_crop_padding": 2, "horizontal_flip": 0.5, "random_erasing": 0.5, "mixup_alpha": 0.2}
    return bound(processor, 4, **options).transform(training=True)


def test_the_generator_alone_decides_and_the_batch_given_stays(everything) -> None:
    batch = {"pixel_values": images(32), "labels": torch.arange(32) % 4}
    before = {name: value.clone() for name, value in batch.items()}
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = everything(batch, generator(5))
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    again, other = everything(batch, generator(5)), everything(batch, generator(6))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["pixel_values"], other["pixel_values"])
    assert all(torch.equal(batch[name], before[name]) for name in batch)
    assert first["pixel_values"].dtype == torch.float32
    assert first["labels"].shape == (32, 4)


def test_equal_rows_get_draws_of_their_own() -> None:
    processor = HubmodelsImageProcessor(num_channels=1, size={"height": 6, "width": 8})
    problem = bound(processor, 2, random_crop_padding=2, horizontal_flip=0.5, random_erasing=0.5)
    transform = problem.transform(training=True)
    batch = {"pixel_values": images(1).expand(64, -1, -1, -1), "labels": torch.zeros(64, dtype=torch.int64)}
    result = transform(batch, generator())
    assert len({tuple(row.flatten().tolist()) for row in result["pixel_values"]}) > 30
    assert torch.equal(result["labels"], batch["labels"])


def test_without_options_training_transforms_as_evaluation_does() -> None:
    processor = HubmodelsImageProcessor(num_channels=3, size={"height": 6, "width": 8}, image_mean=[0.1, 0.2, 0.3])
    problem = bound(processor, 2)
    batch = {"pixel_values": images(5, 3), "labels": torch.zeros(5, dtype=torch.int64)}
    training = problem.transform(training=True)(batch, generator())
    evaluation = problem.transform(training=False)(batch, None)
    assert torch.equal(training["pixel_values"], evaluation["pixel_values"])


def test_a_shift_moves_whole_images_and_repeats_their_edges() -> None:
    pixels = torch.arange(5 * 7).view(1, 1, 5, 7).repeat(200, 2, 1, 1).to(torch.uint8)
    moved = augmentation.random_shift(pixels, 2, torch.Generator().manual_seed(0))
    found = set()
    for image in moved:
        row, column = divmod(int(image[0, 2, 3]), 7)  # where the centre came from
        found.add((row - 2, column - 3))
        expected = torch.tensor([[min(max(y + row - 2, 0), 4) * 7 + min(max(x + column - 3, 0), 6) for x in range(7)]
                                 for y in range(5)])  # fmt: skip
        assert torch.equal(image, expected.to(torch.uint8).expand(2, 5, 7))
    assert found == {(y, x) for y in range(-2, 3) for x in range(-2, 3)}


def test_colours_are_multiplied_within_the_limits_and_differently_for_each_image() -> None:
    pixels = torch.full((500, 3, 2, 2), 100, dtype=torch.uint8)
    jittered = augmentation.color_jitter(pixels, 0.4, torch.Generator().manual_seed(0)).float()
    assert torch.equal(jittered, jittered[..., :1, :1].expand_as(jittered))  # one factor an image and channel
    assert jittered.min() >= 100 * 0.6 * 0.8 - 0.5
    assert jittered.max() <= 100 * 1.4 * 1.2 + 0.5
    # Means of 1500 draws, whose standard deviation is 26.
    assert jittered.mean().item() == pytest.approx(100, abs=3)
    assert (jittered[:, 0] != jittered[:, 1]).float().mean() > 0.9
    assert (augmentation.color_jitter(torch.full_like(pixels, 255), 0.4, None) <= 255).all()
