"""Folders of images and sounds: what their folders, tables and files mean, and what of them is not read."""

import io
import json
import os
import shutil
import tarfile
import zipfile
from pathlib import Path

import datasets
import numpy as np
import pytest
from PIL import Image

from hubmodels.data.loading import LoadedData, load_data
from hubmodels.data.readers import open_source
from hubmodels.data.reading import Reading
from hubmodels.data.source_streams import stream_source
from hubmodels.errors import HubmodelsError
from hubmodels.recipe import DataArguments
from hubmodels.report import Note, collect_notes
from hubmodels.tasks import get_task
from hubmodels.use import predict_file


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def draw(path: Path, seed: int = 0, side: int = 6) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def fill(folder: Path, classes: tuple[str, ...], count: int = 4, start: int = 0) -> Path:
    for number, name in enumerate(classes):
        for index in range(start, start + count):
            draw(folder / name / f"{index:03}.png", seed=1000 * number + index)
    return folder


def load(folder: Path, **arguments) -> tuple[LoadedData, list[Note]]:
    with collect_notes() as notes:
        return load_data(DataArguments(dataset=str(folder), **arguments)), notes


def counts(loaded: LoadedData) -> dict[str, int]:
    return {name: len(split) for name, split in loaded.splits.items()}


def said(notes: list[Note], *words: str) -> bool:
    return any(all(word in note.text for word in words) for note in notes)


def listed(folder: Path) -> list[str]:
    return [name for piece in Reading().pieces(folder, 100) for name in piece.raw.column("file_name").to_pylist()]


@pytest.mark.parametrize(
    ("train", "validation", "test"),
    [("Train", "Val", "Test"), ("training", "dev", "Testing"), ("data/TRAIN_set", "data/valid", "data/hold-out test")],
)
def test_folders_of_splits_are_splits_in_any_case_and_under_their_usual_names(
    tmp_path, train, validation, test
) -> None:
    folder = tmp_path / "d"
    for name, count in ((train, 5), (validation, 2), (test, 3)):
        fill(folder / name, ("cat", "dog"), count)
    loaded, notes = load(folder)
    assert counts(loaded) == {"train": 10, "validation": 4, "test": 6}
    assert loaded.carved == ()
    assert said(notes, test.split("/")[-1], "is the test split: 6 files")


def test_classes_are_numbered_as_imagefolder_numbers_them(tmp_path) -> None:
    folder = fill(tmp_path / "d", ("b", "Żaba", "10", "9", "犬", "A"))
    ours = open_source(folder)
    theirs = datasets.load_dataset(
        "imagefolder", data_dir=str(folder), split="train", cache_dir=str(tmp_path / "theirs")
    )
    assert ours is not None
    assert ours.features["label"].names == theirs.features["label"].names
    (piece,) = ours.pieces("train", 1000)
    by_name = dict(
        zip(piece.table.column("file_name").to_pylist(), piece.table.column("label").to_pylist(), strict=True)
    )
    names = ours.features["label"].names
    assert all(names[label] == name.split("/")[0] for name, label in by_name.items())


def test_a_single_folder_named_test_among_others_is_a_class_and_said(tmp_path) -> None:
    loaded, notes = load(fill(tmp_path / "d", ("test", "control")))
    assert loaded.splits["train"].features["label"].names == ["control", "test"]
    assert said(notes, "test is taken for a class")


def test_class_folders_beside_a_folder_of_test_files_are_the_training_split(tmp_path) -> None:
    folder = fill(tmp_path / "d", ("cat", "dog"), 10)
    fill(folder / "test", ("cat", "dog"), 3)
    loaded, _ = load(folder)
    assert counts(loaded)["test"] == 6
    assert loaded.splits["train"].features["label"].names == ["cat", "dog"]


def test_files_beside_the_folders_of_splits_are_named(tmp_path) -> None:
    folder = tmp_path / "d"
    fill(folder / "train", ("cat", "dog"), 10)
    draw(folder / "spare" / "x.png")
    _, notes = load(folder)
    assert said(notes, "1 files beside the folders of the splits", "spare/x.png")


def test_a_flat_folder_and_a_folder_of_one_class_have_no_classes(tmp_path) -> None:
    fill(tmp_path / "flat", ("",), 8)
    assert "label" not in load(tmp_path / "flat")[0].splits["train"].features
    loaded, notes = load(fill(tmp_path / "one", ("images",), 8))
    assert "label" not in loaded.splits["train"].features
    assert said(notes, "one folder, images")


