"""A stand-in for the Hugging Face Hub on this machine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

NAME = "user/model"


class Hub:
    """A server of one model with one or several revisions.

    Attributes:
        revisions: folder of each commit; the last one is `main`.
        tags: commits by the names of other revisions.
        requests: paths of the requests for files and for the name of a revision.
        is_cut: whether the connection breaks in the middle of a file of weights.
        address: of the server.
    """

    def __init__(self, folder: Path) -> None:
        self.revisions, self.tags = {"a" * 40: folder}, {"v1": "a" * 40}
        self.requests: list[str] = []
        self.is_cut = False
        self.address = ""

    def push(self, folder: Path) -> None:
        """Adds a revision, which becomes `main`."""
        self.revisions[f"{len(self.revisions):040x}"] = folder

    def files(self, commit: str) -> list[str]:
        """Names of the files of a revision."""
        folder = self.revisions[commit]
        return [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]

    def commit(self, revision: str) -> str | None:
        """The commit of a branch, a tag or a commit."""
        named = {"main": [*self.revisions][-1]} | self.tags
        found = named.get(revision, revision)
        return found if found in self.revisions else None

    def answer(self, path: str) -> tuple[int, bytes, dict[str, str]]:
        """Status, content and headers for a path."""
        missing = 404, b"", {"X-Error-Code": "RepoNotFound"}
        if path.startswith(f"/api/models/{NAME}"):
            kind, _, revision = path.removeprefix(f"/api/models/{NAME}").strip("/").partition("/")
            commit = self.commit(revision or "main")
            if commit is None:
                return 404, b"", {"X-Error-Code": "RevisionNotFound"}
            if kind == "tree":
                sizes = {name: (self.revisions[commit] / name).stat().st_size for name in self.files(commit)}
                tree = [{"type": "file", "path": name, "size": sizes[name], "oid": "0" * 40} for name in sizes]
                return 200, json.dumps(tree).encode(), {}
            self.requests.append(revision or "main")
            about = {"id": NAME, "sha": commit, "siblings": [{"rfilename": name} for name in self.files(commit)]}
            return 200, json.dumps(about).encode(), {}
        revision, _, name = path.removeprefix(f"/{NAME}/resolve/").partition("/")
        commit = self.commit(revision)
        if not path.startswith(f"/{NAME}/resolve/") or commit is None or name not in self.files(commit):
            return missing
        self.requests.append(name)
        return 200, (self.revisions[commit] / name).read_bytes(), {"X-Repo-Commit": commit}


@contextmanager
def serving(folder: Path) -> Iterator[Hub]:
    """A server with the model of a folder."""
    hub = Hub(folder)

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            code, body, headers = hub.answer(path)
            self.send_response(code)
            etag = hashlib.sha256(body).hexdigest()
            for header, value in {"ETag": f'"{etag}"', "Content-Length": str(len(body)), **headers}.items():
                self.send_header(header, value)
            self.end_headers()
            is_cut = hub.is_cut and path.endswith(".safetensors")
            if self.command == "GET":
                self.wfile.write(body[: len(body) // 2] if is_cut else body)

        def log_message(self, *_: object) -> None:
            """Is silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.address = f"http://127.0.0.1:{server.server_port}"
    Thread(target=server.serve_forever, daemon=True).start()
    yield hub
    server.shutdown()
    server.server_close()
