"""Deciding what the columns of a table are, once, over all training rows: by what nearly all of their cells are."""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow
import pyarrow.compute as compute

from ...errors import HubmodelsError, nearest
from ...recipe import ReadingOptions
from .columns import (
    LEFT_OUT,
    NAMED_KINDS,
    SHOWN_ROWS,
    ColumnKind,
    Kinds,
    Unfit,
    is_text,
    read_chunk,
    read_column,
    shorten,
    with_kernels,
)
from .decision import Decision, bearable, describe_cell, describe_unfit
from .gaps import are_gaps, trimmed
from .numbers import NumberFormat, count_codes, guess_formats
from .times import ORDERS, DateCount, count_dates, guess_whole_dates, looks_like_dates, read_dates
from .typed import as_whole, decide_typed, decide_whole

SAMPLE = 500  # cells by which it is seen what may be tried on the whole column
WITH_UNITS = re.compile(r"[-+]?[\d.,]*\d\s*(?P<unit>[^\W\d_]{1,8}\.?|%|°[CF]?)?(\s*\d+\s*[^\W\d_]{1,8}\.?)*")
SPAN = re.compile(r"\d+\s*[^\W\d_]+")  # one number with its unit of several, as in 3h 12m
MOST_CODES = 20  # distinct words that are names, such as 1st, 2nd and 3rd
MOST_UNITS = 6
NEARLY = 0.8  # share of numbers in a sample from which it is said why a column holds none


def decide_kinds(table: pyarrow.Table, options: ReadingOptions) -> Kinds:
    """Decide what each column is, by what nearly all its cells are, and say it (`report.note`).

    Args:
        table: all training rows, as the files have them; it is read chunk by chunk.
        options: `column_kinds`, `drop_columns`, `decimal` and `date_order` win over what is found.

    Raises:
        HubmodelsError: an option names a column that is not there, or a kind that is none.
    """
    check_options(table.column_names, options)
    decisions: dict[str, Decision] = {}
    drafts: dict[str, Draft] = {}
    for name in dict.fromkeys(table.column_names):
        if table.column_names.count(name) > 1:
            continue
        if name in (options.drop_columns or []):
            decisions[name] = Decision(ColumnKind(LEFT_OUT), "left out, as drop_columns says")
            continue
        column = with_kernels(table.column(name))
        said_kind = (options.column_kinds or {}).get(name)
        draft = said_draft(name, column, said_kind, options) if said_kind else draft_of(name, column, options)
        if isinstance(draft, Draft):
            drafts[name] = draft
        elif draft is not None:
            decisions[name] = draft
    votes = Counter(draft.vote for draft in drafts.values() if draft.vote)
    for name, draft in drafts.items():
        decisions[name] = draft.settle(name, with_kernels(table.column(name)), votes, options)
    for name in table.column_names:
        if name in decisions:
            decisions[name].say(name)
    return Kinds({name: decision.kind for name, decision in decisions.items()})


def check_options(names: list[str], options: ReadingOptions) -> None:
    """Refuse columns that are not there and kinds that are none."""
    for field, given in (("column_kinds", options.column_kinds or {}), ("drop_columns", options.drop_columns or [])):
        for name in given:
            if name not in names:
                hint = nearest(str(name), names) or f"; its columns are {', '.join(names)}"
                raise HubmodelsError(f"{field}: the data set has no column {name!r}{hint}")
    for name, kind in (options.column_kinds or {}).items():
        if kind not in NAMED_KINDS:
            hint = nearest(str(kind), NAMED_KINDS)
            raise HubmodelsError(f"column_kinds: {name!r} cannot be {kind!r}{hint}; kinds are {', '.join(NAMED_KINDS)}")


