"""Publishing, downloading, verifying and listing over real HTTP, with the unmodified huggingface_hub."""

from pathlib import Path

import huggingface_hub
import pytest
from hub_repository import Fault
from hub_server import HubServer
from huggingface_hub import HfApi, ModelCard
from tiny_release import READ, STRANGER, make_release

from hubmodels.errors import HubmodelsError
from hubmodels.publishing import download, list_on_hub, publish, verify
from hubmodels.publishing.layout import release_files

WRITES = r"^(POST /api/repos/create|POST .*/(commit|tag|branch|preupload)/|PUT |POST .*/info/lfs/)"


def contents(hub: HubServer, repo_id: str) -> dict[str, bytes]:
    return {path: blob.content for path, blob in hub.model(repo_id).head().files.items()}


# --- publishing ---


def test_publishing_sends_the_whole_folder_in_one_commit_and_reads_it_back(
    made: Path, hub: HubServer, api: HfApi
) -> None:
    publication = publish(made, "me/tiny-classifier", api=api)
    repo = hub.model("me/tiny-classifier")
    assert [commit.title for commit in repo.history()] == [
        "tiny-classifier: accuracy 0.9000 [0.8900, 0.9100]",
        "initial commit",
    ]
    assert publication.commit == repo.refs["main"]
    sent = contents(hub, "me/tiny-classifier")
    assert set(sent) == {*release_files(made), ".gitattributes"}
    assert all(sent[name] == (made / name).read_bytes() for name in release_files(made) if name != "README.md")
    assert repo.head().files["model.safetensors"].lfs
    assert publication.deviation < 1e-4
    assert "published and verified at commit" in str(publication)
    downloads = hub.requests(r"GET /cdn/|GET /api/resolve-cache/")
    assert len(downloads) == len(sent)  # every file was read back once


def test_the_published_card_names_the_repository_in_its_examples(made: Path, hub: HubServer, api: HfApi) -> None:
    publish(made, "me/renamed", api=api)
    card = ModelCard(contents(hub, "me/renamed")["README.md"].decode())
    assert 'model="me/renamed")' in card.text
    assert "hubmodels verify me/renamed" in card.text
    assert "# tiny-classifier" in card.text  # the title stays, and so does the folder here
    assert "me/renamed" not in (made / "README.md").read_text()


def test_publishing_again_makes_no_commit(made: Path, hub: HubServer, api: HfApi) -> None:
    first = publish(made, "me/x", api=api)
    hub.log.clear()
    second = publish(made, "me/x", api=api)
    assert second.commit == first.commit
    assert second.sent == {}
    assert hub.requests(WRITES) == ["POST /api/repos/create -> 409"]
    assert "nothing new; verified what is there" in str(second)


def test_a_new_release_replaces_the_old_ones_files_and_leaves_what_people_added(
    folder: Path, hub: HubServer, api: HfApi
) -> None:
    publish(folder, "me/x", api=api)
    api.upload_file(path_or_fileobj=b"notes", path_in_repo="docs/notes.md", repo_id="me/x")
    make_release(folder, seed=3, plots=[])
    publication = publish(folder, "me/x", api=api)
    assert publication.deleted == ["figures/confusion_matrix.png"]
    assert "preprocessor_config.json" in publication.unchanged
    sent = contents(hub, "me/x")
    assert "figures/confusion_matrix.png" not in sent
    assert sent["docs/notes.md"] == b"notes"
    assert sent["model.safetensors"] == (folder / "model.safetensors").read_bytes()


def test_a_dry_run_lists_what_would_be_sent_and_changes_nothing(made: Path, hub: HubServer, api: HfApi) -> None:
    publication = publish(made, "me/x", dry_run=True, api=api)
    assert sorted(publication.sent) == release_files(made)
    assert publication.commit is None
    assert "Would send 15 files" in str(publication)
    assert hub.repos == {}
    assert hub.requests(WRITES) == []


