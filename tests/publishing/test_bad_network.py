"""Publishing and downloading over a network that fails: whole, or nothing visible, and doing it again completes it."""

import resource
import shutil
from pathlib import Path

import pytest
from hub_repository import Fault
from hub_server import HubServer
from huggingface_hub import HfApi, constants
from tiny_release import WRITE, make_release

from hubmodels import families
from hubmodels.errors import HubmodelsError
from hubmodels.publishing import download, publish
from hubmodels.publishing.layout import release_files

SOON = (0.01, 0.01)  # seconds between our own attempts; huggingface_hub's own first one is after 1 s

# Every kind of request of a publication, in its order.
REQUESTS = {
    "whoami": r"GET /api/whoami",
    "create": r"POST /api/repos/create",
    "head": r"GET /api/models/me/x/revision/main",
    "tree": r"GET /api/models/me/x/tree/",
    "refs": r"GET /api/models/me/x/refs",
    "validate": r"POST /api/validate-yaml",
    "preupload": r"POST /api/models/me/x/preupload/",
    "batch": r"POST .*/info/lfs/objects/batch",
    "put": r"PUT /upload/",
    "verify": r"POST .*/info/lfs/verify",
    "commit": r"POST /api/models/me/x/commit/",
    "resolve": r"HEAD /me/x/resolve/.*/model\.safetensors",
    "body": r"GET /cdn/",
    "tag": r"POST /api/models/me/x/tag/",
}
FAULTS = {
    "500": {"status": 500},
    "503": {"status": 503},
    "429": {"status": 429, "headers": {"Retry-After": "0"}},
    "no answer": {"drop": "before"},
    "answer lost": {"drop": "after"},
    "reset": {"drop": "after", "reset": True},
}
# Each kind of request fails in two ways, the commit in every way.
CASES = [
    (request, fault)
    for number, request in enumerate(REQUESTS)
    for place, fault in enumerate(FAULTS)
    if request == "commit" or place in (number % 6, (number + 3) % 6)
]


def is_whole_or_absent(hub: HubServer, folder: Path) -> bool:
    """Whether the branch holds the release whole, or nothing of it."""
    if ("models", "me/x") not in hub.repos:
        return True
    files = hub.model("me/x").head().files
    names = release_files(folder)
    present = [name for name in names if name in files]
    same = [name for name in present if name == "README.md" or files[name].content == (folder / name).read_bytes()]
    return present == [] or same == names


@pytest.mark.parametrize(("request_name", "fault"), CASES)
def test_one_request_that_fails_does_not_hinder_a_publication(
    made: Path, hub: HubServer, api: HfApi, request_name: str, fault: str
) -> None:
    hub.faults = [Fault(REQUESTS[request_name], **FAULTS[fault])]
    publication = publish(made, "me/x", tag="v1", api=api, waits=SOON)
    assert hub.faults[0].seen >= 1
    repo = hub.model("me/x")
    assert [commit.title for commit in repo.history()][1:] == ["initial commit"]  # one commit, though a reply was lost
    assert repo.refs["main"] == repo.tags["v1"] == publication.commit
    assert is_whole_or_absent(hub, made)


@pytest.mark.parametrize("request_name", ["whoami", "create", "head", "commit", "tag"])
def test_a_request_that_keeps_failing_is_one_line_and_doing_it_again_completes(
    made: Path, hub: HubServer, api: HfApi, request_name: str
) -> None:
    hub.faults = [Fault(REQUESTS[request_name], status=500, times=99)]
    with pytest.raises(HubmodelsError, match=r"the Hub has a fault \(status 500\).*do it again later") as caught:
        publish(made, "me/x", tag="v1", api=api, waits=SOON)
    assert "\n" not in str(caught.value)
    assert is_whole_or_absent(hub, made)
    hub.faults = []
    uploads = len(hub.requests("^PUT"))
    publish(made, "me/x", tag="v1", api=api)
    assert hub.model("me/x").tags == {"v1": hub.model("me/x").refs["main"]}
    assert len(hub.requests("^PUT")) == max(uploads, 3)  # large files that had arrived are not sent again