@dataclass(frozen=True)
class Draft:
    """Holds what a column's own cells tell, of which the other columns may settle the rest."""

    choices: tuple[ColumnKind, ...]  # several where the decimal mark or the order of dates is ambiguous
    vote: str | None = None  # what a decisive column says to ambiguous ones: a decimal mark, or an order
    said: bool = False  # by the person: then every cell that does not fit is a gap

    def settle(self, name: str, column: pyarrow.ChunkedArray, votes: Counter[str], options: ReadingOptions) -> Decision:
        """Choose, read the whole column, and decide."""
        chosen, why = self.choose(votes, options)
        unfit, present, words = examine(name, column, chosen)
        what = "date" if chosen.kind == "date" else "duration" if chosen.kind == "duration" else "number"
        if self.said and unfit.count == present > 0:
            raise HubmodelsError(
                f"column_kinds: none of the {present:,} values of column {name!r} is a {what}; the first is "
                f"{shorten(unfit.words[0])} (row {unfit.first_row})"
            )
        if not self.said and not bearable(unfit.count, present):
            if all(word.strip().isdigit() for word in unfit.words):
                return refine(name, column, Decision(chosen, "numbers"))
            share = f"{present - unfit.count:,} of {present:,} values are {what}s"
            text = f"text: {share}, others such as {describe_cell(*next(iter(unfit.rows_of.items())))} are not"
            return Decision(ColumnKind("text"), text, True, f"column_kinds: {{{name}: {what}}}")
        settled = replace(chosen, format={**chosen.format, "gaps": unfit.words}) if unfit.count else chosen
        described = describe_format(chosen)
        text = f"{what}s{f' ({described})' if described else ''}"
        text += f"; gaps are written {', '.join(map(repr, words))}" if words else ""
        text += describe_unfit(unfit, present, what)
        remedy = f"column_kinds: {{{name}: category}}" if unfit.count else None
        if len(self.choices) > 1:
            option = "date_order" if what == "date" else "decimal"
            other = next(choice for choice in self.choices if choice != chosen)
            value = other.format["order"] if what == "date" else f'"{other.format.get("decimal", ".")}"'
            text, remedy = f"{text}; {why}", f"{option}: {value}"
        surprising = bool(unfit.count) or len(self.choices) > 1
        decision = Decision(settled, text, surprising, remedy, trivial=text in ("numbers", "dates"))
        return decision if what != "number" or self.said else refine(name, column, decision)

    def choose(self, votes: Counter[str], options: ReadingOptions) -> tuple[ColumnKind, str]:
        """Choose among ambiguous readings by what the other columns say, and say why."""
        first = self.choices[0]
        if len(self.choices) == 1:
            return first, ""
        marks = {choice.format.get("order") or choice.format.get("decimal", "."): choice for choice in self.choices}
        ranked = sorted(marks, key=lambda mark: -votes[mark])
        ambiguous = "day and month could be either way round" if first.kind == "date" else "the mark is ambiguous"
        if votes[ranked[0]] > votes[ranked[1]]:
            return marks[ranked[0]], f"{ambiguous}, and read as in the file's other columns"
        if options.separator == ";" and "," in marks:
            return marks[","], f"{ambiguous}, and read as where semicolons separate the cells"
        return first, f"{ambiguous} in all rows"


def draft_of(name: str, column: pyarrow.ChunkedArray, options: ReadingOptions) -> Draft | Decision | None:
    """Find out what a column's cells may be; None where its type or its text stays as it is."""
    if not is_text(column.type):
        return decide_typed(name, column)
    sample = take_sample(column)
    if not sample:
        return None
    formats = guess_formats(sample, options.decimal)
    if not formats and options.decimal:  # this column has the other mark
        formats = guess_formats(sample)
    if formats:
        return number_draft(column, formats)
    if looks_like_dates(sample):
        return date_draft(column, sample, options)
    if is_clock(sample):
        return Draft((ColumnKind("duration"),))
    if set(sample) <= {"True", "False"} and set(column.unique().drop_null().to_pylist()) <= {"True", "False", ""}:
        return Decision(ColumnKind("boolean"), "true and false", trivial=True)
    return text_decision(name, column, sample)


