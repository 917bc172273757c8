"""Which config fields a head reads, from the source of its family alone: help lists these and imports no torch.

A head reads what stands as `config.NAME` in its class and in every class, function and constant that is named from
there on, in the family's modeling files; methods and properties of the config stand for the fields that they read.
"""

import ast
import functools
from pathlib import Path

MODELS = Path(__file__).parent.parent / "models"


def used_config_fields(family: str, head: str) -> set[str]:
    """Return the names that the head `<Family><head>` reads of its config, directly or through what it is built of."""
    definitions = _definitions(family)
    todo = [name for name in definitions if name.endswith(head) and name.removesuffix(head).isalnum()]
    reached: set[str] = set()
    names: set[str] = set()
    while todo:
        name = todo.pop()
        if name in reached or name not in definitions:
            continue
        reached.add(name)
        attributes, references = definitions[name]
        names |= attributes
        todo += references
    members = _config_members(family)
    pending = list(names)
    while pending:
        for inner in members.get(pending.pop(), set()) - names:
            names.add(inner)
            pending.append(inner)
    return names


@functools.cache
def _definitions(family: str) -> dict[str, tuple[set[str], set[str]]]:
    """Return of each definition at the top of the modeling files what it reads of the config, and what it names."""
    definitions: dict[str, tuple[set[str], set[str]]] = {}
    for path in sorted((MODELS / family).glob("modeling_*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            references = {item.id for item in ast.walk(node) if isinstance(item, ast.Name)}
            reads = _attributes(node, "config") | _reads_of_transformers(references), references
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                definitions[node.name] = reads
            elif isinstance(node, ast.Assign):
                definitions |= {target.id: reads for target in node.targets if isinstance(target, ast.Name)}
    return definitions


@functools.cache
def _config_members(family: str) -> dict[str, set[str]]:
    """Return of each method and property of the family's config class what it reads of the config itself."""
    tree = ast.parse((MODELS / family / f"configuration_{family}.py").read_text(encoding="utf-8"))
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    methods = [node for kind in classes for node in kind.body if isinstance(node, ast.FunctionDef)]
    return {method.name: _attributes(method, "self") for method in methods}


def _attributes(tree: ast.AST, owner: str) -> set[str]:
    """Return the attributes of `owner`, as `config.NAME` and `self.config.NAME`, and names asked of it by getattr."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and _is(node.value, owner):
            names.add(node.attr)
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "getattr" and _is(node.args[0], owner):
            names |= {str(item.value) for item in node.args[1:2] if isinstance(item, ast.Constant)}
    return names


def _reads_of_transformers(names: set[str]) -> set[str]:
    """Return what transformers' base class reads for a class: whether weights that it declares as tied are tied."""
    return {"tie_word_embeddings"} if "_tied_weights_keys" in names else set()


def _is(node: ast.AST, owner: str) -> bool:
    """Tell whether an expression is the owner: a name, or an attribute of that name."""
    return getattr(node, "id", None) == owner or getattr(node, "attr", None) == owner