@pytest.mark.parametrize("place", ["create", "put", "commit"])
def test_a_hub_that_dies_half_way_leaves_the_release_whole_or_absent(
    made: Path, hub: HubServer, api: HfApi, place: str
) -> None:
    hub.faults = [Fault(REQUESTS[place], action=hub.die, drop="before")]
    if place == "put":  # huggingface_hub would try for 23 s; the token is taken away instead of the server
        hub.faults = [Fault(REQUESTS[place], status=403, times=99)]
    with pytest.raises(HubmodelsError, match="cannot publish to me/x"):
        publish(made, "me/x", api=api, waits=())
    if place != "put":
        hub.restart()
    hub.faults = []
    assert is_whole_or_absent(hub, made)
    assert publish(made, "me/x", api=api).deviation < 1e-4
    assert is_whole_or_absent(hub, made)


def test_an_upload_whose_reply_is_lost_opens_one_pull_request(made: Path, hub: HubServer, api: HfApi) -> None:
    publish(made, "me/x", api=api)
    hub.model("me/x").commit("main", "emptied", {})
    hub.faults = [Fault(REQUESTS["commit"], drop="after")]
    publication = publish(made, "me/x", create_pr=True, api=api, waits=SOON)
    assert len(hub.model("me/x").requests) == 1
    assert publication.pull_request == f"{hub.url}/me/x/discussions/1"


def test_a_rate_limit_is_waited_for_as_long_as_the_hub_asks(made: Path, hub: HubServer, api: HfApi) -> None:
    hub.faults = [Fault(REQUESTS["create"], status=429, headers={"ratelimit": '"api";r=0;t=1'})]
    assert publish(made, "me/x", api=api, waits=SOON).deviation < 1e-4


def test_a_rate_limit_of_an_hour_is_said_instead_of_waited_for(made: Path, hub: HubServer, api: HfApi) -> None:
    hub.faults = [Fault(REQUESTS["create"], status=429, headers={"Retry-After": "3600"}, times=99)]
    with pytest.raises(HubmodelsError, match="limits the rate of requests; try again in 3600 s"):
        publish(made, "me/x", api=api, waits=SOON)


def test_a_commit_that_the_branch_overtook_while_its_reply_was_lost_is_refused(
    made: Path, hub: HubServer, api: HfApi
) -> None:
    def overtake() -> None:
        hub.model("me/x").commit(
            "main", "a colleague's change", {"README.md": hub.model("me/x").head().files[".gitattributes"]}
        )

    hub.faults = [Fault(REQUESTS["commit"], action=overtake, drop="before")]
    with pytest.raises(HubmodelsError, match="me/x has changed meanwhile"):
        publish(made, "me/x", api=api, waits=SOON)
    assert hub.model("me/x").head().title == "a colleague's change"


def test_what_arrives_with_other_content_than_was_sent_is_not_said_to_be_published(
    made: Path, hub: HubServer, api: HfApi
) -> None:
    hub.faults = [Fault(REQUESTS["body"], flip=500, times=99)]
    with pytest.raises(
        HubmodelsError, match=r"cannot read back me/x, which was published at commit \w+: .*other content"
    ):
        publish(made, "me/x", tag="v1", api=api, waits=SOON)
    assert hub.model("me/x").tags == {}  # only what was verified is tagged


def test_a_hub_that_is_not_there_is_said_in_one_line(made: Path) -> None:
    with pytest.raises(HubmodelsError, match="the connection to .* failed .*check the network") as caught:
        publish(made, "me/x", api=HfApi(endpoint="http://127.0.0.1:9", token=WRITE), waits=())
    assert "\n" not in str(caught.value)


# --- downloads ---


@pytest.fixture
def published(made: Path, hub: HubServer) -> HubServer:
    hub.add_repo("me/x", {name: (made / name).read_bytes() for name in release_files(made)})
    return hub


DOWNLOAD_FAULTS = {
    "cut at once": {"where": r"GET /cdn/", "cut": 0},
    "cut in the middle": {"where": r"GET /cdn/", "cut": 1000},
    "cut and reset": {"where": r"GET /cdn/", "cut": 1000, "reset": True},
    "a byte flipped": {"where": r"GET /cdn/", "flip": 700},
    "a byte of a small file flipped": {"where": r"GET /api/resolve-cache/.*config\.json", "flip": 70},
    "body 503": {"where": r"GET /cdn/", "status": 503},
    "body 429": {"where": r"GET /cdn/", "status": 429, "headers": {"Retry-After": "0"}},
    "expired address": {"where": r"GET /cdn/", "status": 403},
    "dropped": {"where": r"GET /api/resolve-cache/", "drop": "before"},
    "head dropped": {"where": r"HEAD /me/x/resolve/.*/golden", "drop": "before"},
    "head 500": {"where": r"HEAD /me/x/resolve/.*/golden", "status": 500},
    "info dropped": {"where": r"GET /api/models/me/x$", "drop": "after"},
    "tree reset": {"where": r"GET /api/models/me/x/tree/", "drop": "before", "reset": True},
}


