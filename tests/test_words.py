"""What hubmodels/ says reads alike: docstrings begin with a verb, names say what they hold, pieces are short."""

import ast
import functools
import inspect
import re
from pathlib import Path

import pytest

import hubmodels

PACKAGE = Path(hubmodels.__file__).parent
FILES = sorted(str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py"))
NON_VERBS = {
    "what", "of", "whether", "where", "which", "how", "that", "the", "a", "an", "every", "each", "one", "all", "two",
    "no", "none", "in", "from", "with", "for", "when", "its", "this", "these", "it", "to", "on", "by", "if", "our",
    "some", "options", "args", "attributes", "returns", "raises",
}  # fmt: skip
VAGUE_NAMES = {"found", "parts", "place", "places", "wanted", "own", "kept"}
MOST_WORDS, MOST_LINES, LONG_FUNCTION, MOST_LONG_FUNCTIONS, LONGEST_FUNCTION = 25, 500, 60, 4, 70

Function = ast.FunctionDef | ast.AsyncFunctionDef


def begins_otherwise(docstring: str) -> bool:
    """Whether a docstring begins with no verb: with a word of NON_VERBS, in lower case, or with a sign."""
    first = docstring.split()[0]
    return first.rstrip(",.:").lower() in NON_VERBS or not re.match(r"[A-Z]", first)


def long_sentences(docstring: str) -> list[str]:
    """The sentences before the sections of arguments and results that have too many words."""
    prose = re.split(r"(?:Args|Returns):", docstring)[0]
    return [sentence for sentence in re.split(r"(?<=[.;:])\s", prose) if len(sentence.split()) > MOST_WORDS]


def vague_names(tree: ast.AST) -> list[str]:
    """The variables, fields and arguments of VAGUE_NAMES that are made in a tree."""
    made = [node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)]
    return [name for name in made if name in VAGUE_NAMES] + [
        node.arg for node in ast.walk(tree) if isinstance(node, ast.arg) and node.arg in VAGUE_NAMES
    ]


def long_functions(tree: ast.AST) -> list[tuple[str, int]]:
    """Name and lines of each function that is too long."""
    functions = [node for node in ast.walk(tree) if isinstance(node, Function)]
    lengths = [(node.name, (node.end_lineno or 0) - node.lineno + 1) for node in functions]
    return [(name, length) for name, length in lengths if length > LONG_FUNCTION]


@functools.cache
def parse(name: str) -> ast.Module:
    """The tree of a file of the package."""
    return ast.parse((PACKAGE / name).read_text(encoding="utf-8"))


def docstrings(tree: ast.AST, *kinds: type) -> list[tuple[str, str]]:
    """Name and docstring of what has one."""
    nodes = [node for node in ast.walk(tree) if isinstance(node, kinds)]
    return [(node.name, text) for node in nodes if (text := ast.get_docstring(node))]


@pytest.mark.parametrize("name", FILES)
def test_the_docstring_of_a_function_begins_with_a_verb(name: str) -> None:
    texts = docstrings(parse(name), ast.FunctionDef, ast.AsyncFunctionDef)
    assert [(function, text) for function, text in texts if begins_otherwise(text)] == []


@pytest.mark.parametrize("name", FILES)
def test_a_sentence_of_a_docstring_is_short(name: str) -> None:
    texts = docstrings(parse(name), ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    assert [(owner, sentence) for owner, text in texts for sentence in long_sentences(text)] == []


@pytest.mark.parametrize("name", FILES)
def test_a_variable_says_what_it_holds(name: str) -> None:
    assert vague_names(parse(name)) == []


def test_functions_are_short() -> None:
    long = [(name, *function) for name in FILES for function in long_functions(parse(name))]
    assert len(long) <= MOST_LONG_FUNCTIONS, long
    assert [function for function in long if function[-1] > LONGEST_FUNCTION] == []


def test_files_are_short() -> None:
    lines = {name: (PACKAGE / name).read_text(encoding="utf-8").count("\n") for name in FILES}
    assert {name: count for name, count in lines.items() if count > MOST_LINES} == {}


def test_all_files_are_read() -> None:
    assert {"use.py", "models/mlp/modeling_mlp.py", "publishing/folder.py", "tasks/contract/problem.py"} <= set(FILES)
    assert len(FILES) > 200


@pytest.mark.parametrize(
    ("docstring", "otherwise"),
    [
        ("Return the rows.", False),
        ("Draw, and write.", False),
        ("The rows.", True),
        ("What rows are.", True),
        ("`rows` as they are.", True),
        ("(B, T) -> (B, D).", True),
        ("rows.", True),
        ("All, in order.", True),
    ],
)
def test_another_beginning_is_seen(docstring: str, otherwise: bool) -> None:
    assert begins_otherwise(docstring) == otherwise


def test_long_sentences_vague_names_and_long_functions_are_seen() -> None:
    words = " ".join(["word"] * MOST_WORDS)
    assert long_sentences(f"{words.capitalize()}. Short.\n\nArgs:\n    x: {words} {words}.") == []
    assert len(long_sentences(f"Return {words}. Short.")) == 1
    source = inspect.cleandoc(
        """
        def gather(own, rows):
            found = [row for place in rows for row in place]
            for kept, row in found: pass
            return {"parts": found}
        """
    )
    assert sorted(vague_names(ast.parse(source))) == ["found", "kept", "own", "place"]
    body = "\n    pass"
    assert long_functions(ast.parse("def f():" + body * (LONG_FUNCTION - 1))) == []
    assert long_functions(ast.parse("def f():" + body * LONG_FUNCTION)) == [("f", LONG_FUNCTION + 1)]
