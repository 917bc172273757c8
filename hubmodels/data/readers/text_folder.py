"""Opening what holds plain text: one file, a folder of them, a folder whose folders are classes."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import pyarrow

from ...recipe import ReadingOptions
from ...report import collect_notes, note, repeat_notes
from .media_files import Listing, first_names, list_folder
from .media_labels import label_columns
from .media_splits import folder_classes, say_classes, split_files, split_of
from .text_files import TextFiles
from .text_kinds import PLAIN_KINDS, is_companion, is_text_file, text_suffix

SplitFiles = Mapping[str, tuple[tuple[str, ...], list[str]]]
# Folders of texts whose class nobody knows, beside those of the classes.
WITHOUT_CLASS = {"unsup", "unsupervised", "unlabeled", "unlabelled", "nolabel", "no_label"}


def open_text(path: Path, options: ReadingOptions, remembered: bool = False) -> TextFiles | None:
    """Open a file or a folder of plain text; give None for what holds something else.

    Args:
        path: what exists.
        options: how to read it.
        remembered: the options are those of the training's files.

    Raises:
        HubmodelsError: an option that cannot be followed.
    """
    if path.is_file():
        if not is_text_file(path):
            return None
        notes = []
        if text_suffix(path.name) is None:
            with collect_notes() as notes:
                note("files", f"{path.name} is read as plain text: its bytes are text.", surprising=True)
        return TextFiles({"train": [path.name]}, path.parent, with_texts(options), remembered, notes=tuple(notes))
    if not path.is_dir():
        return None
    listing = list_folder(path)
    with collect_notes() as notes:
        files = choose_files(path, listing)
        if not files:
            return None
        source = open_files(path, listing, files, options)
    return dataclasses.replace(source, remembered=remembered, notes=tuple(notes))


def with_texts(options: ReadingOptions) -> ReadingOptions:
    """Return the options, to which a text is a text, whatever its words look like."""
    return dataclasses.replace(options, column_kinds={"text": "text", **(options.column_kinds or {})})


def choose_files(folder: Path, listing: Listing) -> list[str]:
    """Choose the text files of a folder: those of plain text, or where more of it is source text, all of them.

    None where tables are what it holds, beside which source text is no data."""
    texts = [name for name in listing.texts if not is_companion(name)] or listing.texts
    plain = [name for name in texts if text_suffix(name) in PLAIN_KINDS]
    sources = [name for name in texts if text_suffix(name) not in PLAIN_KINDS]
    if len(plain) <= len(listing.tables):
        plain = []
        if listing.tables:
            return []
    sizes = [sum((folder / name).stat().st_size for name in some) for some in (plain, sources)]
    chosen = plain if sizes[0] >= sizes[1] else sorted([*plain, *sources])
    if not chosen or sum(map(len, listing.media.values())) > len(chosen):
        return []
    others = sorted(set(listing.texts) - set(chosen))
    if others:
        note("files", f"Not read: {len(others):,} other files of text: {first_names(others)}.", surprising=True)
    if listing.others:
        unknown = {suffix: count for suffix, count in listing.others.items() if text_suffix(f"x{suffix}") is None}
        counts = ", ".join(f"{count:,} {suffix}" for suffix, count in sorted(unknown.items())[:8])
        if counts:
            note("files", f"Not read, as they are no files of text: {counts}.")
    return chosen


def open_files(folder: Path, listing: Listing, files: list[str], options: ReadingOptions) -> TextFiles:
    """Find the splits of a folder's text files, and the class of each where its folders are classes."""
    splits: SplitFiles = split_files(files)
    if len(splits) == 1:
        splits = split_by_names(splits)
    plain = all(text_suffix(name) in PLAIN_KINDS for name in files)
    classes = None
    if plain:
        splits, left_out = without_unlabelled(splits)
        with collect_notes() as of_classes:
            classes = folder_classes(dict(splits))
        if classes:
            repeat_notes(of_classes)
            folders = [name for name in listing.folders if name.rpartition("/")[2] not in left_out]
            say_classes(classes, dict(splits), folders)
            splits = {
                split: (tops, [name for name in some if name in classes]) for split, (tops, some) in splits.items()
            }
    of_splits = {split: some for split, (_, some) in splits.items() if some}
    tables = dataclasses.replace(listing, rows=set())
    columns = {
        split: dict(label_columns(folder, tables, some, options, ("text", "file_name")))
        for split, some in of_splits.items()
    }
    if classes and any("label" in some for some in columns.values()):
        note("columns", "The column 'label' is the tables', not the names of the folders.", surprising=True)
        classes = None
    names = tuple(sorted(set(classes.values()))) if classes else None
    if classes and names:
        numbers = {name: number for number, name in enumerate(names)}
        for split, some in of_splits.items():
            labels = [numbers[classes[name]] for name in some]
            columns[split] = {"label": pyarrow.array(labels, pyarrow.int64()), **columns[split]}
    known = any(columns.values())
    if known and options.sample_by is None:
        options = dataclasses.replace(options, sample_by="document")
        words = "Each file is a row, since its folder or a table says something of it."
        note("rows", words, surprising=True, remedy="sample_by: line")
    return TextFiles(of_splits, folder, with_texts(options), columns=columns if known else {}, classes=names)


def split_by_names(splits: SplitFiles) -> SplitFiles:
    """Sort files into the splits that their own names say: train.txt, valid.txt, my_test_set.txt."""
    ((split, (folders, files)),) = splits.items()
    by_name: dict[str, list[str]] = {}
    others = []
    for name in files:
        said = split_of(Path(name).name.partition(".")[0])
        if said is None:
            others.append(name)
        else:
            by_name.setdefault(said, []).append(name)
    if not by_name or (len(by_name) == 1 and others and "train" not in by_name) or len(by_name) < len(others):
        return splits
    if "train" not in by_name:
        if not others:
            return splits
        by_name["train"], others = others, []
    for said, some in by_name.items():
        note("splits", f"{first_names(some)} {'is' if len(some) == 1 else 'are'} the {said} split.")
    if others:
        note("files", f"Not read: {first_names(others)}, whose names say no split.", surprising=True)
    return {said: (folders, by_name[said]) for said in ("train", "validation", "test") if said in by_name}


def without_unlabelled(splits: SplitFiles) -> tuple[SplitFiles, set[str]]:
    """Leave out the files of folders whose names say that their class is not known, where others name classes."""
    kept_splits, folders = {}, set()
    for split, (tops, files) in splits.items():
        unknown = [name for name in files if Path(name).parent.name.lower() in WITHOUT_CLASS]
        if unknown and len(unknown) < len(files):
            inner = sorted({Path(name).parent.as_posix() for name in unknown})
            words = f"{len(unknown):,} files are left out, since the folder says that they have no class: "
            note("rows", words + first_names(inner) + ".", surprising=True, remedy="rename the folder to read it")
            folders |= {Path(name).parent.name for name in unknown}
            files = [name for name in files if name not in set(unknown)]
        kept_splits[split] = (tops, files)
    return kept_splits, folders