def test_a_dry_run_against_what_is_published_lists_the_changes_alone(folder: Path, hub: HubServer, api: HfApi) -> None:
    publish(folder, "me/x", api=api)
    assert publish(folder, "me/x", dry_run=True, api=api).sent == {}
    (folder / "notes.md").write_text("new")
    assert list(publish(folder, "me/x", dry_run=True, api=api).sent) == ["notes.md"]
    assert "notes.md" not in contents(hub, "me/x")


def test_a_dry_run_that_refreshes_code_says_what_would_be_sent_and_leaves_the_folder(
    folder: Path, hub: HubServer, api: HfApi
) -> None:
    publish(folder, "me/x", api=api)
    other = (folder / "modeling_mlp.py").read_bytes() + b"\nimport os\n"
    (folder / "modeling_mlp.py").write_bytes(other)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    publication = publish(folder, "me/x", dry_run=True, refresh_code=True, api=api)
    # The refreshed code is what is published already, as is the checksum that speaks of it.
    assert "modeling_mlp.py" in publication.unchanged
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    with pytest.raises(HubmodelsError, match="modeling_mlp.py is not the file"):
        publish(folder, "me/x", dry_run=True, api=api)


def test_a_private_repository_is_made_private_and_can_be_verified(made: Path, hub: HubServer, api: HfApi) -> None:
    publish(made, "me/secret", private=True, api=api)
    assert hub.model("me/secret").private
    assert verify("me/secret", api=api).deviation < 1e-4
    with pytest.raises(HubmodelsError, match="there is no repository me/secret, or it is private"):
        verify("me/secret", api=HfApi(endpoint=hub.url, token=STRANGER))


def test_a_tag_is_put_on_the_published_commit_and_again_without_harm(made: Path, hub: HubServer, api: HfApi) -> None:
    for _ in range(2):
        publication = publish(made, "me/x", tag="v1.0", api=api)
    assert hub.model("me/x").tags == {"v1.0": publication.commit}
    assert download("me/x", revision="v1.0", api=api)[1].revision == publication.commit


def test_a_tag_that_is_taken_is_refused_before_anything_is_sent(folder: Path, hub: HubServer, api: HfApi) -> None:
    first = publish(folder, "me/x", tag="v1.0", api=api)
    make_release(folder, seed=3)
    with pytest.raises(HubmodelsError, match=r"has a tag v1\.0 already, on commit"):
        publish(folder, "me/x", tag="v1.0", api=api)
    assert hub.model("me/x").refs["main"] == first.commit


def test_a_pull_request_leaves_the_branch_alone_and_is_opened_once(folder: Path, hub: HubServer, api: HfApi) -> None:
    before = publish(folder, "me/x", api=api).commit
    make_release(folder, seed=3)
    first = publish(folder, "me/x", create_pr=True, api=api)
    second = publish(folder, "me/x", create_pr=True, api=api)
    repo = hub.model("me/x")
    assert repo.refs["main"] == before
    assert repo.refs["refs/pr/1"] == first.commit == second.commit
    assert len(repo.requests) == 1
    assert first.pull_request == second.pull_request == f"{hub.url}/me/x/discussions/1"


def test_a_branch_that_changes_during_the_upload_is_refused_and_not_overwritten(
    made: Path, hub: HubServer, api: HfApi
) -> None:
    def somebody_else_commits() -> None:
        repo = hub.model("me/x")
        repo.commit("main", "a colleague's change", repo.head().files)

    hub.faults = [Fault(r"POST .*/commit/main", action=somebody_else_commits)]
    with pytest.raises(HubmodelsError, match="me/x has changed meanwhile"):
        publish(made, "me/x", api=api)
    assert hub.model("me/x").head().title == "a colleague's change"
    assert publish(made, "me/x", api=api).deviation < 1e-4  # having looked, doing it again works


