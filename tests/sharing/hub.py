"""A stand-in for the Hugging Face Hub on this computer: creation of repositories, uploads, and downloads."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import yaml

LARGE = (".safetensors", ".png")
"""Suffixes of files that the Hub wants as LFS objects."""


@dataclass
class Repository:
    """Content of a repository.

    Attributes:
        files: content by path.
        private: whether it is private.
        commits: lines of each commit, without content.
    """

    files: dict[str, bytes] = field(default_factory=lambda: {".gitattributes": b"*.safetensors filter=lfs\n"})
    private: bool = False
    commits: list[list[dict[str, Any]]] = field(default_factory=list)

    @property
    def sha(self) -> str:
        """Hash of the newest commit."""
        return hashlib.sha1(repr((len(self.commits), sorted(self.files.items()))).encode()).hexdigest()

    def tags(self) -> list[str]:
        """Tags in the metadata of the card."""
        parts = self.files.get("README.md", b"").decode().split("---\n")
        return list((yaml.safe_load(parts[1]) or {}).get("tags", [])) if len(parts) > 2 else []


@dataclass
class Hub:
    """The stand-in.

    Attributes:
        repositories: by USER/NAME.
        objects: LFS objects by hash.
        failures: status of the answer to a request whose path contains the key.
        requests: methods and paths.
        agents: user agents.
    """

    address: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    failures: dict[str, int] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    agents: set[str] = field(default_factory=set)

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, bytes | object, dict[str, str]]:
        """Status, content and headers of the answer to a request."""
        self.requests.append(f"{method} {path}")
        for part, status in self.failures.items():
            if part in path:
                return status, {"error": "planted", "errors": [{"message": "planted"}]}, {}
        if path == "/api/whoami-v2":
            return 200, {"type": "user", "name": "anna", "orgs": []}, {}
        if path == "/api/repos/create":
            return self.create(json.loads(body))
        if path == "/api/validate-yaml":
            return 200, {"errors": [], "warnings": []}, {}
        if path.startswith("/lfs/"):
            self.objects[path.removeprefix("/lfs/")] = body
            return 200, {}, {}
        parts = path.removeprefix("/api/models").strip("/").split("/")
        name = "/".join(parts[:2]).removesuffix(".git")
        if name not in self.repositories:
            return 404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"}
        repository = self.repositories[name]
        match method, parts[2:]:
            case "POST", ["preupload", _]:
                files = json.loads(body)["files"]
                return 200, {"files": [self.mode(repository, file["path"]) for file in files]}, {}
            case "POST", ["info", "lfs", "objects", "batch"]:
                return 200, {"objects": [self.place(one) for one in json.loads(body)["objects"]]}, {}
            case "POST", ["commit", _]:
                return self.commit(name, [json.loads(line) for line in body.splitlines()])
            case _, ["resolve", _, *file]:
                content = repository.files.get("/".join(file))
                if content is None:
                    return 404, b"", {"X-Error-Code": "EntryNotFound"}
                etag = hashlib.sha256(content).hexdigest()
                return 200, content, {"ETag": f'"{etag}"', "X-Repo-Commit": repository.sha}
            case _, ["tree", *_]:
                sizes = {path: len(content) for path, content in repository.files.items()}
                return 200, [{"type": "file", "path": p, "size": n, "oid": "0" * 40} for p, n in sizes.items()], {}
        siblings = [{"rfilename": path} for path in repository.files]
        facts = {"id": name, "sha": repository.sha, "private": repository.private, "siblings": siblings}
        return 200, facts | {"tags": repository.tags()}, {}

    def create(self, wanted: dict[str, Any]) -> tuple[int, object, dict[str, str]]:
        """Creates a repository."""
        name = f"{wanted['organization'] or 'anna'}/{wanted['name']}"
        address = {"url": f"{self.address}/{name}"}
        if name in self.repositories:
            return 409, address | {"error": "exists"}, {}
        self.repositories[name] = Repository(private=wanted.get("visibility") == "private")
        return 200, address, {}

    def mode(self, repository: Repository, path: str) -> dict[str, object]:
        """How a file is uploaded."""
        present, is_large, oid = repository.files.get(path), path.endswith(LARGE), None
        if present is not None:
            blob = b"blob %d\0" % len(present) + present
            oid = hashlib.sha256(present).hexdigest() if is_large else hashlib.sha1(blob).hexdigest()
        return {"path": path, "uploadMode": "lfs" if is_large else "regular", "shouldIgnore": False, "oid": oid}

    def place(self, wanted: dict[str, Any]) -> dict[str, Any]:
        """Where an LFS object is uploaded to; nowhere if it is present."""
        if wanted["oid"] in self.objects:
            return wanted
        return wanted | {"actions": {"upload": {"href": f"{self.address}/lfs/{wanted['oid']}"}}}

    def commit(self, name: str, lines: list[dict[str, Any]]) -> tuple[int, object, dict[str, str]]:
        """Applies a commit, or none of it."""
        repository = self.repositories[name]
        parent = lines[0]["value"].get("parentCommit")
        if parent not in (None, repository.sha):
            return 412, {"error": "the parent is not the newest commit"}, {}
        files = dict(repository.files)
        for line in lines[1:]:
            value = line["value"]
            match line["key"]:
                case "file":
                    files[value["path"]] = base64.b64decode(value.pop("content"))
                case "lfsFile":
                    files[value["path"]] = self.objects[value["oid"]]
                case "deletedFile":
                    del files[value["path"]]
        repository.files = files
        repository.commits.append(lines)
        return 200, {"commitUrl": f"{self.address}/{name}/commit/{repository.sha}", "commitOid": repository.sha}, {}


@contextmanager
def serving() -> Iterator[Hub]:
    """Serves a stand-in."""
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def respond(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if "Transfer-Encoding" in self.headers:
                raise NotImplementedError("chunked uploads")
            hub.agents.add(self.headers.get("User-Agent", ""))
            status, content, headers = hub.answer(self.command, self.path.partition("?")[0], body)
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        do_GET = do_HEAD = do_POST = do_PUT = respond  # noqa: N815 (names of http.server)

        def log_message(self, *_: object) -> None:
            """Is silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.address = f"http://127.0.0.1:{server.server_port}"
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