def said_draft(name: str, column: pyarrow.ChunkedArray, kind: str, options: ReadingOptions) -> Draft | Decision:
    """Read a column as the person says. Raises HubmodelsError where its type cannot be that."""
    words, types = f"{kind}, as column_kinds says", pyarrow.types
    if not is_text(column.type) or kind not in ("number", "date"):
        readable = types.is_integer(column.type) or types.is_floating(column.type) or types.is_decimal(column.type)
        if kind == "date" and readable:
            return Decision(said_whole_dates(column), words)
        readable |= types.is_boolean(column.type) or types.is_duration(column.type) or types.is_time(column.type)
        is_date = types.is_timestamp(column.type) or types.is_date(column.type)
        if types.is_nested(column.type) or (kind == "number" and not readable) or (kind == "date" and not is_date):
            raise HubmodelsError(f"column_kinds: column {name!r} holds {column.type}, which cannot be read as {kind}")
        spans = kind == "number" and (types.is_duration(column.type) or types.is_time(column.type))
        # Text that is said to be text is what everyone expects: readers of texts say it themselves.
        return Decision(
            ColumnKind("duration" if spans else kind), words, trivial=kind == "text" and is_text(column.type)
        )
    sample = take_sample(column)
    if kind == "date":
        whole = compute.all(compute.match_substring_regex(column, r"^(\d{8,})?$")).as_py()
        if sample and whole and not looks_like_dates(sample):
            return Decision(said_whole_dates(as_whole("", column)), "date, as column_kinds says")
        return replace(date_draft(column, sample, options), said=True)
    numbers = [text for text in sample if any(sign.isdigit() for sign in text)]
    for cells in (sample, numbers, numbers[: len(numbers) // 2]):
        if formats := guess_formats(cells, options.decimal):
            return replace(number_draft(column, formats), said=True)
    return Draft((ColumnKind("number"),), said=True)


def said_whole_dates(values: pyarrow.ChunkedArray) -> ColumnKind:
    """Read whole numbers as the dates that they are said to be."""
    ends = compute.min_max(compute.cast(values, pyarrow.int64(), safe=False)).as_py()
    form = guess_whole_dates("time", ends["min"] or 0, ends["max"] or 0) or "compact"
    return ColumnKind("date", {"whole": form, "precision": "s" if form in ("compact", "s") else "us"})


def take_sample(column: pyarrow.ChunkedArray) -> list[str]:
    """Take cells that are no gaps, trimmed, drawn at random from a column: always the same ones."""
    cells: list[str] = []
    if len(column) > 2 * SAMPLE:
        indices = np.sort(np.random.default_rng(0).integers(len(column), size=2 * SAMPLE))
        cells = present_cells(column.take(pyarrow.array(indices)))
    if len(cells) < SAMPLE // 5:  # a short column, or nearly all gaps
        cells = present_cells(column)
    if len(cells) > SAMPLE:
        cells = [cells[index] for index in np.sort(np.random.default_rng(0).permutation(len(cells))[:SAMPLE])]
    return cells


def present_cells(column: pyarrow.ChunkedArray) -> list[str]:
    """Give the cells that are no gaps, trimmed; of very many the first."""
    cells: list[str] = []
    for chunk in column.chunks:
        text = trimmed(chunk)
        cells += text.filter(compute.invert(are_gaps(text)))[: 20 * SAMPLE].to_pylist()
        if len(cells) > 20 * SAMPLE:
            break
    return cells


def number_draft(column: pyarrow.ChunkedArray, formats: list[NumberFormat]) -> Draft:
    """Draft a column of numbers: of two formats the one that reads more cells, or both where neither does."""
    choices = tuple(ColumnKind("number", form.to_dict()) for form in formats)
    if len(choices) > 1:
        counts = [examine("", column, choice)[0].count for choice in choices]
        choices = tuple(choice for choice, count in zip(choices, counts, strict=True) if count == min(counts))
    form = formats[0] if len(choices) > 1 else NumberFormat.of(choices[0].format)
    decisive = len(choices) == 1 and (form.decimal == "," or has_mark(column, "."))
    return Draft(choices, form.decimal if decisive else None)


def has_mark(column: pyarrow.ChunkedArray, mark: str) -> bool:
    """Tell whether a cell among the first ones holds a mark."""
    head = column.slice(0, SAMPLE)
    return bool(compute.any(compute.match_substring(head, mark)).as_py())


def date_draft(column: pyarrow.ChunkedArray, sample: list[str], options: ReadingOptions) -> Draft:
    """Draft a column of dates: the order that reads more cells, or both where neither does."""
    counts = sum_counts(column, count_dates)
    order = options.date_order
    orders: tuple[str, ...] = ("dmy",)
    if order is not None:
        orders = (order,)
    elif counts.dmy != counts.mdy:
        orders = ("dmy",) if counts.dmy > counts.mdy else ("mdy",)
    elif counts.numeric:  # dots are written where the day stands first
        dotted = sum("." in text[:6] for text in sample) > len(sample) / 2
        orders = ("dmy", "mdy") if dotted else ("mdy", "dmy")
    precision = "us" if counts.fractions else "s"
    zone = {"zone": "UTC"} if counts.zoned else {}
    common: dict[str, str] = {"precision": precision, **zone}
    if order is None and not counts.numeric:  # every cell begins with the year, or names the month
        return Draft((ColumnKind("date", common),))
    choices = tuple(ColumnKind("date", {"order": order, **common}) for order in orders)
    return Draft(choices, orders[0] if len(orders) == 1 and counts.numeric else None)


def sum_counts(column: pyarrow.ChunkedArray, count: Callable[[pyarrow.Array], DateCount]) -> DateCount:
    """Add up what is counted of each chunk."""
    return sum((count(chunk) for chunk in column.chunks), DateCount())


def is_clock(sample: list[str]) -> bool:
    """Tell whether at least nine of ten cells are durations or times of day."""
    seconds = read_chunk(pyarrow.array(sample, pyarrow.string()), ColumnKind("duration"))
    return len(sample) - seconds.null_count >= 0.9 * len(sample)


def examine(name: str, column: pyarrow.ChunkedArray, kind: ColumnKind) -> tuple[Unfit, int, list[str]]:
    """Read a whole column, one chunk in memory at a time.

    Returns:
        The cells that do not fit, how many are no gaps, and the words for gaps, the first ones.
    """
    unfit, present, first_row = Unfit(), 0, 0
    words: list[str] = []
    for chunk in column.chunks:
        values = read_chunk(chunk, kind)
        unfit.look(chunk, values, first_row)
        if values.null_count > chunk.null_count and len(words) < 8:
            text = trimmed(chunk).drop_null()
            gaps = text.filter(are_gaps(text)).unique().to_pylist()
            words += [word for word in gaps if word not in words]
        present += len(values) - values.null_count
        first_row += len(chunk)
    return unfit, present + unfit.count, words[:8]


def describe_format(kind: ColumnKind) -> str:
    """Say how a column is written, nothing where it is as usual."""
    if kind.kind == "date":
        zone = "times with a zone are read in UTC" if kind.format.get("zone") else ""
        return "; ".join(filter(None, (ORDERS.get(kind.format.get("order", "")), zone)))
    return "in seconds" if kind.kind == "duration" else NumberFormat.of(kind.format).describe()


def refine(name: str, column: pyarrow.ChunkedArray, decision: Decision) -> Decision:
    """Look at a column of numbers once more: codes stay text, whole numbers may be dates or count the rows."""
    form = NumberFormat.of(decision.kind.format)
    if form.plain:
        counts = [count_codes(chunk) for chunk in column.chunks]
        num_codes = sum(count for count, _ in counts)
        widths = all(one_width for _, one_width in counts)
        if num_codes and (widths or not bearable(num_codes, len(column) - column.null_count)):
            text = f"codes: {num_codes:,} whole numbers begin with 0 or have more digits than a number holds"
            return Decision(ColumnKind("category"), text, remedy=f"column_kinds: {{{name}: number}}")
    if not is_whole(column, decision.kind):
        return decision
    whole = replace(decision, kind=replace(decision.kind, kind="whole number"))
    if not form.plain:
        return whole
    other = decide_whole(name, column, read_column(name, column, whole.kind))
    if other is None or (other.kind.kind == "category"):
        return whole
    return replace(other, kind=replace(other.kind, format={**decision.kind.format, **other.kind.format}))


def is_whole(column: pyarrow.ChunkedArray, kind: ColumnKind) -> bool:
    """Tell whether all numbers of a column are written as whole ones: 1, not 1.0."""
    form = NumberFormat.of(kind.format)
    if has_mark(column, form.decimal):
        return False
    marks = rf"[eE]|\d{'[.]' if form.decimal == '.' else ','}\d"
    for chunk in column.chunks:
        values = read_chunk(chunk, kind)
        fractions: Any = compute.not_equal(values, compute.floor(values))
        if compute.any(fractions).as_py():
            return False
        cells = compute.if_else(compute.is_valid(values), chunk, pyarrow.scalar(None, chunk.type))
        if compute.any(compute.match_substring_regex(cells, marks)).as_py():
            return False
    return True


def unit_words(sample: list[str]) -> str | None:
    """Say of text that holds numbers with units, several or not on all of them, why these are no numbers."""
    matches = [match for text in sample if (match := WITH_UNITS.fullmatch(text)) is not None]
    spans = [match for match in matches if len(SPAN.findall(match[0])) > 1]
    if len(set(sample)) <= MOST_CODES or len(matches) < NEARLY * len(sample):
        return None
    if len(spans) > len(sample) / 2:
        return f"numbers with several units such as {shorten(spans[0][0])}; durations are read as 1:23:45"
    units = Counter(match["unit"] or "" for match in matches)
    if len(units) < 2 or len(units) > MOST_UNITS:
        return None
    counted = ", ".join(f"{unit!r} {count / len(sample):.0%}" for unit, count in units.most_common(5) if unit)
    without = f", none {units[''] / len(sample):.0%}" if units[""] else ""
    return f"numbers whose unit is not the same in all rows ({counted}{without}): write one unit, or none"


def share_words(share: float) -> str:
    """Say a share that is not the whole in percent, never as 100 %."""
    return f"about {share:.0%}" if share < 0.995 else "more than 99%"


def rows_of_cell(column: pyarrow.ChunkedArray, cell: str) -> list[int]:
    """Return the first rows in which a trimmed cell stands."""
    rows: list[int] = []
    first_row = 0
    for chunk in column.chunks:
        equal = compute.indices_nonzero(compute.equal(compute.utf8_trim_whitespace(chunk), cell))
        rows += [first_row + row.as_py() for row in equal[: SHOWN_ROWS - len(rows)]]
        first_row += len(chunk)
        if len(rows) >= SHOWN_ROWS:
            break
    return rows


def text_decision(name: str, column: pyarrow.ChunkedArray, sample: list[str]) -> Decision | None:
    """Say of text that is nearly a column of numbers why it is none; None of other text."""
    for size in (1, 2, 5):
        numbers = [text for text in sample if text[:1].isdigit() or text[:size].strip("-+$€£¥( ")[:1].isdigit()]
        if NEARLY * len(sample) <= len(numbers) < len(sample) and guess_formats(numbers):
            other = next(text for text in sample if text not in numbers)
            share = share_words(len(numbers) / len(sample))
            cell = describe_cell(other, rows_of_cell(column, other))
            text = f"text: {share} of its values are numbers, others such as {cell} are not"
            return Decision(ColumnKind("text"), text, True, f"column_kinds: {{{name}: number}}")
    if units := unit_words(sample):
        return Decision(ColumnKind("text"), f"text: {units}", True)
    cells = pyarrow.array(sample, pyarrow.string())
    dates = np.any([~np.isnat(read_dates(cells, order)) for order in ("dmy", "mdy")], axis=0)
    if np.count_nonzero(dates) >= NEARLY * len(sample):
        other = sample[int(np.argmin(dates))]
        cell = describe_cell(other, rows_of_cell(column, other))
        text = f"text: {share_words(dates.mean())} of its values are dates, but not {cell}"
        if dates.all():
            text = "text: its values are dates, but not all in one order of day and month"
        return Decision(ColumnKind("text"), text, True, f"column_kinds: {{{name}: date}}")
    return Decision(ColumnKind("text"), "text", trivial=True)
