"""The image processor against arithmetic by hand on small images."""

import base64
import io
import json
import os
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor, pipeline

from hubmodels.families import build_model
from hubmodels.processors import processing_image
from hubmodels.processors.processing_image import HubmodelsImageProcessor, open_image

H, W = 5, 7
GREY = np.random.default_rng(0).integers(0, 256, (H, W), dtype=np.uint8)
COLOUR = np.random.default_rng(1).integers(0, 256, (H, W, 3), dtype=np.uint8)
ALPHA = np.random.default_rng(2).integers(0, 256, (H, W), dtype=np.uint8)


def make(channels: int = 3, **kwargs) -> HubmodelsImageProcessor:
    return HubmodelsImageProcessor(num_channels=channels, size={"height": H, "width": W}, **kwargs)


def luminance(rgb: np.ndarray) -> np.ndarray:
    """ITU-R 601-2: L = 0.299 R + 0.587 G + 0.114 B, rounded."""
    return np.rint(rgb.astype(np.float64) @ [0.299, 0.587, 0.114])


def composite(rgb: np.ndarray, alpha: np.ndarray, background: int) -> np.ndarray:
    share = alpha[..., None] / 255
    return rgb * share + background * (1 - share)


def palette_image() -> tuple[Image.Image, np.ndarray]:
    indices = np.arange(H * W, dtype=np.uint8).reshape(H, W) % 4
    colours = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [10, 20, 30]], dtype=np.uint8)
    image = Image.fromarray(indices, mode="P")
    image.putpalette(colours.ravel().tolist())
    return image, colours[indices]


def stacked(grey: np.ndarray) -> np.ndarray:
    return np.repeat(grey[..., None], 3, axis=2)


DEEP = np.random.default_rng(3).integers(0, 65536, (H, W), dtype=np.uint16)
BITS = GREY > 127
CMYK = np.random.default_rng(4).integers(0, 256, (H, W, 4), dtype=np.uint8)
MODES = {    # mode: (image, what it shows as (H, W, 3) floats)
    "L": (Image.fromarray(GREY), stacked(GREY)),
    "RGB": (Image.fromarray(COLOUR), COLOUR),
    "1": (Image.fromarray(BITS), stacked(BITS * 255)),
    "RGBA": (Image.fromarray(np.dstack([COLOUR, ALPHA])), composite(COLOUR, ALPHA, 255)),
    "LA": (Image.fromarray(np.dstack([GREY, ALPHA]), mode="LA"), composite(stacked(GREY), ALPHA, 255)),
    "P": palette_image(),
    "I;16": (Image.fromarray(DEEP), stacked(DEEP / 257)),
    "I": (Image.fromarray(DEEP.astype(np.int32)), stacked(DEEP / 257)),
    "F": (Image.fromarray((GREY / 255).astype(np.float32)), stacked(GREY)),
    "CMYK": (Image.fromarray(CMYK, mode="CMYK"), (255.0 - CMYK[..., :3]) * (255.0 - CMYK[..., 3:]) / 255),
}  # fmt: skip


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_mode_gives_the_colours_that_it_shows(mode: str, channels: int) -> None:
    image, shown = MODES[mode]
    assert image.mode == mode
    pixels = make(channels).to_pixels(image)
    assert pixels.shape == (1, channels, H, W)
    assert pixels.dtype == np.uint8
    wanted = luminance(shown)[None] if channels == 1 else np.moveaxis(shown, -1, 0)
    # Each conversion (deep -> 8 bits, alpha, luminance) may round once.
    np.testing.assert_allclose(pixels[0].astype(np.float64), wanted, atol=1.01)


