"""Check that a folder is fit to be published: all that `verify_folder` checks, and what only its owner can mend.

That is secrets, links, and the card.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import huggingface_hub
from huggingface_hub import ModelCard

from ..checkpoint import METRICS_FILE, read_metrics
from ..errors import HubmodelsError, one_line
from .card import LIBRARY_TAG
from .layout import CARD_FILE, release_files
from .verification import Verification, verify_folder

# The Hub stores larger files too, but a small model that has them was released by mistake.
MAX_FILE_BYTES = 5 * 1024**3
MAX_REGULAR_BYTES = 10 * 1000**2  # text files; the Hub takes larger ones only as large-file storage
# What looks like a secret, with the words for the message.
SECRETS = {
    "a Hugging Face token": rb"\bhf_[A-Za-z0-9]{20,}",
    "a GitHub token": rb"\b(?:gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{30,})",
    "a GitLab token": rb"\bglpat-[A-Za-z0-9_-]{20,}",
    "an AWS key": rb"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    "a Google API key": rb"\bAIza[0-9A-Za-z_-]{35}",
    "an API key": rb"\bsk-(?:[a-z]+-)*[A-Za-z0-9_-]{20,}",
    "a Slack token": rb"\bxox[abposr]-[A-Za-z0-9-]{10,}",
    "a private key": rb"-----BEGIN [A-Z ]*PRIVATE KEY-----",
    "a password in a URL": rb"\b[a-z][a-z0-9+.-]*://[^\s/:@'\"]+:[^\s/:@'\"]+@[^\s/]",
    "a password or key": rb"(?i)\b(?:password|passwd|(?:api|secret)[_-]?key|(?:access|auth)[_-]?token)[\"']?\s*[=:]\s*"
    rb"[\"']?[A-Za-z0-9/+_.-]{12,}",
}


def check_release(folder: str | os.PathLike, max_bytes: int | None = None) -> Verification:
    """Check a release folder before it is published. Needs no network.

    Args:
        folder: the release.
        max_bytes: largest size of all files together; none by default.

    Raises:
        HubmodelsError: the first thing that is wrong, in one line.
    """
    folder = Path(folder)
    verification = verify_folder(folder, with_code=True)
    names = release_files(folder)
    if verification.foreign_code:
        raise HubmodelsError(
            f"{verification.foreign_code[0]} is not the code that is installed here, with which it was checked; "
            "put the installed code in its place (--refresh_code), or publish with the version that made it"
        )
    check_sizes(folder, names, max_bytes)
    for name in names:
        if (folder / name).is_symlink():
            raise HubmodelsError(
                f"{name} is a link: a release holds plain files, or it would publish what lies elsewhere"
            )
        check_secrets(folder / name, name)
    check_card(folder)
    return verification


def check_sizes(folder: Path, names: list[str], max_bytes: int | None) -> None:
    """Refuse a file that the Hub does not take, and a release of more bytes than allowed."""
    sizes = {name: (folder / name).stat().st_size for name in names}
    for name, size in sizes.items():
        limit = MAX_FILE_BYTES if name.endswith((".safetensors", "tokenizer.json")) else MAX_REGULAR_BYTES
        if size > limit:
            raise HubmodelsError(f"{name} has {size:,} bytes; at most {limit:,} can be published")
    if max_bytes is not None and sum(sizes.values()) > max_bytes:
        raise HubmodelsError(f"the release has {sum(sizes.values()):,} bytes, more than the {max_bytes:,} allowed")


def check_secrets(path: Path, name: str) -> None:
    """Refuse a file that holds what looks like a secret, or the token in use. The secret itself is not repeated."""
    limit = None if path.suffix != ".safetensors" else 2**20  # of weights the header
    with open(path, "rb") as file:
        content = file.read(limit) if limit else file.read()
    token = huggingface_hub.get_token()
    if token and len(token) >= 8 and token.encode() in content:
        raise HubmodelsError(f"{name} holds your Hugging Face token; remove it, and release again")
    for kind, pattern in SECRETS.items():
        if path.suffix in (".safetensors", ".png", ".jpg", ".wav") and kind in (
            "a password or key",
            "a password in a URL",
        ):
            continue  # these short patterns turn up in bytes by chance
        if match := re.search(pattern, content):
            line = content.count(b"\n", 0, match.start()) + 1
            raise HubmodelsError(f"{name} holds what looks like {kind} (line {line}); remove it, and release again")


def check_card(folder: Path) -> None:
    """Check that the card's head is what the Hub reads, and that its results are those of metrics.json."""
    try:
        card = ModelCard.load(folder / CARD_FILE, ignore_metadata_errors=False)
    except (ValueError, TypeError, KeyError, AttributeError, OSError) as error:
        raise HubmodelsError(f"the metadata of {CARD_FILE} are not valid: {one_line(error)}") from None
    except Exception as error:  # PyYAML's errors are of many classes
        raise HubmodelsError(f"the metadata of {CARD_FILE} are not YAML: {one_line(error)}") from None
    data = card.data
    if not data.license:
        raise HubmodelsError(f"{CARD_FILE} names no license; add a line `license: apache-2.0` or another to its head")
    if data.library_name != "transformers":
        raise HubmodelsError(
            f"library_name of {CARD_FILE} is {data.library_name!r}; it must be transformers, or pipeline() breaks"
        )
    metrics = read_metrics(folder)
    if data.pipeline_tag != metrics.get("task"):
        raise HubmodelsError(
            f"pipeline_tag of {CARD_FILE} is {data.pipeline_tag!r}, the task is {metrics.get('task')!r}"
        )
    if not isinstance(data.tags, list) or LIBRARY_TAG not in data.tags:
        raise HubmodelsError(f"tags of {CARD_FILE} must be a list that has {LIBRARY_TAG!r}")
    check_results(data.eval_results or [], metrics)


def check_results(eval_results: list[Any], metrics: Mapping[str, Any]) -> None:
    """Check that each number in the card's model-index is the one that metrics.json has."""
    results = metrics.get("results")
    measured = results.get("metrics") if isinstance(results, dict) else None
    if not isinstance(measured, dict):
        raise HubmodelsError(f"{METRICS_FILE} holds no results")
    for result in eval_results:
        entry = measured.get(result.metric_type)
        value = entry.get("value") if isinstance(entry, dict) else None
        if value != result.metric_value:
            raise HubmodelsError(
                f"{CARD_FILE} claims {result.metric_type} {result.metric_value}, {METRICS_FILE} has {value}; "
                "release again"
            )
