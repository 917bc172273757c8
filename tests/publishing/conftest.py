"""A small real release, made once, and a loopback Hub for each test."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import HfApi

sys.path.insert(0, str(Path(__file__).parents[1]))

from hub_repository import User
from hub_server import HubServer
from tiny_release import READ, STRANGER, WRITE, make_release


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The release, which no test may change."""
    return make_release(tmp_path_factory.mktemp("made") / "tiny-classifier")


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A copy of the release to change."""
    return Path(shutil.copytree(made, tmp_path / made.name))


@pytest.fixture
def hub(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    """A loopback Hub where `me` can write, with a cache of its own; without xet storage, as a self-hosted one."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", getattr(request, "param", True))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_TELEMETRY", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))
    monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with HubServer() as server:
        server.tokens |= {WRITE: User("me"), READ: User("me", "read"), STRANGER: User("stranger")}
        yield server


@pytest.fixture
def api(hub: HubServer) -> HfApi:
    """The Hub as the owner of `me/...` sees it."""
    return HfApi(endpoint=hub.url, token=WRITE)