def test_a_transparent_palette_entry_shows_the_background_colour() -> None:
    image, shown = palette_image()
    image.info["transparency"] = 2
    pixels = make(background_color=77).to_pixels(image)[0].transpose(1, 2, 0)
    transparent = (shown == [0, 0, 255]).all(axis=2)
    assert (pixels[transparent] == 77).all()
    assert (pixels[~transparent] == shown[~transparent]).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_exif_orientation_turns_the_image_upright(orientation: int) -> None:
    # What a camera stores so that a viewer who applies the orientation sees GREY (EXIF 2.3, tag 274).
    stored = {
        1: GREY, 2: GREY[:, ::-1], 3: GREY[::-1, ::-1], 4: GREY[::-1],
        5: GREY.T, 6: np.rot90(GREY), 7: GREY[::-1, ::-1].T, 8: np.rot90(GREY, -1),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(stored)).save(file, format="PNG", exif=exif)
    for do_resize in (True, False):
        pixels = make(1, do_resize=do_resize).to_pixels(Image.open(io.BytesIO(file.getvalue())))
        np.testing.assert_array_equal(pixels[0, 0], GREY)


@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy, lambda array: array / 255.0])
def test_every_array_layout_and_number_type_gives_the_same_pixels(kind) -> None:
    for array in (GREY, GREY[..., None], GREY[None]):
        np.testing.assert_array_equal(make(1).to_pixels(kind(array.copy()))[0, 0], GREY)
    for array in (COLOUR, COLOUR.transpose(2, 0, 1)):
        np.testing.assert_array_equal(make(3).to_pixels(kind(array.copy()))[0], COLOUR.transpose(2, 0, 1))
    several = [kind(COLOUR.copy()), [Image.fromarray(COLOUR), kind(COLOUR.transpose(2, 0, 1).copy())]]
    np.testing.assert_array_equal(make(3).to_pixels(several), np.stack([COLOUR.transpose(2, 0, 1)] * 3))
    batch = kind(np.stack([COLOUR, COLOUR[:, ::-1]]))
    assert make(3).to_pixels(batch).shape == (2, 3, H, W)


def test_an_ambiguous_layout_is_channels_first_unless_said() -> None:
    array = np.random.default_rng(5).integers(0, 256, (3, 7, 3), dtype=np.uint8)
    processor = HubmodelsImageProcessor(do_resize=False)
    assert processor.to_pixels(array).shape == (1, 3, 7, 3)
    assert processor.to_pixels(array, input_data_format="channels_last").shape == (1, 3, 3, 7)


