"""What each column of a table of series is: the time, the id, a channel, a covariate, or left out; each is said.

A person's options win. What they leave open is decided by what the columns of the training rows hold.
"""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ...errors import HubmodelsError
from ...report import note
from ..contract.columns import choose_column, describe_columns, existing_column, is_number, kind_of
from .series_times import are_steps, is_row_number, is_year, read_times, time_format, time_words

if TYPE_CHECKING:
    import datasets
    import pandas

TIME_NAMES = ("time", "date", "datetime", "timestamp", "ds", "step")
ID_NAMES = ("id", "series_id", "item_id", "unique_id", "sample_id", "case_id")
ID_WORDS = ("id", "store", "shop", "item", "sku", "product", "station", "sensor", "device", "site", "region", "code",
            "customer", "user", "patient", "country", "city", "ticker", "symbol", "name", "group", "key")  # fmt: skip
MAX_ID_CANDIDATES = 8  # columns whose combinations are tried as ids


@dataclass
class Roles:
    """Holds the name of the column of times and how it is read, those of ids, and the channels."""

    time: str | None = None
    time_format: str | None = None
    ids: list[str] = field(default_factory=list)
    channels: list[str] = field(default_factory=list)


@dataclass
class ColumnRoles:
    """Decides the roles of the columns of training rows.

    Args:
        features: of the data set, of which nothing is selected yet.
        columns: the values of all columns that hold one value a row.
        taken: columns that have a role already: targets, covariates, what the person left out.
    """

    features: "datasets.Features"
    columns: "dict[str, pandas.Series]"
    taken: set[str]
    steps_needed: bool = True  # whether a column of whole numbers that count can be nothing but the time

    def of_kinds(self, *kinds: str) -> list[str]:
        """Name the columns without a role that are of these types."""
        return [n for n in self.columns if n not in self.taken and kind_of(self.features[n]).startswith(kinds)]

    def find_time(self, chosen: str | None) -> tuple[str | None, str | None]:
        """Name the column of times, and how it is read. Raises HubmodelsError when there are several to choose from."""
        formats: dict[str, str | None]
        if chosen is not None:
            existing_column(chosen, self.features, "time_column_name")
            formats = {chosen: self.format_of(chosen)}
        else:
            formats = dict.fromkeys(self.of_kinds("timestamp", "date"))
            if not formats:
                texts = {name: self.format_of(name) for name in self.of_kinds("string", "large_string")}
                formats = {name: form for name, form in texts.items() if form or name.lower() in TIME_NAMES}
            numbers = self.of_kinds("int", "uint", "float") if not formats else []
            numbers = [name for name in numbers if not is_row_number(self.columns[name], name)]
            named = [
                name for name in numbers if name.lower() in TIME_NAMES and "float" not in kind_of(self.features[name])
            ]
            dated = {name: self.format_of(name) for name in numbers}
            formats = formats or {name: form for name, form in dated.items() if form and self.ascends(name)}
            formats = formats or dict.fromkeys(named)
            formats = formats or dict.fromkeys(name for name in numbers if are_steps(self.columns[name], name))
            years = [name for name in formats if is_year(self.columns[name], name)]
            formats = {name: formats[name] for name in years} if len(formats) > 1 and len(years) == 1 else formats
        if not formats:
            return None, None
        name = choose_column(list(formats), TIME_NAMES, "time", "time_column_name")
        self.taken.add(name)
        said = chosen is None and name.lower() not in TIME_NAMES
        why = "as asked for" if chosen else "by what it holds" if said else "by its name and what it holds"
        note(
            "columns",
            f"{name} is the time: {time_words(formats[name], self.columns[name])}, {why}",
            column=name,
            kind="time",
            surprising=said,
            remedy=f"time_column_name: {name}",
        )
        return name, None if formats[name] == "iso" else formats[name]

    def format_of(self, name: str) -> str | None:
        """Say how a column is read as times (see `time_format`)."""
        kind = kind_of(self.features[name])
        text_or_number = kind.startswith(("string", "large_string", "int", "uint", "float"))
        return time_format(self.columns[name], name) if text_or_number else None

    def ascends(self, name: str) -> bool:
        """Tell whether whole numbers that can be dates lie as times do: sorted, or with few different ones."""
        values = self.columns[name]
        return bool(
            values.is_monotonic_increasing or values.is_monotonic_decreasing or 2 * values.nunique() <= len(values)
        )

    def find_ids(self, chosen: str | list[str] | None, time: str | None, form: str | None) -> list[str]:
        """Name the columns that together say which series a row is of: by name, and by times that recur within."""
        if chosen is not None:
            names = [chosen] if isinstance(chosen, str) else list(chosen)
            names = [existing_column(name, self.features, "series_id_column_name") for name in names]
        else:
            kinds = ("string", "large_string", "int", "uint", "classes")
            named = [name for name in self.of_kinds(*kinds) if name.lower() in ID_NAMES]
            named = [name for name in named if not self.counts_rows(name)]
            names = [choose_column(named, ID_NAMES, "series id", "series_id_column_name")] if named else []
            if time is not None and self.recur(times := read_times(self.columns[time], time, form), names):
                names += self.more_ids(times, names)
        for name in names:
            by_content = chosen is None and name.lower() not in ID_NAMES
            note(
                "columns",
                f"{name} says which series a row is of: {self.columns[name].nunique():,} different"
                + (", and their times recur" if by_content else ""),
                column=name,
                kind="series id",
                surprising=by_content,
                remedy=f"series_id_column_name: {names[0] if len(names) == 1 else names}",
            )
        self.taken |= set(names)
        return names

    def counts_rows(self, name: str) -> bool:
        """Tell whether each row has an id of its own, as a table's key has: then it names rows, not series."""
        values = self.columns[name]
        return len(values) > 1 and values.is_unique

    def recur(self, times: Any, ids: list[str]) -> bool:
        """Tell whether a time occurs more than once within a series."""
        import pandas

        frame = pandas.DataFrame({name: self.columns[name] for name in ids})
        frame["\0time"] = times
        return bool(frame.duplicated().any())

    def more_ids(self, times: Any, names: list[str]) -> list[str]:
        """Name the fewest columns of few values beside which no time recurs; none where none do."""
        texts = self.of_kinds("string", "large_string", "classes")
        numbers = [
            name
            for name in self.of_kinds("int", "uint")
            if any(
                word in name.lower().replace("-", "_").split("_") or name.lower().endswith(word) for word in ID_WORDS
            )
        ]
        candidates = [name for name in (*texts, *numbers) if name not in names]
        candidates = [name for name in candidates if 1 < self.columns[name].nunique() <= len(times) / 2]
        for count in (1, 2, 3):
            for chosen in itertools.combinations(candidates[:MAX_ID_CANDIDATES], count):
                if not self.recur(times, [*names, *chosen]):
                    return list(chosen)
        return []

    def find_channels(self, chosen: list[str] | None, targets: list[str], ids: list[str]) -> list[str]:
        """Name the channels, and say why other columns are left out. Raises HubmodelsError when there is none."""
        if chosen is not None:
            return number_columns(self.features, chosen, (), "channel_column_names")
        channels, reasons = [], {}
        for name, values in self.columns.items():
            if name in targets:
                channels.append(name)
            elif name not in self.taken:
                reason = self.why_no_channel(name, values, ids)
                if reason is None:
                    channels.append(name)
                else:
                    reasons[name] = reason
        for name, (words, surprising, remedy) in reasons.items():
            note(
                "columns",
                f"{name} is left out: {words}",
                column=name,
                kind="left out",
                surprising=surprising,
                remedy=remedy,
            )
        if not channels:
            why = "".join(f"; {name} is left out: {reason[0]}" for name, reason in reasons.items())
            raise HubmodelsError(
                f"the data set has no column of numbers for the series; its columns are "
                f"{describe_columns(self.features)}{why} (name them with --channel_column_names)"
            )
        return channels

    def why_no_channel(self, name: str, values: "pandas.Series", ids: list[str]) -> tuple[str, bool, str | None] | None:
        """Say why a column without a role is no channel, whether that is surprising, and the remedy; None if it is."""
        asked = f"channel_column_names: [..., {name}]"
        if not is_number(self.features[name]):
            covariate = f"static_column_names: [{name}] or future_column_names: [{name}]"
            return (
                "it holds " + kind_of(self.features[name]).replace("string", "text") + ", not numbers",
                False,
                covariate,
            )
        if values.isna().all():
            return "it has no value", True, None
        if is_row_number(values, name):
            return "it is the number of the row (a table's index)", False, asked
        if values.dropna().nunique() == 1 and abs(float(values.dropna().iloc[0])) != float("inf"):
            return f"it is constant, {values.dropna().iloc[0]} in every row", True, asked
        if is_year(values, name):
            return "it is a year, which is time and no series", True, asked
        if ids and values.groupby([self.columns[one] for one in ids]).nunique().max() <= 1:
            return "it is constant in each series", True, f"static_column_names: [{name}]"
        return None


