"""Which files hold plain text: by their endings, else by their first bytes."""

from pathlib import Path, PurePosixPath

from .archives import OPENERS, open_bytes, table_suffix
from .encodings import by_first_bytes

PLAIN_KINDS = (".txt", ".text")
SOURCE_KINDS = (
    ".md", ".markdown", ".rst", ".adoc", ".org", ".tex", ".bib", ".html", ".htm", ".xhtml", ".xml", ".css", ".log",
    ".py", ".pyi", ".js", ".mjs", ".jsx", ".tsx", ".java", ".kt", ".scala", ".groovy", ".c", ".h", ".cc", ".cpp",
    ".cxx", ".hpp", ".cs", ".go", ".rs", ".rb", ".php", ".pl", ".pm", ".swift", ".m", ".mm", ".r", ".jl", ".lua", ".hs",
    ".ml", ".fs", ".erl", ".ex", ".exs", ".clj", ".lisp", ".el", ".scm", ".dart", ".sh", ".bash", ".zsh", ".ps1",
    ".bat", ".sql", ".yaml", ".yml", ".toml", ".ini", ".cfg", ".vue", ".f90", ".f", ".asm", ".s", ".v", ".vhd",
    ".tcl", ".nim", ".zig", ".sol", ".srt", ".vtt", ".abc", ".po",
)  # fmt: skip
COMPANIONS = ("readme", "license", "licence", "copying", "notice", "changelog", "citation", "requirements")
HEAD_BYTES = 8_192  # of a file without a known ending, that tell whether it is text


def text_suffix(name: str) -> str | None:
    """Return the ending of a text file, without that of its compression; None where it says something else."""
    suffixes = [suffix.lower() for suffix in PurePosixPath(name).suffixes[-2:]]
    if len(suffixes) == 2 and suffixes[1] in OPENERS:
        suffixes.pop()
    return suffixes[-1] if suffixes and suffixes[-1] in (*PLAIN_KINDS, *SOURCE_KINDS) else None


def is_companion(name: str) -> bool:
    """Tell whether a file speaks about data or code that lie beside it: README.md, LICENSE, requirements.txt."""
    return PurePosixPath(name).name.lower().startswith(COMPANIONS)


def is_text_file(path: Path) -> bool:
    """Tell whether a file is text, by its ending or, where it has none that is known, by its first bytes."""
    if text_suffix(path.name) is not None:
        return True
    if table_suffix(path)[1] is not None:
        return False
    with open_bytes(path) as file:
        head = file.read(HEAD_BYTES)
    if not head or by_first_bytes(head) is not None:
        return bool(head)
    controls = sum(byte < 32 and byte not in b"\t\n\r\f\x1b" for byte in head)
    return controls == 0 and not head.startswith((b"%PDF", b"{\\rtf", b"%!PS"))