def test_classes_of_unequal_depth_are_the_outermost_folders_and_loose_files_are_left_out(tmp_path) -> None:
    folder = fill(tmp_path / "d", ("cats/persian", "cats/siam", "dogs"), 4)
    draw(folder / "loose.png")
    (folder / "empty").mkdir()
    loaded, notes = load(folder)
    assert loaded.splits["train"].features["label"].names == ["cats", "dogs"]
    assert sum(counts(loaded).values()) == 12
    assert said(notes, "different depths")
    assert said(notes, "1 files lie in no folder", "loose.png")
    assert said(notes, "without files are no classes: empty")


def test_a_class_that_a_mac_and_another_system_write_differently_is_one(tmp_path) -> None:
    folder = tmp_path / "d"
    fill(folder / "train", ("cafe\u0301", "tea"), 6)
    fill(folder / "test", ("caf\u00e9", "tea"), 3)
    assert load(folder)[0].splits["train"].features["label"].names == ["caf\u00e9", "tea"]


def test_what_systems_leave_is_not_read_and_other_files_are_counted(tmp_path) -> None:
    folder = fill(tmp_path / "d", ("a", "b"), 5)
    for name in ("a/._000.png", "a/.DS_Store", "a/Thumbs.db", "desktop.ini", "__MACOSX/a/000.png", ".git/x.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"\0\5\x16\7")
    (folder / "notes.docx").write_bytes(b"x")
    loaded, notes = load(folder)
    assert sum(counts(loaded).values()) == 10
    assert len(listed(folder)) == 10
    assert said(notes, "1 .docx")
    assert not said(notes, "DS_Store")


def test_links_that_lead_out_and_pipes_are_not_read_and_named(tmp_path) -> None:
    folder = fill(tmp_path / "d", ("a", "b"), 5)
    outside = draw(tmp_path / "secret" / "s.png")
    (folder / "a" / "link.png").symlink_to(outside)
    (folder / "c").symlink_to(outside.parent)
    (folder / "a" / "inside.png").symlink_to(folder / "a" / "000.png")
    (folder / "b" / "round").symlink_to(folder)
    os.mkfifo(folder / "b" / "pipe.png")
    loaded, notes = load(folder)
    assert sum(counts(loaded).values()) == 11
    assert said(notes, "2 links", "a/link.png", "c")
    assert said(notes, "pipes", "b/pipe.png")


def test_the_running_system_is_no_data() -> None:
    with pytest.raises(HubmodelsError, match="/proc is a part of the running system"):
        open_source("/proc")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("metadata.csv", "file_name,weight,city\n000.png,1.5,Rome\na/001.png,2.5,Oslo\na/002.png,3,Lima\na/003.png,4,"),
        ("labels.tsv", "id\tweight\tcity\n000\t1.5\tRome\n001\t2.5\tOslo\n002\t3\tLima\n003\t4\t\n"),
        ("x.jsonl", "\n".join(
            json.dumps({"pic": f"00{i}.png", "weight": w, "city": c})
            for i, (w, c) in enumerate([(1.5, "Rome"), (2.5, "Oslo"), (3.0, "Lima"), (4.0, None)]))),
    ],
)  # fmt: skip
def test_a_table_within_gives_its_columns_by_whatever_column_names_the_files(tmp_path, name, content) -> None:
    folder = fill(tmp_path / "d", ("a",), 4)
    (folder / name).write_text(content)
    loaded, notes = load(folder, test_fraction=0.25, validation_fraction=0.3)
    assert said(notes, name, "4 files")
    rows = [row for split in loaded.splits.values() for row in split.remove_columns("image")]
    weights = {row["file_name"]: (float(row["weight"]), row["city"]) for row in rows}
    assert weights == {
        "a/000.png": (1.5, "Rome"), "a/001.png": (2.5, "Oslo"), "a/002.png": (3.0, "Lima"), "a/003.png": (4.0, None)
    }  # fmt: skip


def test_rows_without_files_and_files_without_rows_are_named(tmp_path) -> None:
    folder = fill(tmp_path / "d", ("a",), 4)
    (folder / "t.csv").write_text("file,y\n000.png,1\n001.png,2\ngone.png,3\n")
    _, notes = load(folder, test_fraction=0.25, validation_fraction=0.3)
    assert said(notes, "t.csv", "1 of its rows name a file that is not there")
    assert said(notes, "2 files stand in no table", "a/002.png")


