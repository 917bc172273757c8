"""Damaged and forged release folders: each ends in one clear line, or in the right output."""

import hashlib
import json
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny_release import make_release

from hubmodels.checkpoint import load_exactly
from hubmodels.errors import HubmodelsError
from hubmodels.files import hash_file
from hubmodels.publishing import verify_folder
from hubmodels.publishing.golden import compute_outputs

FILES = (
    ".eval_results/pictures.yaml", "README.md", "config.json", "configuration_mlp.py", "figures/confusion_matrix.png",
    "golden.safetensors", "metrics.json", "model.safetensors", "modeling_mlp.py", "preprocessor_config.json",
    "processing_image.py", "recipe.yaml",
)  # fmt: skip
JSON_FILES = ("config.json", "metrics.json", "preprocessor_config.json")
# What a JSON value is changed to.
VALUES = (None, -1, 10**12, 0.5, "../../etc/passwd", "gelu", [], [[[]]], {}, {"a": 1}, True, [10**9] * 3)

Mutation = Callable[[Path, Path, random.Random], None]  # folder to change, another release, dice


def reseal(folder: Path) -> None:
    """Make the checksums fit again, as somebody who forges a release would."""
    path = folder / "metrics.json"
    metrics = json.loads(path.read_text())
    files = metrics["checksums"]["files"]
    metrics["checksums"]["files"] = {name: hash_file(folder / name) for name in files if (folder / name).is_file()}
    values = {name: value for name, value in metrics.items() if name != "checksums"}
    metrics["checksums"]["metrics"] = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
    path.write_text(json.dumps(metrics))


def truncate(name: str, share: float) -> Mutation:
    def mutate(folder: Path, other: Path, dice: random.Random) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: int(len(content) * share)])

    return mutate


def flip(name: str) -> Mutation:
    def mutate(folder: Path, other: Path, dice: random.Random) -> None:
        content = bytearray((folder / name).read_bytes())
        content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
        (folder / name).write_bytes(bytes(content))

    return mutate


def replace(name: str, source: str) -> Mutation:
    def mutate(folder: Path, other: Path, dice: random.Random) -> None:
        (folder / name).write_bytes((folder / source).read_bytes())

    return mutate


def exchange(*names: str) -> Mutation:
    """Take these files from another release of the same network with other weights."""

    def mutate(folder: Path, other: Path, dice: random.Random) -> None:
        for name in names:
            shutil.copy(other / name, folder / name)

    return mutate


def remove(name: str) -> Mutation:
    return lambda folder, other, dice: (folder / name).unlink()


def places(value: Any, path: tuple = ()) -> list[tuple]:
    """The path of every value in a JSON value."""
    found = [path] if path else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        found += places(item, (*path, key))
    return found


def change_json(name: str, forge: bool) -> Mutation:
    """Change, or remove, one value somewhere in a JSON file; with `forge` its checksum is made to fit."""

    def mutate(folder: Path, other: Path, dice: random.Random) -> None:
        values = json.loads((folder / name).read_text())
        *way, last = dice.choice([place for place in places(values) if name != "metrics.json" or "files" not in place])
        target = values
        for key in way:
            target = target[key]
        if dice.random() < 0.3:
            del target[last]
        else:
            target[last] = dice.choice(VALUES)
        (folder / name).write_text(json.dumps(values))
        if forge:
            reseal(folder)

    return mutate


def forged(mutation: Mutation) -> Mutation:
    def mutate(folder: Path, other: Path, dice: random.Random) -> None:
        mutation(folder, other, dice)
        reseal(folder)

    return mutate


MUTATIONS: dict[str, Mutation] = {}
for name in FILES:
    MUTATIONS |= {f"cut-{share}-{name}": truncate(name, share) for share in (0, 0.1, 0.5, 0.99)}
    MUTATIONS |= {f"flip-{n}-{name}": flip(name) for n in range(4)}
    MUTATIONS[f"remove-{name}"] = remove(name)
    for source in ("model.safetensors", "README.md", "config.json"):
        if name != source:
            MUTATIONS[f"{name}-is-{source}"] = replace(name, source)
for name in ("config.json", "model.safetensors", "golden.safetensors", "preprocessor_config.json"):
    MUTATIONS |= {f"forged-flip-{n}-{name}": forged(flip(name)) for n in range(8)}
    MUTATIONS[f"forged-cut-{name}"] = forged(truncate(name, 0.9))
for name in JSON_FILES:
    MUTATIONS |= {f"json-{n}-{name}": change_json(name, forge=False) for n in range(12)}
MUTATIONS |= {f"forged-metrics-{n}": change_json("metrics.json", forge=True) for n in range(8)}
MUTATIONS |= {f"forged-json-{n}": change_json("config.json", forge=True) for n in range(40)}
MUTATIONS |= {
    "other-weights": exchange("model.safetensors"),
    "other-golden": exchange("golden.safetensors"),
    "other-metrics": exchange("metrics.json"),
    "forged-other-weights": forged(exchange("model.safetensors")),
    "forged-other-golden": forged(exchange("golden.safetensors")),
    "other-weights-and-metrics": exchange("model.safetensors", "metrics.json"),
}


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_release(tmp_path_factory.mktemp("other") / "tiny-classifier", seed=7)


@pytest.fixture(scope="module")
def right(made: Path) -> dict[str, torch.Tensor]:
    return load_file(made / "golden.safetensors")


def test_there_are_at_least_200_mutations() -> None:
    assert len(MUTATIONS) >= 200


@pytest.mark.parametrize("mutation", MUTATIONS.values(), ids=MUTATIONS)
def test_a_mutated_release_is_refused_in_one_line_or_gives_the_right_output(
    mutation: Mutation, folder: Path, other: Path, right: dict[str, torch.Tensor], request: pytest.FixtureRequest
) -> None:
    mutation(folder, other, random.Random(request.node.callspec.id))
    started = time.perf_counter()
    try:
        verification = verify_folder(folder, "the release")
    except HubmodelsError as error:
        message = str(error)
        assert message.startswith("the release is not verified: ")
        assert "\n" not in message
        assert len(message) < 700
    else:
        assert verification.deviation <= 1e-4
        logits = compute_outputs(load_exactly(folder), {"pixel_values": right["inputs.pixel_values"]})["logits"]
        torch.testing.assert_close(logits, right["outputs.logits"])
    assert time.perf_counter() - started < 20


@pytest.mark.parametrize(
    "name",
    [
        "config.json",
        "golden.safetensors",
        "model.safetensors",
        "preprocessor_config.json",
        "recipe.yaml",
        "modeling_mlp.py",
    ],
)
def test_every_flipped_bit_in_a_file_with_a_checksum_is_named(name: str, folder: Path) -> None:
    flip(name)(folder, folder, random.Random(1))
    with pytest.raises(HubmodelsError, match=rf"{name} is not the file that was released: its SHA-256"):
        verify_folder(folder)


def test_weights_of_another_release_are_found_by_the_golden_output_even_with_forged_checksums(
    folder: Path, other: Path
) -> None:
    forged(exchange("model.safetensors"))(folder, other, random.Random(0))
    with pytest.raises(HubmodelsError, match="the golden output is not reproduced: logits deviates"):
        verify_folder(folder)


def test_a_changed_result_is_found(folder: Path) -> None:
    metrics = json.loads((folder / "metrics.json").read_text())
    metrics["results"]["metrics"]["accuracy"]["value"] = 0.99
    (folder / "metrics.json").write_text(json.dumps(metrics))
    with pytest.raises(HubmodelsError, match=r"metrics.json is not what was released"):
        verify_folder(folder)