def number_columns(
    features: "datasets.Features", chosen: list[str] | None, others: Iterable[str], flag: str
) -> list[str]:
    """Name the chosen columns, which must hold numbers, or all columns of numbers but `others`.

    Raises HubmodelsError when there is none."""
    if chosen is None:
        taken = set(others)
        chosen = [name for name in features if name not in taken and is_number(features[name])]
        if not chosen:
            raise HubmodelsError(
                f"the data set has no column of numbers for the series; its columns are {describe_columns(features)} "
                f"(name them with --{flag})"
            )
    for name in chosen:
        if not is_number(features[existing_column(name, features, flag)]):
            raise HubmodelsError(f"column {name!r} holds {kind_of(features[name])}, not numbers (--{flag})")
    return list(chosen)


def say_channels(channels: list[str], targets: list[str], known: list[str], static: list[str]) -> None:
    """Say what is forecast, what is only seen, what is known ahead, and what is constant in each series."""
    for names, kind, text in (
        ([name for name in channels if not targets or name in targets], "forecast", "is forecast"),
        ([name for name in channels if targets and name not in targets], "seen", "is seen, and not forecast"),
        (known, "known ahead", "is known ahead of a forecast"),
        (static, "static", "is constant in each series"),
    ):
        for name in names:
            note("columns", f"{name} {text}", column=name, kind=kind)
