"""Numbers as people read them, in one form wherever they stand: a table in a terminal, a card, the README."""

import dataclasses
import math
import re
import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .report import Note

SHOWN_COLUMNS = 40  # of a table on the screen; more are counted
TOPIC_TITLES = {
    "files": "What was read",
    "columns": "What each column was taken for",
    "rows": "Rows",
    "splits": "How the splits were cut",
    "check": "Check of the data",
    "training": "Training",
    "results": "Results",
}


def format_number(value: float, sign: str = "") -> str:
    """Format a number: four decimals near 0..1, four digits and thousands separated elsewhere; `sign` "+" shows it."""
    if value == 0 or not math.isfinite(value):
        return f"{value:{sign}g}"
    size = math.floor(math.log10(abs(value)))
    if size < -6:
        return f"{value:{sign}.3e}"
    return f"{value:{sign},.{4 if -3 <= size < 1 else max(0, 3 - size)}f}"


def format_interval(entry: Mapping[str, Any] | None, sign: str = "") -> str:
    """Format a value with `low` and `high` as `0.9553 [0.9512, 0.9593]`; alone without them, as a dash for none."""
    if not entry or entry.get("value") is None:
        return "-"
    text = format_number(entry["value"], sign)
    if entry.get("low") is None or entry.get("high") is None:
        return text
    return f"{text} [{format_number(entry['low'], sign)}, {format_number(entry['high'], sign)}]"


def format_spread(values: Sequence[float], sign: str = "") -> str:
    """Format mean and standard deviation as `0.9553 ± 0.0021`, both with as many decimals; the latter is 0 of one."""
    text = format_number(statistics.mean(values), sign)
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    if "e" in text:
        return f"{text} ± {deviation:.0e}"
    return f"{text} ± {deviation:,.{len(text.partition('.')[2])}f}"


def shorten(name: str, length: int = 18) -> str:
    """Cut a name so that it fits beside an axis."""
    return name if len(name) <= length else name[: length - 1] + "…"


def format_notes(notes: "Sequence[Note]") -> str:
    """Format notes for the screen: surprising ones in full with what would decide otherwise, columns as one table."""
    blocks = []
    for topic, title in TOPIC_TITLES.items():
        about = join_columns([note for note in notes if note.topic == topic])
        lines = [f"  ! {note_sentence(note)}" for note in about if note.surprising]
        lines += [f"  - {note_sentence(note)}" for note in about if not note.surprising and note.column is None]
        columns = [note for note in about if note.column is not None and not note.surprising]
        if columns:
            lines += ["  " + line for line in align(column_rows(columns[:SHOWN_COLUMNS]))]
        if len(columns) > SHOWN_COLUMNS:
            lines.append(f"  ... and {len(columns) - SHOWN_COLUMNS:,} more columns")
        if lines:
            blocks.append("\n".join([f"{title}:", *lines]))
    return "\n".join(blocks)


def join_columns(notes: "Sequence[Note]") -> "list[Note]":
    """Join the notes about each column, as the reader and the task may both have one, where the first of them stood.

    The kind and the remedy are the last ones."""
    joined: dict[Any, Note] = {}
    for number, note in enumerate(notes):
        key = number if note.column is None else (note.topic, note.column)
        text = bare_text(note)
        if (before := joined.get(key)) is None:
            joined[key] = dataclasses.replace(note, text=text)
            continue
        joined[key] = dataclasses.replace(
            before,
            text=before.text if text in before.text else f"{before.text}; {text}",
            kind=note.kind or before.kind,
            surprising=before.surprising or note.surprising,
            remedy=note.remedy or before.remedy,
        )
    return list(joined.values())


def bare_text(note: "Note") -> str:
    """Return the text of a note without what stands beside it: its column's name, its kind, the closing full stop."""
    text = note.text.rstrip(".")
    if note.column is None:
        return text
    text = re.sub(rf"^column {re.escape(repr(note.column))}:? *", "", text, flags=re.IGNORECASE)
    return re.sub(rf"^(a )?{re.escape(note.kind)}[:,] *", "", text) if note.kind else text


def note_sentence(note: "Note") -> str:
    """Say a note as a sentence, with what would decide otherwise."""
    text = bare_text(note)
    if note.column is not None:
        kind = f", {note.kind}" if note.kind and not text.startswith(note.kind) else ""
        text = f"column {note.column!r}{kind}: {text}"
    return f"{text} ({note.remedy})" if note.remedy else text


def column_rows(notes: "Sequence[Note]") -> list[list[str]]:
    """Make the rows of the table of columns, its head first."""
    return [["column", "taken for", "why"], *([str(note.column), note.kind or "", note.text] for note in notes)]


def align(lines: list[list[str]]) -> list[str]:
    """Pad the cells of a table so that its columns stand under each other; a rule divides the head from the rest."""
    widths = [max(len(line[index]) for line in lines) for index in range(len(lines[0]))]
    padded = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return [padded[0], "  ".join("-" * width for width in widths), *padded[1:]]


def format_duration(seconds: float) -> str:
    """Format a time as people say it: 40 s, 12 min, 3 h 20 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def without_surrogates(text: str) -> str:
    """Replace halves of characters, which no tokenizer takes; broken JSON has them."""
    try:
        text.encode()
        return text
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
