"""Releases made to do harm: refused in one line, and nothing of them is run."""

import hashlib
import io
import json
import os
import pickle
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_release import make_release

from hubmodels import families
from hubmodels.errors import HubmodelsError
from hubmodels.files import hash_file
from hubmodels.publishing import check_release, verify_folder
from hubmodels.publishing.code import refresh_code
from hubmodels.publishing.layout import check_names
from hubmodels.recipe import Recipe
from hubmodels.safetensors_header import read_safetensors_header


def forge(folder: Path) -> None:
    """Checksums that fit whatever the folder holds now."""
    path = folder / "metrics.json"
    metrics = json.loads(path.read_text())
    names = [file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()]
    files = {name: hash_file(folder / name) for name in names if name not in ("README.md", "metrics.json")}
    values = {name: value for name, value in metrics.items() if name != "checksums"}
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
    path.write_text(json.dumps(metrics | {"checksums": {"metrics": digest, "files": files}}))


def change_config(folder: Path, **changes: Any) -> None:
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(values | changes))
    forge(folder)


class Harm:
    """Creates a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple:
        return (os.mkdir, (str(self.marker),))


# --- pickle and other programs ---


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_pickle_under_the_name_of_the_weights_is_not_opened(folder: Path, tmp_path: Path, protocol: int) -> None:
    (folder / "model.safetensors").write_bytes(pickle.dumps(Harm(tmp_path / "harm"), protocol=protocol))
    forge(folder)
    with pytest.raises(HubmodelsError, match=r"model\.safetensors is a pickle"):
        verify_folder(folder)
    assert not (tmp_path / "harm").exists()


def test_a_torch_save_file_under_the_name_of_the_weights_is_not_opened(folder: Path, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    torch.save({"weight": Harm(tmp_path / "harm")}, buffer)
    (folder / "model.safetensors").write_bytes(buffer.getvalue())
    forge(folder)
    with pytest.raises(HubmodelsError, match="ZIP archive"):
        verify_folder(folder)
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize(
    "name", ["pytorch_model.bin", "model.pt", "x/scaler.pkl", "weights.ckpt", "data.npy", "MODEL.PTH"]
)
def test_a_kind_of_file_that_can_run_code_is_refused_by_its_name(folder: Path, name: str) -> None:
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"anything")
    forge(folder)
    with pytest.raises(HubmodelsError, match="can run code when it is loaded"):
        verify_folder(folder)


@pytest.mark.parametrize(
    "name", ["run.sh", "a.exe", "lib.so", "index.html", "weights.h5", "x.zip", "Makefile", ".bashrc"]
)
def test_a_kind_of_file_that_no_release_holds_is_refused(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"anything")
    forge(folder)
    with pytest.raises(HubmodelsError, match="no kind of file that a release holds"):
        verify_folder(folder)


@pytest.mark.parametrize("start", [b"\x7fELF\x02\x01", b"MZ\x90\x00", b"#!/bin/sh\n", b"PK\x03\x04", b"\x80\x05\x95"])
def test_a_program_under_an_innocent_name_is_refused(folder: Path, start: bytes) -> None:
    (folder / "figures" / "confusion_matrix.png").write_bytes(start + b"0" * 100)
    forge(folder)
    with pytest.raises(HubmodelsError, match=r"confusion_matrix\.png is a .*not what its name says"):
        verify_folder(folder)


# --- code ---


def test_code_that_travels_with_the_weights_is_never_run_by_a_verification(folder: Path, tmp_path: Path) -> None:
    for path in folder.glob("*.py"):
        path.write_text(f"import os\nos.mkdir({str(tmp_path / 'harm')!r})\n" + path.read_text())
    forge(folder)
    verification = verify_folder(folder)
    assert not (tmp_path / "harm").exists()
    assert verification.foreign_code == [
        "configuration_mlp.py", "modeling_mlp.py", "modeling_mlp_layers.py", "modeling_mlp_shared.py",
        "modeling_mlp_tables.py", "processing_image.py",
    ]  # fmt: skip
    assert "read it before you trust it" in str(verification)


def test_code_that_is_not_the_installed_one_is_not_published_until_it_is_refreshed(folder: Path) -> None:
    original = (folder / "modeling_mlp.py").read_bytes()
    (folder / "modeling_mlp.py").write_bytes(original + b"\nimport os\n")
    forge(folder)
    with pytest.raises(HubmodelsError, match=r"modeling_mlp\.py is not the code that is installed here"):
        check_release(folder)
    assert refresh_code(folder) == ["modeling_mlp.py"]
    assert (folder / "modeling_mlp.py").read_bytes() == original
    assert check_release(folder).foreign_code == []


def test_code_that_nothing_names_is_refused(folder: Path) -> None:
    (folder / "extra.py").write_text("print('hello')\n")
    forge(folder)
    with pytest.raises(HubmodelsError, match=r"extra\.py is code that neither auto_map nor any file"):
        verify_folder(folder)


@pytest.mark.parametrize("line", ["import requests", "from hubmodels import auto", "    import subprocess_evil"])
def test_code_that_imports_what_it_may_not_is_refused(folder: Path, line: str) -> None:
    text = (folder / "modeling_mlp.py").read_text()
    (folder / "modeling_mlp.py").write_text(f"{text}\ndef later():\n    {line.strip()}\n")
    forge(folder)
    with pytest.raises(HubmodelsError, match=r"modeling_mlp\.py imports (requests|hubmodels|subprocess_evil)"):
        verify_folder(folder)


@pytest.mark.parametrize("reference", ["evil/repo--modeling.Evil", "../../x.Evil", "os.system('x')", 7])
def test_an_auto_map_that_leads_elsewhere_is_refused(folder: Path, reference: Any) -> None:
    change_config(folder, auto_map={"AutoModel": reference})
    with pytest.raises(HubmodelsError, match=r"auto_map of config\.json names .*it must be file\.Class"):
        verify_folder(folder)


# --- names ---


@pytest.mark.parametrize(
    "name",
    ["../evil.md", "a/../../evil.md", "/etc/evil.md", "a//b.md", "./a.md", "a\\..\\evil.md", "C:evil.md", "a\x00.md",
     "a\n.md", "con /x.md", "x" * 300 + ".md", "a./b.md", ""],
)  # fmt: skip
def test_a_file_name_that_could_leave_the_folder_is_refused(name: str) -> None:
    with pytest.raises(HubmodelsError, match="is not safe"):
        check_names(["README.md", name])


def test_names_that_differ_only_in_case_are_refused() -> None:
    with pytest.raises(HubmodelsError, match="differ only in case"):
        check_names(["config.json", "CONFIG.json"])


def test_a_checksum_list_cannot_reach_outside_of_the_folder(folder: Path) -> None:
    metrics = json.loads((folder / "metrics.json").read_text())
    metrics["checksums"]["files"]["../secret.md"] = "0" * 64
    (folder / "metrics.json").write_text(json.dumps(metrics))
    with pytest.raises(HubmodelsError, match=r"'\.\./secret\.md' is not safe"):
        verify_folder(folder)


def test_a_link_is_verified_but_not_published(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "private.md").write_text("private")
    (folder / "notes.md").symlink_to(tmp_path / "private.md")
    verify_folder(folder)
    with pytest.raises(HubmodelsError, match=r"notes\.md is a link"):
        check_release(folder)


# --- safetensors headers ---


def write_header(path: Path, header: Any, data: bytes = b"", length: int | None = None) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
    return path


def entry(begin: int = 0, end: int = 8, shape: Any = (2,), dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape) if isinstance(shape, tuple) else shape, "data_offsets": [begin, end]}


LYING_HEADERS = {
    "longer than the file": ({"a": entry()}, 8, 10**6),
    "longer than memory": ({"a": entry()}, 8, 2**63 - 1),
    "not JSON": (b"{]", 0, None),
    "nested without end": (b"[" * 100_000, 0, None),
    "a list": ([], 0, None),
    "entry is a list": ({"a": []}, 0, None),
    "entry lacks a field": ({"a": {"dtype": "F32", "shape": [2]}}, 8, None),
    "unknown dtype": ({"a": entry(dtype="PICKLE")}, 8, None),
    "negative shape": ({"a": entry(shape=(-2, -1))}, 8, None),
    "fractional shape": ({"a": entry(shape=(2.0,))}, 8, None),
    "shape is true": ({"a": entry(shape=(True, 2))}, 8, None),
    "shape is text": ({"a": entry(shape="22")}, 8, None),
    "shape overflows 64 bits": ({"a": entry(shape=(2**62, 4, 2))}, 8, None),
    "shape is larger than the data": ({"a": entry(shape=(3,))}, 8, None),
    "data beyond the end": ({"a": entry(8, 16)}, 8, None),
    "data end before they begin": ({"a": entry(8, 0)}, 8, None),
    "two tensors overlap": ({"a": entry(), "b": entry(4, 12)}, 12, None),
    "a gap": ({"a": entry(), "b": entry(12, 20)}, 20, None),
    "bytes at the end": ({"a": entry()}, 9, None),
    "bytes are missing": ({"a": entry()}, 7, None),
    "a name stands twice": (b'{"a":%s,"a":%s}' % ((json.dumps(entry()).encode(),) * 2), 8, None),
    "metadata are a list": ({"__metadata__": [], "a": entry()}, 8, None),
}


@pytest.mark.parametrize("case", LYING_HEADERS)
def test_a_header_that_lies_is_refused(case: str, tmp_path: Path) -> None:
    header, size, length = LYING_HEADERS[case]
    path = write_header(tmp_path / "model.safetensors", header, b"\0" * size, length)
    with pytest.raises(HubmodelsError, match=r"model\.safetensors is no whole safetensors file"):
        read_safetensors_header(path)


def test_a_header_that_says_the_truth_is_read(tmp_path: Path) -> None:
    tensors = {
        "a": torch.ones(2, 3),
        "b": torch.ones(4, dtype=torch.bfloat16),
        "empty": torch.ones(0, 5),
        "scalar": torch.tensor(1),
    }
    save_file(tensors, tmp_path / "x.safetensors", {"format": "pt"})
    assert read_safetensors_header(tmp_path / "x.safetensors") == {
        "a": ("F32", (2, 3)), "b": ("BF16", (4,)), "empty": ("F32", (0, 5)), "scalar": ("I64", ()),
    }  # fmt: skip


def test_weights_that_are_missing_are_not_left_at_their_initial_values(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    name = sorted(tensors)[0]
    save_file(
        {key: value for key, value in tensors.items() if key != name}, folder / "model.safetensors", {"format": "pt"}
    )
    forge(folder)
    with pytest.raises(HubmodelsError, match=f"does not fit config.json: it lacks weights {name}"):
        verify_folder(folder)


def test_weights_that_are_left_over_are_refused(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors") | {"backdoor": torch.ones(1)}
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    forge(folder)
    with pytest.raises(HubmodelsError, match=r"does not fit config\.json: it has unknown weights backdoor"):
        verify_folder(folder)


# --- configs and recipes ---


@pytest.mark.parametrize("model_type", ["bert", "hubmodels_cnn", "hubmodels_nothing", None, ["hubmodels_mlp"], 3])
def test_a_config_of_another_type_is_refused(folder: Path, model_type: Any) -> None:
    change_config(folder, model_type=model_type)
    with pytest.raises(HubmodelsError, match=r"config\.json is of the type"):
        verify_folder(folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"hidden_sizes": [10**12]},
        {"hidden_sizes": [10**6, 10**6, 10**6]},
        {"hidden_sizes": [1] * 20_000},
        {"image_size": [2**40, 2**40]},
        {"num_channels": 10**18},
        {"hidden_sizes": [-5]},
        {"hidden_act": "no_such_thing"},
        {"architectures": ["os.system"]},
        {"architectures": "MlpModel"},
        {"architectures": ["MlpConfig"]},
        {"architectures": ["MlpModel"]},
        {"id2label": {str(n): "x" for n in range(100)}},
    ],
)
def test_a_config_that_does_not_fit_its_weights_is_refused_before_anything_is_built(
    folder: Path, changes: dict[str, Any]
) -> None:
    change_config(folder, **changes)
    with pytest.raises(HubmodelsError) as caught:
        verify_folder(folder)
    assert "\n" not in str(caught.value)


def test_a_config_of_a_billion_layers_is_refused_before_it_is_built(tmp_path: Path) -> None:
    values = {"num_channels": 1, "image_size": 8, "hidden_sizes": [4], "depths": [1]}
    folder = make_release(
        tmp_path / "deep",
        model=families.build_model("cnn", "ForImageClassification", values),
        recipe=Recipe(family="cnn", task="image-classification"),
    )
    change_config(folder, depths=[1_000_000])
    with pytest.raises(HubmodelsError, match=r"depths is 1000000, but the weights are only \d+ tensors"):
        verify_folder(folder)


def test_a_config_nested_without_end_is_refused(folder: Path) -> None:
    (folder / "config.json").write_text('{"a": ' * 50_000)
    forge(folder)
    with pytest.raises(HubmodelsError, match=r"config\.json is not JSON"):
        verify_folder(folder)


@pytest.mark.parametrize(
    "text",
    [
        "family: mlp\ntask: [" + "[" * 5000,
        "a: &a [x, x]\nb: &b [*a, *a]\nfamily: mlp\ntask: x\ndata: *b\n",
        "family: !!python/object/apply:os.mkdir [harm]\ntask: x\n",
        "\x00",
        "just text",
    ],
)
def test_a_recipe_made_to_exhaust_memory_or_run_code_is_refused(folder: Path, text: str) -> None:
    (folder / "recipe.yaml").write_text(text)
    forge(folder)
    with pytest.raises(HubmodelsError) as caught:
        verify_folder(folder)
    assert "recipe.yaml" in str(caught.value)
    assert not Path("harm").exists()


# --- what its owner is told before publishing ---

SECRETS = {
    "README.md": "token: hf_" + "a" * 34,
    "recipe.yaml": "# AKIA" + "A" * 16,
    "metrics.json": '{"command": "git clone https://me:hunter2@example.com/x"}',
    "notes.md": "-----BEGIN RSA PRIVATE KEY-----",
    "more.md": "api_key = 'abcdefghijklmnop'",
}


@pytest.mark.parametrize("name", ["README.md", "notes.md", "more.md"])
def test_what_looks_like_a_secret_is_not_published_and_not_repeated(folder: Path, name: str) -> None:
    with open(folder / name, "a") as file:
        file.write(f"\n{SECRETS[name]}\n")
    with pytest.raises(HubmodelsError, match=rf"{name} holds what looks like .* \(line \d+\)") as caught:
        check_release(folder)
    assert SECRETS[name] not in str(caught.value)


def test_the_token_in_use_is_found_anywhere(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "0123456789-my-token")
    (folder / "notes.md").write_text("I ran it with 0123456789-my-token")
    with pytest.raises(HubmodelsError, match=r"notes\.md holds your Hugging Face token"):
        check_release(folder)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("license: apache-2.0\n", "", "names no license"),
        ("library_name: transformers", "library_name: hubmodels", "must be transformers"),
        ("pipeline_tag: image-classification", "pipeline_tag: text-generation", "pipeline_tag"),
        ("value: 0.9\n", "value: 0.99\n", "claims accuracy 0.99"),
        ("tags:\n- hubmodels\n", "tags:\n", "must be a list that has 'hubmodels'"),
        ("license: apache-2.0", "license: [unclosed", "not YAML|not valid"),
        ("model-index:\n- name", "model-index:\n- nome", "not valid"),
    ],
)
def test_a_card_whose_head_is_not_right_is_not_published(folder: Path, old: str, new: str, message: str) -> None:
    text = (folder / "README.md").read_text()
    assert old in text
    (folder / "README.md").write_text(text.replace(old, new))
    with pytest.raises(HubmodelsError, match=message):
        check_release(folder)


def test_a_release_that_is_too_large_is_not_published(folder: Path) -> None:
    with pytest.raises(HubmodelsError, match="more than the 1,000 allowed"):
        check_release(folder, max_bytes=1000)


@pytest.mark.parametrize("name", ["config.json", "README.md", "recipe.yaml", "golden.safetensors"])
def test_a_folder_that_lacks_a_file_is_no_release(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(HubmodelsError, match=f"{name} is missing: the folder is no release"):
        check_release(folder)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(HubmodelsError, match="there is no folder"):
        check_release(tmp_path / "nothing")
