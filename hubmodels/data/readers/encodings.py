"""The encoding of a text file, by its bytes."""

import codecs
import itertools
import re
from dataclasses import dataclass
from pathlib import Path

from ...errors import HubmodelsError, nearest
from .archives import open_bytes

SAMPLE_BYTES = 16_384
MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# Beside cp1252, what files in other scripts come in.
OTHERS = ["cp1250", "cp1251", "cp1253", "cp1254", "koi8_r", "shift_jis", "euc_jp", "gb18030", "big5", "euc_kr"]
COMMON = "utf-8, utf-16, cp1252, latin-1, cp1250, cp1251, shift_jis, gb18030"


@dataclass(frozen=True)
class TextScan:
    """Holds what the bytes of a whole text file tell."""

    encoding: str
    blank_lines: bool  # between others
    num_quotes: int


def scan_text(path: Path, given: str | None, remembered: bool) -> TextScan:
    """Find the encoding of a text file: by its byte order mark, else UTF-8 where that fits, else by its letters.

    Args:
        path: of the file, which may be compressed.
        given: the encoding that a person said, or with `remembered` that of the training's files.
        remembered: the bytes decide where they speak against what is given.
    """
    encoding = given if given and not remembered else None
    decoder = codecs.getincrementaldecoder("utf-8")()
    only_ascii, blank_lines, num_quotes, tail = True, False, 0, b""
    with open_bytes(path) as file:
        start = file.read(2_000)
        encoding = encoding or by_first_bytes(start)
        bare = encoding if encoding not in ("utf-16", "utf-32") else f"{encoding}-le"
        line_break, carriage_return, quote = (sign.encode(bare or "utf-8") for sign in '\n\r"')
        blank = re.compile(b"%s(%s)?%s[^\r\n]" % (line_break, carriage_return, line_break))
        for chunk in itertools.chain([start], iter(lambda: file.read(2**20), b"")):
            if encoding is None:
                only_ascii = only_ascii and chunk.isascii()
                try:
                    decoder.decode(chunk)
                except UnicodeDecodeError as error:
                    encoding = (None if given == "utf-8" else given) or by_letters(tail + chunk, error.start)
            num_quotes += chunk.count(quote)
            blank_lines = blank_lines or blank.search(tail[-16:] + chunk) is not None
            tail = chunk[-64:]
    if encoding is None:
        encoding = given if given and only_ascii and is_superset_of_ascii(given) else "utf-8"
    return TextScan(encoding, blank_lines, num_quotes)


def by_first_bytes(head: bytes) -> str | None:
    """Tell an encoding by a byte order mark, or by the zeros that UTF-16 has between the letters of ASCII."""
    for mark, encoding in MARKS:
        if head.startswith(mark):
            return encoding
    some = head[:2_000]
    even, odd = some[0::2].count(0), some[1::2].count(0)
    if len(some) >= 8 and max(even, odd) > 0.4 * (len(some) // 2) and min(even, odd) < 0.05 * len(some):
        return "utf-16-le" if odd > even else "utf-16-be"
    return None


def by_letters(content: bytes, first_odd: int) -> str:
    """Choose an encoding of one or two bytes a letter for text that is no UTF-8.

    Western text has few letters outside of ASCII, and is cp1252; others are told by charset_normalizer."""
    sample = content[max(0, first_odd - SAMPLE_BYTES // 2) :][: SAMPLE_BYTES * 4]
    # Lines without other letters tell nothing.
    lines = [line for line in re.split(rb"[\r\n]+", sample) if not line.isascii()]
    sample = b"\n".join(lines)[:SAMPLE_BYTES]
    letters = re.findall(rb"[A-Za-z\x80-\xff]", sample)
    share = sum(letter >= b"\x80" for letter in letters) / max(len(letters), 1)
    if share < 0.3 and decodes(sample, "cp1252"):
        return "cp1252"
    from charset_normalizer import from_bytes

    best = from_bytes(sample, cp_isolation=[*OTHERS, "cp1252"]).best()
    if best is not None:
        return best.encoding
    return "cp1252" if decodes(content, "cp1252") else "latin-1"


def decodes(content: bytes, encoding: str) -> bool:
    """Tell whether bytes are text of an encoding; their last letter may be cut."""
    try:
        codecs.getincrementaldecoder(encoding)().decode(content)
    except UnicodeDecodeError:
        return False
    return True


def is_superset_of_ascii(encoding: str) -> bool:
    """Tell whether a file of ASCII is a file of this encoding."""
    return "az,09".encode(encoding) == b"az,09"


def check_encoding(name: str) -> str:
    """Return Python's name of an encoding. Raises HubmodelsError where there is none of this name."""
    try:
        return codecs.lookup(name).name
    except LookupError:
        raise HubmodelsError(
            f"unknown encoding {name!r}{nearest(name, COMMON.split(', '))}; encodings are {COMMON} and more"
        ) from None