def test_a_parent_commit_that_is_not_the_head_is_refused(made: Path, hub: HubServer, api: HfApi) -> None:
    head = publish(made, "me/x", api=api).commit
    assert publish(made, "me/x", parent_commit=head[:10], api=api).commit == head
    with pytest.raises(HubmodelsError, match=f"its head is {head}, not {'0' * 40}"):
        publish(made, "me/x", parent_commit="0" * 40, api=api)


def test_a_repository_with_other_peoples_files_is_left_alone(made: Path, hub: HubServer, api: HfApi) -> None:
    hub.add_repo("me/other", {"pytorch_model.bin": b"x", "README.md": b"another model"})
    with pytest.raises(HubmodelsError, match=r"me/other holds other files already .*pytorch_model\.bin"):
        publish(made, "me/other", api=api)
    assert contents(hub, "me/other")["README.md"] == b"another model"


def test_a_folder_that_is_not_fit_reaches_no_network(folder: Path, hub: HubServer, api: HfApi) -> None:
    (folder / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(HubmodelsError, match=r"pytorch_model\.bin"):
        publish(folder, "me/x", api=api)
    assert hub.log == []


def test_a_card_that_the_hub_refuses_is_said_before_any_file_is_sent(folder: Path, hub: HubServer, api: HfApi) -> None:
    text = (folder / "README.md").read_text()
    (folder / "README.md").write_text(text.replace("license: apache-2.0", "license: my-own"))
    with pytest.raises(HubmodelsError, match='"license" must be one of'):
        publish(folder, "me/x", api=api)
    assert hub.requests(r"^PUT|/commit/") == []


@pytest.mark.parametrize("hub", [False], indirect=True, ids=["xet on"])
def test_a_server_without_xet_storage_gets_the_files_by_lfs(made: Path, hub: HubServer, api: HfApi) -> None:
    assert publish(made, "me/x", api=api).deviation < 1e-4
    assert hub.requests(r"xet-write-token.* -> 404")
    assert len(hub.model("me/x").commits) == 2


def test_large_files_go_in_parts(made: Path, hub: HubServer, api: HfApi) -> None:
    hub.multipart_bytes = 2000
    assert publish(made, "me/x", api=api).deviation < 1e-4
    assert len(hub.requests(r"^PUT /upload/[0-9a-f]+/\d+ -> 200")) >= 3


def test_a_tree_of_several_pages_is_read_whole(made: Path, hub: HubServer, api: HfApi) -> None:
    hub.page = 5
    publish(made, "me/x", api=api)
    assert publish(made, "me/x", api=api).sent == {}


# --- who may what ---


def test_without_a_token_publishing_says_where_to_get_one(made: Path, hub: HubServer) -> None:
    with pytest.raises(HubmodelsError, match=r"there is no token; run `hf auth login`, or set HF_TOKEN"):
        publish(made, "me/x", api=HfApi(endpoint=hub.url))
    assert hub.requests(WRITES) == []


def test_a_token_that_is_not_valid_is_said_to_be_so_and_not_shown(made: Path, hub: HubServer) -> None:
    token = "hf_" + "wrong" * 6
    with pytest.raises(HubmodelsError, match="the token is not valid") as caught:
        publish(made, "me/x", api=HfApi(endpoint=hub.url, token=token))
    assert token not in str(caught.value)


@pytest.mark.parametrize("exists", [False, True])
def test_a_token_that_may_only_read_is_said_to_be_so(made: Path, hub: HubServer, exists: bool) -> None:
    if exists:
        hub.add_repo("me/x", {".gitattributes": b""})
    with pytest.raises(HubmodelsError, match="the token may not do this in me/x; use one with write access"):
        publish(made, "me/x", api=HfApi(endpoint=hub.url, token=READ))
    assert not exists or len(hub.model("me/x").commits) == 1


def test_a_namespace_of_somebody_else_is_refused(made: Path, hub: HubServer) -> None:
    with pytest.raises(HubmodelsError, match="the token may not do this in me/x"):
        publish(made, "me/x", api=HfApi(endpoint=hub.url, token=STRANGER))


@pytest.mark.parametrize("repo_id", ["no-namespace", "me/a/b", "me/../x", "me/x ", "../me", "me/x.git", ""])
def test_what_is_no_repository_id_reaches_no_network(made: Path, hub: HubServer, api: HfApi, repo_id: str) -> None:
    with pytest.raises(HubmodelsError, match="is no repository id"):
        publish(made, repo_id, api=api)
    assert hub.log == []


@pytest.mark.parametrize(
    ("tag", "create_pr", "words"), [("a b", False, "is no tag"), ("v1", True, "were both asked for")]
)
def test_what_cannot_be_asked_for_reaches_no_network(
    made: Path, hub: HubServer, api: HfApi, tag: str, create_pr: bool, words: str
) -> None:
    with pytest.raises(HubmodelsError, match=words):
        publish(made, "me/x", tag=tag, create_pr=create_pr, api=api)
    assert hub.log == []


def test_tokens_go_to_the_hub_and_nowhere_else(made: Path, hub: HubServer, api: HfApi) -> None:
    publish(made, "me/x", api=api)
    asked = {(host, header is not None) for host, header in hub.authorized}
    assert (f"localhost:{hub.port}", False) in asked  # the storage is on another origin
    assert (f"localhost:{hub.port}", True) not in asked


# --- downloading and verifying ---


def test_a_download_is_verified_and_lands_in_the_cache_by_its_branch(made: Path, hub: HubServer, api: HfApi) -> None:
    commit = publish(made, "me/x", api=api).commit
    folder, verification = download("me/x", api=api)
    assert folder.parts[-3:] == ("models--me--x", "snapshots", commit)
    assert (folder.parents[1] / "refs" / "main").read_text() == commit
    assert str(verification).startswith(f"me/x at {commit[:12]}: verified.")
    hub.log.clear()
    download("me/x", api=api)
    assert hub.requests(r"^GET /cdn|resolve") == []  # nothing is fetched twice


def test_a_download_into_a_folder_is_a_release_that_can_be_published_again(
    made: Path, hub: HubServer, api: HfApi, tmp_path: Path
) -> None:
    publish(made, "me/x", api=api)
    folder, _ = download("me/x", local_dir=tmp_path / "here", api=api)
    assert folder == tmp_path / "here"
    assert verify(folder).name == str(folder)
    assert publish(folder, "me/x", api=api).sent == {}


def test_a_cache_that_was_damaged_is_mended(made: Path, hub: HubServer, api: HfApi) -> None:
    publish(made, "me/x", api=api)
    folder, _ = download("me/x", api=api)
    blob = (folder / "model.safetensors").resolve()
    content = bytearray(blob.read_bytes())
    content[-1] ^= 1
    blob.write_bytes(bytes(content))
    hub.log.clear()
    download("me/x", api=api)
    assert (folder / "model.safetensors").read_bytes() == (made / "model.safetensors").read_bytes()
    assert len(hub.requests(r"^GET /cdn")) == 1  # only what was damaged


def test_offline_a_cached_release_is_verified_and_an_absent_one_is_named(
    made: Path, hub: HubServer, api: HfApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = publish(made, "me/x", api=api).commit
    download("me/x", api=api)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    hub.log.clear()
    assert verify("me/x", api=api).revision == commit
    with pytest.raises(HubmodelsError, match="offline mode is on and me/absent is not in the cache"):
        verify("me/absent", api=api)
    with pytest.raises(HubmodelsError, match=r"cannot publish to me/x: offline mode is on; unset HF_HUB_OFFLINE"):
        publish(made, "me/x", api=api)
    assert hub.log == []


@pytest.mark.parametrize(
    ("repo_id", "revision", "words"),
    [
        ("me/missing", None, "there is no repository me/missing, or it is private"),
        ("me/gated", None, "me/gated is gated: ask for access on its page"),
        ("me/x", "v9", "me/x has no such revision"),
    ],
)
def test_what_cannot_be_downloaded_is_said_in_one_line(
    hub: HubServer, api: HfApi, repo_id: str, revision: str | None, words: str
) -> None:
    hub.add_repo("me/gated", {"README.md": b"x"}, gated=True)
    hub.add_repo("me/x", {"README.md": b"x"})
    with pytest.raises(HubmodelsError, match=words) as caught:
        download(repo_id, revision=revision, api=api, waits=())
    assert "\n" not in str(caught.value)


def test_a_folder_is_verified_without_a_network(made: Path, hub: HubServer) -> None:
    assert str(verify(made)).startswith(f"{made}: verified. 13 checksums agree, 1,091 weights load")
    assert hub.log == []


def test_what_is_neither_a_folder_nor_an_id_is_said(hub: HubServer) -> None:
    with pytest.raises(HubmodelsError, match="there is no folder .*and it is no Hub id"):
        verify("/no/such/folder")


def test_the_hub_lists_the_models_that_carry_our_tag(made: Path, hub: HubServer, api: HfApi) -> None:
    hub.add_repo("someone/bert", {"README.md": b"---\ntags: [bert]\n---\n"})
    publish(made, "me/x", api=api)
    hub.add_repo("someone/copy", {"README.md": (made / "README.md").read_bytes()})
    assert [item["id"] for item in list_on_hub(api=api)] == ["me/x", "someone/copy"]
    assert [item["id"] for item in list_on_hub("someone", api=api)] == ["someone/copy"]
    assert list_on_hub("nobody", api=api) == []


# --- hostile repositories ---


@pytest.mark.parametrize("name", ["../../evil.md", "sub/../../evil.md", "/evil.md", "pytorch_model.bin", "run.sh"])
def test_a_repository_whose_names_are_not_safe_is_refused_before_a_file_is_fetched(
    made: Path, hub: HubServer, api: HfApi, name: str, tmp_path: Path
) -> None:
    files = {file: (made / file).read_bytes() for file in release_files(made)}
    hub.add_repo("evil/model", files | {name: b"evil"})
    with pytest.raises(HubmodelsError, match="is not safe|can run code|no kind of file"):
        download("evil/model", local_dir=tmp_path / "deep" / "here", api=api)
    assert hub.requests(r"/resolve/") == []
    assert not list(tmp_path.rglob("*evil*"))


def test_a_repository_that_is_no_release_is_refused(hub: HubServer, api: HfApi) -> None:
    hub.add_repo("someone/bert", {"README.md": b"x", "config.json": b'{"model_type": "bert"}'})
    with pytest.raises(HubmodelsError, match=r"someone/bert is not verified: .* is missing: the folder is no release"):
        verify("someone/bert", api=api)


def test_a_forged_repository_is_refused_and_its_code_is_not_run(
    made: Path, hub: HubServer, api: HfApi, tmp_path: Path
) -> None:
    files = {file: (made / file).read_bytes() for file in release_files(made)}
    files["modeling_mlp.py"] = f"import os\nos.mkdir({str(tmp_path / 'harm')!r})\n".encode()
    hub.add_repo("evil/model", files)
    with pytest.raises(HubmodelsError, match=r"evil/model is not verified: modeling_mlp\.py is not the file"):
        download("evil/model", api=api)
    assert not (tmp_path / "harm").exists()


def test_a_repository_that_was_damaged_at_its_source_is_refused(made: Path, hub: HubServer, api: HfApi) -> None:
    files = {file: (made / file).read_bytes() for file in release_files(made)}
    weights = bytearray(files["model.safetensors"])
    weights[-2] ^= 0x40
    hub.add_repo("me/x", files | {"model.safetensors": bytes(weights)})
    with pytest.raises(HubmodelsError, match=r"model\.safetensors is not the file that was released"):
        verify("me/x", api=api)
