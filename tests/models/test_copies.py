"""What uploaded files repeat, as they can import their siblings only: every copy is marked, and all are equal."""

import ast
import itertools
from collections import defaultdict
from pathlib import Path

import pytest

import hubmodels

PACKAGE = Path(hubmodels.__file__).parent
MARK = "# Copied in every family that needs it; tests/models/test_copies.py keeps the copies equal."
FILES = sorted([*PACKAGE.glob("models/*/*.py"), *PACKAGE.glob("processors/*.py")])


class Definition:
    """A function, class, method or constant of an uploaded file."""

    def __init__(self, path: Path, node: ast.stmt, lines: list[str]) -> None:
        self.path, self.node = path, node
        self.name = node.targets[0].id if isinstance(node, ast.Assign) else node.name
        first = min([node.lineno, *(decorator.lineno for decorator in getattr(node, "decorator_list", []))])
        above = itertools.takewhile(lambda line: line.strip().startswith("#"), reversed(lines[: first - 1]))
        self.is_marked = MARK in [line.strip() for line in above]
        # What travels together: a family's files, or a processor's.
        self.group = path.parent.name if path.parent.parent.name == "models" else path.stem

    @property
    def source(self) -> str:
        """The code and its docstring, whatever the indentation and the comments."""
        return ast.unparse(self.node)

    @property
    def code(self) -> str:
        """The code without docstrings."""
        tree = ast.parse(self.source)
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node) is not None:
                node.body = node.body[1:] or [ast.Pass()]
        return ast.unparse(tree)


def read(path: Path) -> list[Definition]:
    """The definitions in a file; of a marked class the whole, not each method again."""
    text = path.read_text(encoding="utf-8")
    found = []

    def visit(body: list[ast.stmt]) -> None:
        for node in body:
            is_constant = isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
            if is_constant or isinstance(node, ast.FunctionDef | ast.ClassDef):
                found.append(Definition(path, node, text.splitlines()))
                if isinstance(node, ast.ClassDef) and not found[-1].is_marked:
                    visit(node.body)

    visit(ast.parse(text).body)
    return found


DEFINITIONS = [definition for path in FILES for definition in read(path)]
COPIES = defaultdict(list)
for definition in DEFINITIONS:
    if definition.is_marked:
        COPIES[definition.name].append(definition)


def test_the_copies_are_found() -> None:
    assert {"DropPath", "PASSED_TO_ANY_MODEL", "classification_loss", "image_shape", "known_arguments"} <= set(COPIES)


def test_every_mark_is_at_a_definition() -> None:
    marks = sum(path.read_text(encoding="utf-8").count(MARK) for path in FILES)
    assert marks == sum(len(copies) for copies in COPIES.values())


@pytest.mark.parametrize("name", sorted(COPIES))
def test_copies_are_equal(name: str) -> None:
    first, *others = COPIES[name]
    assert others, f"{name} is in {first.path.name} alone: its mark is to go"
    for other in others:
        assert other.source == first.source, f"{name} differs between {first.path.name} and {other.path.name}"


def test_what_is_equal_in_two_families_is_marked() -> None:
    equal = defaultdict(list)
    for definition in DEFINITIONS:
        if isinstance(definition.node, ast.FunctionDef | ast.ClassDef):
            equal[definition.name, definition.code].append(definition)
    for (name, _), copies in equal.items():
        if len({copy.group for copy in copies}) > 1:
            unmarked = [copy.path.name for copy in copies if not copy.is_marked]
            assert not unmarked, f"{name} is the same in several families, and without a mark in {unmarked}"