def test_images_of_all_sizes_are_resized_as_pillow_does() -> None:
    large = np.random.default_rng(6).integers(0, 256, (31, 19, 3), dtype=np.uint8)
    pixels = make(3, resample=3).to_pixels([Image.fromarray(large), COLOUR])
    wanted = np.asarray(Image.fromarray(large).resize((W, H), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(pixels[0], wanted.transpose(2, 0, 1))
    np.testing.assert_array_equal(pixels[1], COLOUR.transpose(2, 0, 1))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_call_is_the_normalised_pixels_exactly_and_the_formula_closely(channels: int) -> None:
    processor = make(channels, image_mean=[0.1, 0.2, 0.3][:channels], image_std=[0.5, 0.25, 0.7][:channels])
    images = [Image.fromarray(COLOUR), GREY]
    pixels = processor.to_pixels(images)
    values = processor(images, return_tensors="pt")["pixel_values"]
    assert values.dtype == torch.float32
    assert torch.equal(values, processor.normalize_pixels(torch.from_numpy(pixels)))
    mean = np.array(processor.image_mean).reshape(-1, 1, 1)
    std = np.array(processor.image_std).reshape(-1, 1, 1)
    np.testing.assert_allclose(values.numpy(), (pixels / 255 - mean) / std, atol=1e-6)
    np.testing.assert_array_equal(np.stack(processor(images)["pixel_values"]), values.numpy())
    plain = processor(images, return_tensors="np", do_normalize=False)["pixel_values"]
    np.testing.assert_allclose(plain, pixels / 255, atol=1e-7)
    raw = processor(images, return_tensors="np", do_normalize=False, do_rescale=False)["pixel_values"]
    np.testing.assert_array_equal(raw, pixels)


def test_saving_and_loading_gives_the_same_processor(tmp_path) -> None:
    processor = make(3, image_mean=[0.1, 0.2, 0.3], image_std=[0.5, 0.6, 0.7], resample=0, background_color=3)
    processor.save_pretrained(tmp_path)
    stored = json.loads((tmp_path / "preprocessor_config.json").read_text())
    assert stored["image_processor_type"] == "HubmodelsImageProcessor"
    assert stored["size"] == {"height": H, "width": W}
    for loaded in (HubmodelsImageProcessor.from_pretrained(tmp_path), AutoImageProcessor.from_pretrained(tmp_path)):
        assert type(loaded) is HubmodelsImageProcessor
        code = {"AutoImageProcessor": "processing_image.HubmodelsImageProcessor"}
        assert loaded.to_dict() == processor.to_dict() | {"auto_map": code}
        assert torch.equal(
            loaded(COLOUR, return_tensors="pt")["pixel_values"], processor(COLOUR, return_tensors="pt")["pixel_values"]
        )


@pytest.mark.parametrize("channels", [1, 3])
def test_transformers_own_pipeline_classifies_with_it(tmp_path, channels: int) -> None:
    labels = {"id2label": {0: "cat", 1: "dog", 2: "owl"}, "label2id": {"cat": 0, "dog": 1, "owl": 2}}
    model = build_model("mlp", "ForImageClassification", {"image_size": 8, "num_channels": channels, **labels}).eval()
    processor = HubmodelsImageProcessor(num_channels=channels, size={"height": 8, "width": 8})
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    image = Image.fromarray(GREY)  # the pipeline makes RGB of it even for a grey model
    image.save(tmp_path / "image.png")
    with torch.no_grad():
        wanted = model(**processor(image, return_tensors="pt")).logits.softmax(-1)[0]
    classifier = pipeline("image-classification", model=str(tmp_path))
    for given in (image, str(tmp_path / "image.png")):
        scores = {item["label"]: item["score"] for item in classifier(given)}
        np.testing.assert_allclose([scores["cat"], scores["dog"], scores["owl"]], wanted.numpy(), atol=1e-6)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (COLOUR.astype(np.float32), "between 0 and 1.*divide by 255"),
        (np.full((H, W), np.nan), "between 0 and 1"),
        (GREY.astype(np.int64) + 1000, "between 0 and 255"),
        (np.zeros((5, 28, 28), np.uint8), r"1, 3 or 4 channels.*\(B, 1, H, W\)"),
        (np.zeros((2, 2, 2, 28, 28), np.uint8), r"must be \(H, W\)"),
        (np.zeros((0, 4), np.uint8), "at least one pixel"),
        (np.full((H, W), "a"), "must hold numbers"),
        (GREY.tolist(), "must be a PIL image.*int"),
        ([], "no image was given"),
        (None, "must be a PIL image.*NoneType"),
        ([{"bytes": b""}], "must be a PIL image.*dict"),
    ],
)
def test_what_is_no_image_is_refused_with_a_remedy(given, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()(given)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"num_channels": 2}, "num_channels must be 1"),
        ({"size": {"height": 0, "width": 4}}, "size must be"),
        ({"image_mean": [0.1, 0.2]}, "each of the 3 channels"),
        ({"image_std": [0.1, 0.0, 0.3]}, "greater than 0"),
        ({"image_std": float("nan")}, "finite"),
        ({"resample": 17}, "resample must be one of"),
        ({"background_color": 256}, "0 to 255"),
    ],
)
def test_impossible_fields_are_refused_when_made_and_when_called(fields: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        HubmodelsImageProcessor(**fields)
    with pytest.raises(ValueError, match=words):
        make()(COLOUR, **fields)


def test_an_unknown_field_of_a_call_is_refused_with_those_that_exist() -> None:
    with pytest.raises(ValueError, match=r"unknown image processor field 'do_center_crop'.*do_resize"):
        make()(COLOUR, do_center_crop=True)


def test_mixed_sizes_without_resizing_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot be one batch with do_resize false"):
        make(do_resize=False)([COLOUR, np.zeros((4, 4, 3), np.uint8)])


# ---------------------------------------------------------------- files


def saved(path, kind: str, **options):
    Image.fromarray(COLOUR).save(path, kind, **options)
    return path


def test_a_file_of_another_kind_under_the_name_of_an_image_is_not_opened(tmp_path) -> None:
    (tmp_path / "a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n")
    with pytest.raises(ValueError, match="no image format that is read"):
        open_image(tmp_path / "a.png")
    assert open_image(saved(tmp_path / "b.txt", "PNG")).size == (W, H)  # what counts is what it holds


def test_what_is_no_plain_file_is_not_read(tmp_path) -> None:
    os.mkfifo(tmp_path / "a.png")
    for path in (tmp_path / "a.png", "/dev/zero", tmp_path):
        with pytest.raises((ValueError, OSError), match="no plain file|directory"):
            open_image(path)


def test_a_file_that_is_too_large_in_bytes_or_pixels_is_refused(tmp_path, monkeypatch) -> None:
    path = saved(tmp_path / "a.png", "PNG")
    monkeypatch.setattr(processing_image, "LARGEST_IMAGE_FILE", 10)
    with pytest.raises(ValueError, match="more than 10 bytes"):
        open_image(path)
    monkeypatch.undo()
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", H * W // 2 - 1)
    with pytest.raises(ValueError, match="more pixels than 32: make it smaller"):
        open_image(path)


def test_a_heic_photograph_says_what_to_install(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(ValueError, match="HEIC photograph: pip install pillow-heif"):
        open_image(b"\0\0\0\x18ftypheic" + bytes(40))


def test_bytes_base64_text_and_paths_are_the_same_image_and_other_text_is_no_file(tmp_path) -> None:
    path = saved(tmp_path / "a.png", "PNG")
    encoded = base64.b64encode(path.read_bytes()).decode()
    for source in (path, str(path), path.read_bytes(), encoded, f"data:image/png;base64,{encoded}"):
        np.testing.assert_array_equal(np.asarray(open_image(source)), COLOUR)
    for text in ("cats", "no/such/file.png"):
        with pytest.raises(ValueError, match=f"no file at {text}"):
            open_image(text)


def test_the_first_frame_of_an_animation_is_the_image(tmp_path) -> None:
    frames = [Image.new("RGB", (W, H), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(make().to_pixels(str(tmp_path / "a.gif"))[0, :, 0, 0], [255, 0, 0])


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "I;16", "CMYK", "1", "L"])
def test_a_pipeline_reads_files_as_the_processor_does(tmp_path, mode: str) -> None:
    image = Image.fromarray(COLOUR)
    if mode == "I;16":
        image = Image.fromarray(GREY.astype(np.uint16) * 257)
    elif mode in ("RGBA", "LA"):
        image = image.convert(mode)
        image.putalpha(Image.fromarray(ALPHA))
    else:
        image = image.convert(mode)
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    image.save(path)
    values = {"num_channels": 3, "image_size": [H, W], "hidden_sizes": [4], "num_labels": 3}
    torch.manual_seed(0)
    model = build_model("mlp", "ForImageClassification", values).eval()
    classify = pipeline("image-classification", model=model, image_processor=make())
    with torch.no_grad():
        expected = model(**make()(str(path), return_tensors="pt")).logits.softmax(-1)[0]
    scores = {row["label"]: row["score"] for row in classify(str(path), top_k=3)}
    for number, name in model.config.id2label.items():
        assert scores[name] == pytest.approx(expected[number].item(), abs=1e-6)