@pytest.mark.parametrize("fault", DOWNLOAD_FAULTS)
def test_one_fault_does_not_hinder_a_download(made: Path, published: HubServer, api: HfApi, fault: str) -> None:
    published.faults = [Fault(**DOWNLOAD_FAULTS[fault])]
    folder, _ = download("me/x", api=api, waits=SOON)
    assert published.faults[0].seen >= 1
    assert all((folder / name).read_bytes() == (made / name).read_bytes() for name in release_files(made))


def test_a_download_that_failed_goes_on_with_the_files_that_are_missing(
    made: Path, published: HubServer, api: HfApi
) -> None:
    published.faults = [Fault(r"GET /cdn/", status=503, times=99)]
    with pytest.raises(HubmodelsError, match=r"cannot download me/x: the Hub has a fault \(status 503\)"):
        download("me/x", api=api, waits=())
    done = len(published.requests(r"GET /api/resolve-cache/.* -> 200"))
    published.faults = []
    published.log.clear()
    folder, _ = download("me/x", api=api)
    assert len(published.requests(r"GET /api/resolve-cache/.* -> 200")) == 12 - done
    assert len(published.requests(r"GET /cdn/")) == 3
    assert sorted(path.name for path in folder.parents[1].glob("blobs/*.incomplete")) == []


def test_bytes_that_keep_arriving_damaged_leave_nothing_that_could_be_loaded(
    made: Path, published: HubServer, api: HfApi
) -> None:
    published.faults = [Fault(r"GET /cdn/", flip=-3, times=99)]
    with pytest.raises(HubmodelsError, match=r"arrived twice with other content than the Hub lists; they were removed"):
        download("me/x", api=api, waits=SOON)
    cache = Path(constants.HF_HUB_CACHE)
    assert not list(cache.rglob("model.safetensors"))
    published.faults = []
    assert download("me/x", api=api)[1].deviation < 1e-4


def test_a_large_file_that_is_cut_is_resumed_where_it_was(tmp_path: Path, hub: HubServer, api: HfApi) -> None:
    values = {"num_channels": 1, "image_size": 8, "hidden_sizes": [60_000], "num_labels": 3}
    folder = make_release(tmp_path / "wide", model=families.build_model("mlp", "ForImageClassification", values))
    hub.add_repo("me/x", {name: (folder / name).read_bytes() for name in release_files(folder)})
    large = hub.model("me/x").head().files["model.safetensors"]
    assert len(large.content) > 16_000_000
    hub.faults = [Fault(rf"GET /cdn/{large.sha256}", cut=12_000_000)]
    download("me/x", api=api, waits=())
    ranges = [value for line, value in hub.ranges if large.sha256 in line]
    assert ranges == [None, f"bytes={10 * 1024**2}-"]  # the client works in pieces of 10 MiB


def test_a_full_disk_is_said_and_leaves_no_part_of_a_file(made: Path, published: HubServer, api: HfApi) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, hard))  # a write beyond 3,000 bytes fails, as on a full disk
    try:
        with pytest.raises(HubmodelsError, match="cannot download me/x: no room on the disk"):
            download("me/x", api=api, waits=SOON)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(Path(constants.HF_HUB_CACHE).rglob("model.safetensors"))
    assert download("me/x", api=api)[1].deviation < 1e-4


def test_a_download_that_cannot_fit_is_refused_before_its_first_byte(
    published: HubServer, api: HfApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = shutil.disk_usage(".")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: real._replace(free=1000))
    with pytest.raises(HubmodelsError, match=r"no room on the disk: [\d,]+ bytes are needed, 1,000 are free"):
        download("me/x", api=api)
    assert published.requests("/resolve/") == []


def test_a_hub_that_dies_during_a_download_is_said_and_doing_it_again_completes(
    made: Path, published: HubServer, api: HfApi
) -> None:
    published.faults = [Fault(r"GET /api/models/me/x$", action=published.die, drop="before")]
    with pytest.raises(HubmodelsError, match="cannot download me/x: the connection to"):
        download("me/x", api=api, waits=())
    published.restart()
    published.faults = []
    assert download("me/x", api=api)[1].deviation < 1e-4
