"""A Hub on loopback: what huggingface_hub, transformers, datasets and `hf` speak over HTTP, in memory.

    with HubServer() as hub:
        hub.tokens["hf_write..."] = User("me")
        HfApi(endpoint=hub.url, token="hf_write...").create_repo("me/model")

It keeps git's view of a repository (commits, branches, tags, pull requests, blobs by SHA-1, large files by SHA-256),
knows tokens that may read or write, private and gated repositories, and answers with the Hub's own error codes.
`faults` make it fail as networks do. The protocol is that of huggingface_hub 2.4.0.
"""

import asyncio
import base64
import contextlib
import hashlib
import json
import re
import socket
import struct
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, unquote

import uvicorn
import yaml
from hub_repository import Blob, Commit, Fault, HubError, Repo, User
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from uvicorn.protocols.http.h11_impl import H11Protocol

LFS_SUFFIXES = (".safetensors", ".bin", ".png", ".parquet", ".pkl", ".wav")
DATE = "2026-01-01T00:00:00.000Z"


class HubServer:
    """The server, in a thread of its own, on a free port of 127.0.0.1."""

    def __init__(self) -> None:
        self.repos: dict[tuple[str, str], Repo] = {}
        self.tokens: dict[str, User] = {}
        self.objects: dict[str, bytes] = {}  # large files by SHA-256
        self.parts: dict[str, dict[int, bytes]] = {}
        self.faults: list[Fault] = []
        self.log: list[str] = []  # "METHOD path -> status"
        self.authorized: list[tuple[str, str | None]] = []  # (host that was asked, authorization header)
        self.ranges: list[tuple[str, str | None]] = []  # (GET path, range header)
        self.multipart_bytes = 64 * 1024**2
        self.regular_bytes = 10 * 1000**2
        self.page = 1000  # entries of a tree on one page
        self.port = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._transports: dict[tuple[str, int], asyncio.Transport] = {}

    # --- life ---

    def __enter__(self) -> "HubServer":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.die()
        self._thread.join(timeout=10)

    def start(self) -> None:
        """Listen; after `die` again on the same port, with what was there before."""
        hub = self

        class Protocol(H11Protocol):
            def connection_made(self, transport: Any) -> None:
                super().connection_made(transport)
                hub._loop = asyncio.get_running_loop()
                hub._transports[tuple(transport.get_extra_info("peername")[:2])] = transport

        methods = ["GET", "HEAD", "POST", "PUT", "DELETE"]
        app = Starlette(routes=[Route("/{path:path}", self.answer, methods=methods)])
        config = uvicorn.Config(
            app, host="127.0.0.1", port=self.port, log_level="critical", http=Protocol, lifespan="off"
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        while not self._server.started:
            if not self._thread.is_alive():
                raise RuntimeError("the loopback Hub did not start")
            time.sleep(0.01)
        self.port = self._server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.cdn = f"http://localhost:{self.port}"  # another origin, where no token may arrive

    def die(self) -> None:
        """Stop at once: open connections end without an answer."""
        self._server.should_exit = True
        self._server.force_exit = True
        for transport in list(self._transports.values()):
            with contextlib.suppress(RuntimeError):  # the loop is closed already
                self._loop.call_soon_threadsafe(transport.abort)

    def restart(self) -> None:
        """After `die`: be there again."""
        self._thread.join(timeout=10)
        self.start()

    # --- for tests ---

    def add_repo(self, repo_id: str, files: dict[str, bytes], kind: str = "models", **options: Any) -> Repo:
        """A repository with one commit of these files, as if somebody had pushed it past all checks."""
        repo = self.repos[kind, repo_id] = Repo(kind, repo_id, **options)
        blobs = {path: Blob(content, path.endswith(LFS_SUFFIXES)) for path, content in files.items()}
        self.objects.update({blob.sha256: blob.content for blob in blobs.values() if blob.lfs})
        repo.commit("main", "initial commit", blobs)
        return repo

    def model(self, repo_id: str) -> Repo:
        return self.repos["models", repo_id]

    def requests(self, pattern: str) -> list[str]:
        """The lines of the log that match."""
        return [line for line in self.log if re.search(pattern, line)]

    # --- HTTP ---

    async def answer(self, request: Request) -> Response:
        raw = request.scope["raw_path"].decode().split("?")[0]
        line = f"{request.method} {raw}"
        self.authorized.append((request.headers.get("host", ""), request.headers.get("authorization")))
        self.ranges.append((line, request.headers.get("range")))
        fault = next((fault for fault in self.faults if fault.strikes(line)), None)
        if fault and fault.stall:
            await asyncio.sleep(fault.stall)
        if fault and fault.action:
            fault.action()
        if fault and fault.drop == "before":
            self.log.append(f"{line} -> dropped before")
            return self._close(request, fault)
        body = await request.body()
        if fault and fault.status:
            self.log.append(f"{line} -> {fault.status} (fault)")
            return PlainTextResponse("the server was told to fail", fault.status, fault.headers)
        try:
            response = self._route(request, raw, body)
        except HubError as error:
            headers = {"X-Error-Message": error.message} | ({"X-Error-Code": error.code} if error.code else {})
            response = JSONResponse({"error": error.message, **error.extra}, error.status, headers)
        self.log.append(f"{line} -> {response.status_code}")
        if fault and fault.drop == "after":
            return self._close(request, fault)
        if fault and fault.flip is not None:
            content = bytearray(response.body)
            content[fault.flip % len(content)] ^= 0xFF
            response.body = bytes(content)
        if fault and fault.cut is not None:
            return _Cut(response, fault.cut, lambda: self._close(request, fault))
        return response

    def _close(self, request: Request, fault: Fault) -> Response:
        transport = self._transports[tuple(request.client)]
        if fault.reset:
            linger = struct.pack("ii", 1, 0)
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            transport.abort()
        else:
            transport.close()
        return _Nothing()

    def _route(self, request: Request, raw: str, body: bytes) -> Response:
        method = "GET" if request.method == "HEAD" else request.method
        for pattern, name in ROUTES:
            verb, _, path = pattern.partition(" ")
            if verb == method and (found := re.fullmatch(path, raw)):
                parts = {key: unquote(value) for key, value in found.groupdict().items() if value is not None}
                return getattr(self, name)(request, body, **parts)
        raise HubError(404, f"no such page: {request.method} {raw}")

    def _user(self, request: Request) -> User | None:
        header = request.headers.get("authorization", "")
        if not header:
            return None
        user = self.tokens.get(header.removeprefix("Bearer "))
        if user is None:
            raise HubError(401, "Invalid credentials in Authorization header")
        return user

    def _repo(self, request: Request, kind: str, repo_id: str, write: bool = False) -> Repo:
        user = self._user(request)
        repo = self.repos.get((kind, repo_id))
        if repo is None or (repo.private and (user is None or user.name != repo_id.split("/")[0])):
            raise HubError(404 if user else 401, "Repository not found", "RepoNotFound")
        if write:
            self._writer(user, repo_id.split("/")[0])
        return repo

    def _writer(self, user: User | None, namespace: str) -> User:
        if user is None:
            raise HubError(401, "Invalid username or password.")
        if user.role != "write" or user.name != namespace:
            raise HubError(403, f"You don't have the rights to write under the namespace {namespace}")
        return user

    # --- accounts and repositories ---

    def whoami(self, request: Request, body: bytes) -> Response:
        user = self._user(request)
        if user is None:
            raise HubError(401, "Invalid username or password.")
        access = {"displayName": "test", "role": user.role}
        return JSONResponse(
            {
                "type": "user",
                "name": user.name,
                "fullname": user.name,
                "orgs": [],
                "auth": {"type": "access_token", "accessToken": access},
            }
        )

    def create(self, request: Request, body: bytes) -> Response:
        values = json.loads(body)
        user = self._user(request)
        namespace = values.get("organization") or (user.name if user else "")
        self._writer(user, namespace)
        kind = f"{values.get('type') or 'model'}s"
        repo_id = f"{namespace}/{values['name']}"
        url = f"{self.url}/{'' if kind == 'models' else kind + '/'}{repo_id}"
        if (kind, repo_id) in self.repos:
            raise HubError(409, "You already created this model repo", url=url)
        private = values.get("visibility") == "private" or bool(values.get("private"))
        self.add_repo(
            repo_id, {".gitattributes": b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n"}, kind, private=private
        )
        return JSONResponse({"url": url, "name": repo_id, "id": repo_id})

    def delete_repo(self, request: Request, body: bytes) -> Response:
        values = json.loads(body)
        user = self._user(request)
        namespace = values.get("organization") or (user.name if user else "")
        self._writer(user, namespace)
        if self.repos.pop((f"{values.get('type') or 'model'}s", f"{namespace}/{values['name']}"), None) is None:
            raise HubError(404, "Repository not found", "RepoNotFound")
        return JSONResponse({})

    def list_models(self, request: Request, body: bytes) -> Response:
        user = self._user(request)
        wanted, author = request.query_params.getlist("filter"), request.query_params.get("author")
        found = []
        for (kind, repo_id), repo in self.repos.items():
            namespace = repo_id.split("/")[0]
            info = self._describe(repo, repo.head())
            hidden = repo.private and (user is None or user.name != namespace)
            if kind == "models" and not hidden and author in (None, namespace) and set(wanted) <= set(info["tags"]):
                found.append(info)
        return JSONResponse(found[: int(request.query_params.get("limit", len(found)))])

    def repo_info(self, request: Request, body: bytes, kind: str, repo: str, revision: str = "main") -> Response:
        found = self._repo(request, kind, repo)
        return JSONResponse(self._describe(found, found.find(revision), blobs="blobs" in request.query_params))

    def _describe(self, repo: Repo, commit: Commit, blobs: bool = False) -> dict[str, Any]:
        card: dict[str, Any] = {}
        if "README.md" in commit.files:
            found = re.match(rb"---\n(.*?)\n---", commit.files["README.md"].content, re.DOTALL)
            card = (yaml.safe_load(found[1]) if found else {}) or {}
        siblings = []
        for path, blob in commit.files.items():
            extra = {"size": len(blob.content), "blobId": blob.sha1} if blobs else {}
            if blobs and blob.lfs:
                extra["lfs"] = {"size": len(blob.content), "sha256": blob.sha256, "pointerSize": 134}
            siblings.append({"rfilename": path, **extra})
        return {
            "_id": hashlib.sha1(repo.id.encode()).hexdigest()[:24],
            "id": repo.id,
            "modelId": repo.id,
            "author": repo.id.split("/")[0],
            "sha": commit.oid,
            "lastModified": DATE,
            "createdAt": DATE,
            "private": repo.private,
            "gated": "auto" if repo.gated else False,
            "disabled": False,
            "downloads": 0,
            "tags": [*(card.get("tags") or []), *(f"license:{card[key]}" for key in ("license",) if key in card)],
            "pipeline_tag": card.get("pipeline_tag"),
            "library_name": card.get("library_name"),
            "cardData": card,
            "siblings": siblings,
        }

    def auth_check(self, request: Request, body: bytes, kind: str, repo: str) -> Response:
        self._repo(request, kind, repo)
        return JSONResponse({})

    def validate_yaml(self, request: Request, body: bytes) -> Response:
        content = json.loads(body)["content"]
        found = re.match(r"---\n(.*?)\n---", content, re.DOTALL)
        try:
            card = (yaml.safe_load(found[1]) if found else {}) or {}
        except yaml.YAMLError as error:
            return JSONResponse({"errors": [{"message": str(error)}], "warnings": []}, 400)
        errors = []
        if card.get("license") not in ("apache-2.0", "mit", "cc-by-4.0", "cc-by-sa-4.0", "other", None):
            errors.append({"message": f'"license" must be one of [apache-2.0, mit, ...], got {card["license"]}'})
        if not isinstance(card.get("tags", []), list):
            errors.append({"message": '"tags" must be an array'})
        return JSONResponse({"errors": errors, "warnings": []}, 400 if errors else 200)

    # --- contents ---

    def tree(self, request: Request, body: bytes, kind: str, repo: str, revision: str, path: str = "") -> Response:
        files = self._repo(request, kind, repo).find(revision).files
        prefix = f"{path}/" if path else ""
        inside = {name: blob for name, blob in files.items() if name.startswith(prefix)}
        if path and not inside:
            raise HubError(404, f"{path} does not exist on {revision}", "EntryNotFound")
        entries, folders = [], {}
        for name, blob in inside.items():
            rest = name.removeprefix(prefix).split("/")
            for depth in range(1, len(rest)):
                folder = prefix + "/".join(rest[:depth])
                folders[folder] = {"type": "directory", "oid": "0" * 40, "size": 0, "path": folder}
            if len(rest) == 1 or request.query_params.get("recursive", "").lower() == "true":
                entries.append(blob.entry(name))
        recursive = request.query_params.get("recursive", "").lower() == "true"
        entries += [entry for name, entry in folders.items() if recursive or "/" not in name.removeprefix(prefix)]
        start = int(request.query_params.get("cursor", 0))
        headers = {}
        if start + self.page < len(entries):
            following = request.url.include_query_params(cursor=start + self.page)
            headers["Link"] = f'<{self.url}{request.scope["raw_path"].decode()}?{following.query}>; rel="next"'
        return JSONResponse(entries[start : start + self.page], headers=headers)

    def paths_info(self, request: Request, body: bytes, kind: str, repo: str, revision: str) -> Response:
        files = self._repo(request, kind, repo).find(revision).files
        return JSONResponse(
            [files[path].entry(path) for path in parse_qs(body.decode()).get("paths", []) if path in files]
        )

    def resolve(
        self, request: Request, body: bytes, repo: str, revision: str, path: str, kind: str = "models"
    ) -> Response:
        found = self._repo(request, kind, repo)
        if found.gated and self._user(request) is None:
            raise HubError(
                401, f"Access to model {repo} is restricted. You must be authenticated to access it.", "GatedRepo"
            )
        if found.gated:
            raise HubError(
                403, f"Access to model {repo} is restricted and you are not in the authorized list.", "GatedRepo"
            )
        commit = found.find(revision)
        if path not in commit.files:
            error = HubError(404, "Entry not found", "EntryNotFound")
            headers = {"X-Error-Code": "EntryNotFound", "X-Error-Message": error.message, "X-Repo-Commit": commit.oid}
            return JSONResponse({"error": error.message}, 404, headers)
        blob = commit.files[path]
        headers = {
            "X-Repo-Commit": commit.oid,
            "X-Linked-Size": str(len(blob.content)),
            "X-Linked-Etag": f'"{blob.etag}"',
        }
        if blob.lfs:
            self.objects[blob.sha256] = blob.content
            return Response(status_code=302, headers={**headers, "Location": f"{self.cdn}/cdn/{blob.sha256}"})
        location = f"/api/resolve-cache/{kind}/{repo}/{commit.oid}/{path}"
        return Response(status_code=307, headers={**headers, "Location": location})

    def resolve_cache(self, request: Request, body: bytes, kind: str, repo: str, revision: str, path: str) -> Response:
        commit = self._repo(request, kind, repo).find(revision)
        blob = commit.files[path]
        return self._content(request, blob.content, {"ETag": f'"{blob.etag}"', "X-Repo-Commit": commit.oid})

    def get_object(self, request: Request, body: bytes, oid: str) -> Response:
        return self._content(request, self.objects[oid], {"ETag": f'"{oid}"'})

    def _content(self, request: Request, content: bytes, headers: dict[str, str]) -> Response:
        headers = {**headers, "Accept-Ranges": "bytes", "Content-Type": "application/octet-stream"}
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("range", ""))
        if not found:
            return Response(content, headers=headers)
        start, end = int(found[1]), min(int(found[2] or len(content) - 1), len(content) - 1)
        if start >= len(content):
            return Response(status_code=416, headers={**headers, "Content-Range": f"bytes */{len(content)}"})
        headers["Content-Range"] = f"bytes {start}-{end}/{len(content)}"
        return Response(content[start : end + 1], 206, headers)

    # --- upload ---

    def preupload(self, request: Request, body: bytes, kind: str, repo: str, revision: str) -> Response:
        found = self._repo(request, kind, repo, write="create_pr" not in request.query_params)
        here = found.find(revision).files
        files = []
        for item in json.loads(body)["files"]:
            lfs = item["path"].endswith(LFS_SUFFIXES) or item["size"] > self.regular_bytes
            answer = {"path": item["path"], "uploadMode": "lfs" if lfs else "regular", "shouldIgnore": False}
            if item["path"] in here:
                answer["oid"] = here[item["path"]].sha256 if lfs else here[item["path"]].sha1
            files.append(answer)
        return JSONResponse({"files": files})

    def lfs_batch(self, request: Request, body: bytes, repo: str, kind: str = "models") -> Response:
        self._repo(request, kind, repo)
        objects = []
        for item in json.loads(body)["objects"]:
            oid, size = item["oid"], item["size"]
            answer: dict[str, Any] = {"oid": oid, "size": size}
            if oid not in self.objects:
                upload: dict[str, Any] = {"href": f"{self.cdn}/upload/{oid}"}
                if size > self.multipart_bytes:
                    count = -(-size // self.multipart_bytes)
                    numbered = {f"{n:05d}": f"{self.cdn}/upload/{oid}/{n}" for n in range(1, count + 1)}
                    upload = {
                        "href": f"{self.url}/complete/{oid}",
                        "header": {"chunk_size": str(self.multipart_bytes), **numbered},
                    }
                prefix = "" if kind == "models" else f"{kind}/"
                verify = {"href": f"{self.url}/{prefix}{repo}.git/info/lfs/verify"}
                answer["actions"] = {"upload": upload, "verify": verify}
            objects.append(answer)
        multipart = any("chunk_size" in item.get("actions", {}).get("upload", {}).get("header", {}) for item in objects)
        return JSONResponse({"transfer": "multipart" if multipart else "basic", "objects": objects})

    def upload(self, request: Request, body: bytes, oid: str, part: str | None = None) -> Response:
        if part is not None:
            self.parts.setdefault(oid, {})[int(part)] = body
            return Response(headers={"ETag": f'"{hashlib.md5(body).hexdigest()}"'})
        if hashlib.sha256(body).hexdigest() != oid:
            raise HubError(400, "the content does not have this SHA-256")
        self.objects[oid] = body
        return Response()

    def complete(self, request: Request, body: bytes, oid: str) -> Response:
        parts = self.parts.pop(oid)
        content = b"".join(parts[item["partNumber"]] for item in json.loads(body)["parts"])
        return self.upload(request, content, oid)

    def lfs_verify(self, request: Request, body: bytes, repo: str, kind: str = "models") -> Response:
        self._repo(request, kind, repo)
        item = json.loads(body)
        if len(self.objects.get(item["oid"], b"")) != item["size"]:
            raise HubError(404, "the object is not there")
        return JSONResponse({})

    def commit(self, request: Request, body: bytes, kind: str, repo: str, revision: str) -> Response:
        pull_request = request.query_params.get("create_pr") == "1"
        found = self._repo(request, kind, repo, write=not pull_request)
        user = self._user(request)
        base = found.find(revision)
        lines = [json.loads(line) for line in body.splitlines() if line.strip()]
        header = next(line["value"] for line in lines if line["key"] == "header")
        parent = header.get("parentCommit")
        if parent is not None and not base.oid.startswith(parent) and not pull_request:
            raise HubError(412, "A commit has happened since. Please refresh and try again.")
        files = dict(base.files)
        for line in lines:
            value = line["value"]
            path = value.get("path", "")
            if line["key"] == "file":
                files[path] = Blob(base64.b64decode(value["content"]), lfs=False)
            elif line["key"] == "lfsFile":
                if value["oid"] not in self.objects:
                    raise HubError(400, f"LFS object of {path} was not uploaded")
                files[path] = Blob(self.objects[value["oid"]], lfs=True)
            elif line["key"] == "deletedFile":
                if path not in files:
                    raise HubError(404, "A file with this name doesn't exist", "EntryNotFound")
                del files[path]
            elif line["key"] == "deletedFolder":
                files = {name: blob for name, blob in files.items() if not name.startswith(path.rstrip("/") + "/")}
        for path in files:
            if ".." in path.split("/") or path.startswith("/"):
                raise HubError(400, f"bad path {path}")
        answer: dict[str, Any] = {"success": True}
        if pull_request:
            number = len(found.requests) + 1
            made = found.commit(f"refs/pr/{number}", header["summary"], files, parent=base.oid)
            found.requests.append(
                {"num": number, "title": header["summary"], "author": user.name if user else "", "base": base.oid}
            )
            answer["pullRequestUrl"] = f"{self.url}/{found.id}/discussions/{number}"
        else:
            made = found.commit(revision, header["summary"], files)
        prefix = "" if kind == "models" else f"{kind}/"
        answer |= {"commitOid": made.oid, "commitUrl": f"{self.url}/{prefix}{found.id}/commit/{made.oid}"}
        return JSONResponse(answer)

    # --- references ---

    def refs(self, request: Request, body: bytes, kind: str, repo: str) -> Response:
        found = self._repo(request, kind, repo)
        branches = [
            {"name": name, "ref": f"refs/heads/{name}", "targetCommit": oid}
            for name, oid in found.refs.items()
            if not name.startswith("refs/")
        ]
        tags = [{"name": name, "ref": f"refs/tags/{name}", "targetCommit": oid} for name, oid in found.tags.items()]
        requests = [
            {"name": name, "ref": name, "targetCommit": oid} for name, oid in found.refs.items() if "refs/pr" in name
        ]
        extra = {"pullRequests": requests} if "include_prs" in request.query_params else {}
        return JSONResponse({"branches": branches, "converts": [], "tags": tags, **extra})

    def commits(self, request: Request, body: bytes, kind: str, repo: str, revision: str) -> Response:
        found = self._repo(request, kind, repo)
        oid: str | None = found.find(revision).oid
        listed = []
        while oid is not None:
            entry = found.commits[oid]
            listed.append({"id": oid, "title": entry.title, "message": "", "date": DATE, "authors": [{"user": "test"}]})
            oid = entry.parent
        return JSONResponse(listed)

    def create_tag(self, request: Request, body: bytes, kind: str, repo: str, revision: str) -> Response:
        found = self._repo(request, kind, repo, write=True)
        oid, tag = found.find(revision).oid, json.loads(body)["tag"]
        if tag in found.tags:
            raise HubError(409, f"Tag {tag} exists already")
        found.tags[tag] = oid
        return JSONResponse({})

    def create_branch(self, request: Request, body: bytes, kind: str, repo: str, branch: str) -> Response:
        found = self._repo(request, kind, repo, write=True)
        if branch in found.refs:
            raise HubError(409, f"Branch {branch} exists already")
        start = (json.loads(body) if body else {}).get("startingPoint", "main")
        found.refs[branch] = found.find(start).oid
        return JSONResponse({})

    def discussions(self, request: Request, body: bytes, kind: str, repo: str) -> Response:
        found = self._repo(request, kind, repo)
        listed = [
            {
                "num": item["num"],
                "title": item["title"],
                "author": {"name": item["author"]},
                "isPullRequest": True,
                "status": "open",
                "createdAt": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z"),
                "repo": {"name": repo, "type": kind.removesuffix("s")},
            }
            for item in found.requests
        ]
        return JSONResponse({"discussions": listed, "count": len(listed), "start": 0, "numClosedDiscussions": 0})


class _Nothing(Response):
    """No answer: the connection was closed."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        return


class _Cut(Response):
    """The beginning of an answer, and then the end of the connection."""

    def __init__(self, whole: Response, length: int, close: Callable[[], Any]) -> None:
        super().__init__(status_code=whole.status_code)
        self.whole, self.length, self.close = whole, length, close

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": self.whole.status_code, "headers": self.whole.raw_headers})
        await send({"type": "http.response.body", "body": self.whole.body[: self.length], "more_body": True})
        await asyncio.sleep(0.02)  # let what was sent arrive before a reset throws it away
        self.close()


_KIND = r"(?P<kind>models|datasets)"
_REPO = r"(?P<repo>[^/]+/[^/]+)"
_API = rf"/api/{_KIND}/{_REPO}"
_WEB = rf"/(?:(?P<kind>datasets)/)?{_REPO}"
_REVISION = r"(?P<revision>[^/]+)"
ROUTES = [
    (r"GET /api/whoami-v2", "whoami"),
    (r"POST /api/repos/create", "create"),
    (r"DELETE /api/repos/delete", "delete_repo"),
    (r"POST /api/validate-yaml", "validate_yaml"),
    (r"GET /api/models", "list_models"),
    (rf"GET /api/resolve-cache/{_KIND}/{_REPO}/{_REVISION}/(?P<path>.+)", "resolve_cache"),
    (rf"GET {_API}/revision/{_REVISION}", "repo_info"),
    (rf"GET {_API}/tree/{_REVISION}(?:/(?P<path>.+))?", "tree"),
    (rf"POST {_API}/paths-info/{_REVISION}", "paths_info"),
    (rf"GET {_API}/refs", "refs"),
    (rf"GET {_API}/commits/{_REVISION}", "commits"),
    (rf"GET {_API}/auth-check(?:/write)?", "auth_check"),
    (rf"GET {_API}/discussions", "discussions"),
    (rf"POST {_API}/tag/{_REVISION}", "create_tag"),
    (rf"POST {_API}/branch/(?P<branch>[^/]+)", "create_branch"),
    (rf"POST {_API}/preupload/{_REVISION}", "preupload"),
    (rf"POST {_API}/commit/{_REVISION}", "commit"),
    (rf"GET {_API}", "repo_info"),
    (rf"POST {_WEB}\.git/info/lfs/objects/batch", "lfs_batch"),
    (rf"POST {_WEB}\.git/info/lfs/verify", "lfs_verify"),
    (rf"GET {_WEB}/resolve/{_REVISION}/(?P<path>.+)", "resolve"),
    (r"GET /cdn/(?P<oid>[0-9a-f]{64})", "get_object"),
    (r"PUT /upload/(?P<oid>[0-9a-f]{64})(?:/(?P<part>\d+))?", "upload"),
    (r"POST /complete/(?P<oid>[0-9a-f]{64})", "complete"),
]