def test_overwritten_pictures_are_other_content_and_touched_or_copied_folders_are_the_same(tmp_path) -> None:
    folder = fill(tmp_path / "d", ("a", "b"), 5)
    first = load(folder)[0]
    os.utime(folder / "a" / "000.png", (1, 1))
    copied = Path(shutil.copytree(folder, tmp_path / "moved"))
    again, elsewhere = load(folder)[0], load(copied)[0]
    assert first.fingerprint == again.fingerprint == elsewhere.fingerprint
    paths = elsewhere.splits["train"].cast_column("image", datasets.Image(decode=False))["image"]
    assert all(value["path"].startswith(str(copied)) for value in paths)
    before = (folder / "a" / "000.png").stat()
    draw(folder / "a" / "000.png", seed=77)
    os.utime(folder / "a" / "000.png", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert load(folder)[0].fingerprint != first.fingerprint


def test_notes_are_said_again_when_rows_come_from_the_cache(tmp_path) -> None:
    folder = fill(tmp_path / "d", ("a", "b"), 5)
    assert load(folder)[1] == load(folder)[1] != []


def test_predictions_read_every_file_in_the_order_of_its_name_whatever_folders_are_called(tmp_path) -> None:
    folder = tmp_path / "d"
    fill(folder / "test", ("b", "a"), 2)
    draw(folder / "z.png")
    assert listed(folder) == ["test/a/000.png", "test/a/001.png", "test/b/000.png", "test/b/001.png", "z.png"]


def test_a_folder_of_sounds_is_listed_as_one_of_images(tmp_path) -> None:
    for name in ("Train/yes/0.wav", "Train/no/1.FLAC", "Test/yes/2.mp3", "Test/no/3.ogg"):
        (tmp_path / "d" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "d" / name).write_bytes(name.encode())
    source = open_source(tmp_path / "d")
    assert source is not None
    assert source.splits == ("train", "test")
    assert source.features["label"].names == ["no", "yes"]
    assert isinstance(source.features["audio"], datasets.Audio)


def test_a_zip_of_a_folder_is_read_as_the_folder(tmp_path) -> None:
    folder = fill(tmp_path / "d", ("a", "b"), 5)
    with zipfile.ZipFile(tmp_path / "d.zip", "w") as archive:
        for file in sorted(folder.rglob("*.png")):
            archive.write(file, f"d/{file.relative_to(folder)}")
    loaded, _ = load(tmp_path / "d.zip")
    assert loaded.splits["train"].features["label"].names == ["a", "b"]
    assert sum(counts(loaded).values()) == 10


def test_a_webdataset_shard_gives_classes_and_what_json_says(tmp_path) -> None:
    with tarfile.open(tmp_path / "shard-000.tar", "w") as archive:
        for index in range(6):
            file = io.BytesIO()
            Image.new("RGB", (4, 4), (index, 0, 0)).save(file, "PNG")
            for suffix, content in (
                ("png", file.getvalue()), ("cls", b"%d" % (index % 2)), ("json", b'{"who": "p%d"}' % index)
            ):  # fmt: skip
                member = tarfile.TarInfo(f"{index:03}.{suffix}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    loaded, notes = load(tmp_path / "shard-000.tar", validation_fraction=0.3)
    rows = [row for split in loaded.splits.values() for row in split]
    assert {row["file_name"]: (int(row["cls"]), row["who"]) for row in rows} == {
        f"{index:03}.png": (index % 2, f"p{index}") for index in range(6)
    }
    assert all(row["image"].getpixel((0, 0))[0] == int(row["who"][1:]) for row in rows)
    assert said(notes, "cls, who")


def test_an_archive_does_not_write_outside_of_the_cache(tmp_path) -> None:
    with tarfile.open(tmp_path / "bad.tar", "w") as archive:
        member = tarfile.TarInfo("../../escaped.png")
        member.size = 1
        archive.addfile(member, io.BytesIO(b"x"))
    with pytest.raises(HubmodelsError, match=r"cannot unpack .*bad\.tar"):
        open_source(tmp_path / "bad.tar")
    assert not list(tmp_path.rglob("escaped.png"))


def test_a_column_that_names_images_is_found_by_content_and_opened_beside_its_table(tmp_path, monkeypatch) -> None:
    fill(tmp_path / "d" / "pics", ("",), 10)
    rows = "\n".join(f"pics/{index:03}.png,{index}" for index in range(10))
    (tmp_path / "d" / "t.csv").write_text(f"Aufnahme,y\n{rows}\n")
    monkeypatch.chdir(tmp_path / "d" / "pics")
    loaded, notes = load(tmp_path / "d" / "t.csv")
    assert isinstance(loaded.splits["train"].features["Aufnahme"], datasets.Image)
    assert loaded.splits["train"][0]["Aufnahme"].size == (6, 6)
    assert any(note.column == "Aufnahme" and note.kind == "image files" for note in notes)
    (piece,) = Reading().pieces(tmp_path / "d" / "t.csv", 100)
    assert piece.raw.column("Aufnahme")[3].as_py() == "pics/003.png"
    assert piece.table.column("Aufnahme")[3].as_py()["path"] == str(tmp_path / "d" / "pics" / "003.png")


@pytest.mark.parametrize("form", ["bytes", "struct", "datasets"])
def test_a_parquet_file_that_holds_images_is_read_as_images(tmp_path, form) -> None:
    content = [draw(tmp_path / "p" / f"{index}.png", seed=index).read_bytes() for index in range(10)]
    column = content if form == "bytes" else [{"bytes": one, "path": None} for one in content]
    rows = datasets.Dataset.from_dict({"shot": column, "y": list(range(10))})
    if form == "datasets":
        rows = rows.cast_column("shot", datasets.Image())
    rows.to_parquet(tmp_path / "t.parquet")
    loaded, _ = load(tmp_path / "t.parquet")
    for row in loaded.splits["train"]:
        expected = Image.open(tmp_path / "p" / f"{row['y']}.png")
        np.testing.assert_array_equal(np.asarray(row["shot"]), np.asarray(expected))


def test_names_of_images_that_are_not_there_stay_text(tmp_path) -> None:
    (tmp_path / "t.csv").write_text("name,y\n" + "\n".join(f"{i}.png,{i}" for i in range(10)))
    loaded, _ = load(tmp_path / "t.csv")
    assert not isinstance(loaded.splits["train"].features["name"], datasets.Image)


def test_urls_are_not_fetched_where_nobody_asked(tmp_path) -> None:
    (tmp_path / "t.csv").write_text("u,y\n" + "\n".join(f"http://127.0.0.1:9/{i}.png,{i}" for i in range(10)))
    with pytest.raises(HubmodelsError, match="--allow_urls"):
        load(tmp_path / "t.csv")
    with pytest.raises(HubmodelsError, match="no file can be downloaded"):
        load(tmp_path / "t.csv", allow_urls=True)


def test_a_folder_of_tables_with_a_picture_in_it_stays_one_of_tables(tmp_path) -> None:
    for name in ("train", "test"):
        (tmp_path / "d" / f"{name}.csv").parent.mkdir(exist_ok=True)
        (tmp_path / "d" / f"{name}.csv").write_text("a,b\n" + 20 * "1,2\n")
    draw(tmp_path / "d" / "preview.png")
    assert "a" in load(tmp_path / "d")[0].splits["train"].features


def test_predictions_of_a_table_repeat_the_paths_as_it_has_them(tmp_path) -> None:
    fill(tmp_path / "d" / "pics", ("",), 3)
    (tmp_path / "d" / "t.csv").write_text("image,id\npics/000.png,x\n./pics/001.png,y\npics/002.png,z\n")
    release = Path(__file__).parents[2] / "model_cards" / "mlp-fashion-mnist"
    assert predict_file(str(release), str(tmp_path / "d" / "t.csv"), str(tmp_path / "o.jsonl")) == 3
    rows = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    assert [(row["image"], row["id"]) for row in rows] == [
        ("pics/000.png", "x"), ("./pics/001.png", "y"), ("pics/002.png", "z")
    ]  # fmt: skip


def test_captions_beside_images_are_their_texts(tmp_path) -> None:
    folder = fill(tmp_path / "d", ("",), 12)
    for index in range(12):
        (folder / f"{index:03}.txt").write_text(f"a picture of {index}\n")
    rows = load(folder)[0].splits["train"]
    task = get_task("zero-shot-image-classification")()
    assert task.select(rows).column_names == ["image", "text"]
    assert all(row["text"] == f"a picture of {int(row['file_name'][:3])}" for row in rows)


def write_shard(path: Path, numbers: range, classes: bool = True) -> None:
    """A tar as WebDataset writes it; the names of files begin anew in each."""
    with tarfile.open(path, "w") as archive:
        for key, number in enumerate(numbers):
            file = io.BytesIO()
            Image.new("RGB", (4, 4), (number, 0, 0)).save(file, "PNG")
            contents = {"png": file.getvalue()} | ({"cls": b"%d" % (number % 2)} if classes else {})
            for suffix, content in contents.items():
                member = tarfile.TarInfo(f"{key:04}.{suffix}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))


def test_a_folder_of_shards_gives_the_splits_that_their_names_say(tmp_path) -> None:
    folder = tmp_path / "shards"
    folder.mkdir()
    for name, numbers in (("train-000", range(8)), ("train-001", range(8, 16)), ("test-000", range(16, 20))):
        write_shard(folder / f"{name}.tar", numbers)
    loaded, notes = load(folder, validation_fraction=0.25)
    shown = {
        split: sorted((row["image"].getpixel((0, 0))[0], int(row["cls"])) for row in rows)
        for split, rows in loaded.splits.items()
    }
    assert shown["test"] == [(number, number % 2) for number in range(16, 20)]
    assert sorted(shown["train"] + shown["validation"]) == [(number, number % 2) for number in range(16)]
    assert said(notes, "train/ is the train split: 16 files")
    again = [row["file_name"] for row in load(folder, validation_fraction=0.25)[0].splits["train"]]
    assert again == [row["file_name"] for row in loaded.splits["train"]]


def test_shards_without_a_split_in_their_names_are_one_set_and_a_stray_file_is_said(tmp_path) -> None:
    folder = tmp_path / "shards"
    folder.mkdir()
    for number in range(3):
        write_shard(folder / f"birds-{number}.tar", range(8 * number, 8 * number + 8), classes=False)
    (folder / "index.idx").write_text("0")
    loaded, notes = load(folder)
    pixels = [row["image"].getpixel((0, 0))[0] for rows in loaded.splits.values() for row in rows]
    assert sorted(pixels) == list(range(24))
    assert said(notes, "index.idx")
    (piece,) = Reading().pieces(folder, 100)
    assert len(piece.raw) == 24


@pytest.mark.parametrize("form", ["folder", "tar", "zip"])
def test_a_stream_of_images_has_classes_shards_and_goes_on_where_it_stopped(tmp_path, form) -> None:
    for index in range(200):
        draw(tmp_path / "d" / "ab"[index // 100] / f"{index:03}.png", seed=index)
    path = tmp_path / "d"
    if form != "folder":
        path = Path(shutil.make_archive(str(tmp_path / "packed"), form, tmp_path / "d"))
    loaded = load_data(DataArguments(dataset=str(path), streaming=True, max_eval_samples=20))
    assert loaded.splits["train"].features["label"].names == ["a", "b"]
    stream = stream_source(open_source(path))[0]["train"]
    assert stream.num_shards == 7
    names = [row["file_name"] for row in stream]
    assert sorted(names) == sorted(f"{'ab'[index // 100]}/{index:03}.png" for index in range(200))
    assert {name[0] for name in names[:20]} == {"a", "b"}  # whoever reads the first rows sees all classes
    rows = iter(stream)
    first = [next(rows)["file_name"] for _ in range(50)]
    other = stream_source(open_source(path))[0]["train"]
    other.load_state_dict(stream.state_dict())
    assert first + [row["file_name"] for row in other] == names
    shuffled = [row["file_name"] for row in stream.shuffle(seed=1, buffer_size=1)]
    assert shuffled != names
    assert sorted(shuffled) == sorted(names)


def test_a_stream_of_a_table_opens_the_images_that_it_names(tmp_path) -> None:
    fill(tmp_path / "d" / "pics", ("",), 30)
    rows = "\n".join(f"pics/{index:03}.png,{index % 2}" for index in range(30))
    (tmp_path / "d" / "t.csv").write_text(f"shot,y\n{rows}\n")
    loaded = load_data(DataArguments(dataset=str(tmp_path / "d" / "t.csv"), streaming=True, max_eval_samples=5))
    assert next(iter(loaded.splits["train"]))["shot"].size == (6, 6)
