"""The Hugging Face Hub's interface on this machine, as far as publishing and loading a model go."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class LocalHub:
    """What the server holds.

    Attributes:
        url: Its address.
        repos: By name, the files of its one revision.
        asked: Every request, as method and path.
        token: What a request must carry to change something.
    """

    def __init__(self, token: str) -> None:
        self.url = ""
        self.repos: dict[str, dict[str, bytes]] = {}
        self.asked: list[str] = []
        self.token = token

    def sha(self, repo: str) -> str:
        """The name of the newest commit."""
        content = b"".join(name.encode() + data for name, data in sorted(self.repos[repo].items()))
        return hashlib.sha1(content, usedforsecurity=False).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    hub: LocalHub

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/api/validate-yaml":
            return self._json({"errors": [], "warnings": []})
        if self.headers.get("Authorization") != f"Bearer {self.hub.token}":
            return self._json({"error": "Invalid username or password."}, 401)
        if self.path == "/api/repos/create":
            asked = json.loads(body)
            name = "/".join(part for part in (asked.get("organization"), asked["name"]) if part)
            self.hub.repos.setdefault(name, {})
            return self._json({"url": f"{self.hub.url}/{name}", "name": name})
        repo, action = self._repo()
        if action.startswith("preupload"):
            files = json.loads(body)["files"]
            modes = [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files]
            return self._json({"files": modes})
        assert action.startswith("commit"), self.path
        for line in map(json.loads, body.splitlines()):
            if line["key"] == "file":
                value = line["value"]
                assert value["encoding"] == "base64"
                self.hub.repos[repo][value["path"]] = base64.b64decode(value["content"])
        sha = self.hub.sha(repo)
        return self._json(
            {"success": True, "commitOid": sha, "commitUrl": f"{self.hub.url}/{repo}/commit/{sha}"}
        )

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def _answer(self, *, with_body: bool) -> None:
        if self.path.startswith("/api/models/"):
            repo, action = self._repo()
            if repo not in self.hub.repos:
                return self._json({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
            files = self.hub.repos[repo]
            if action.startswith("tree"):
                return self._json(
                    [{"type": "file", "path": n, "size": len(d), "oid": "0"} for n, d in files.items()]
                )
            return self._json(
                {"id": repo, "sha": self.hub.sha(repo), "siblings": [{"rfilename": name} for name in files]}
            )
        user, name, resolve, revision, *path = self.path.strip("/").split("/")
        assert resolve == "resolve", self.path
        assert revision in ("main", self.hub.sha(f"{user}/{name}")), self.path
        content = self.hub.repos[f"{user}/{name}"].get("/".join(path))
        if content is None:
            return self._json({"error": "Entry not found"}, 404, {"X-Error-Code": "EntryNotFound"})
        tag = hashlib.sha1(content, usedforsecurity=False).hexdigest()
        headers = {"ETag": f'"{tag}"', "X-Repo-Commit": self.hub.sha(f"{user}/{name}")}
        return self._send(
            content if with_body else b"", 200, {**headers, "Content-Length": str(len(content))}
        )

    def _repo(self) -> tuple[str, str]:
        """The repository of an address of the API, and what is asked of it."""
        _, _, user, name, *action = self.path.split("?")[0].strip("/").split("/")
        return f"{user}/{name}", "/".join(action)

    def _json(self, value: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        content = json.dumps(value).encode()
        self._send(content, status, {"Content-Type": "application/json", **(headers or {})})

    def _send(self, content: bytes, status: int, headers: dict[str, str]) -> None:
        self.hub.asked.append(f"{self.command} {self.path}")
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Nothing on standard error."""


@contextmanager
def local_hub(token: str = "hf_local") -> Iterator[LocalHub]:
    """A server on this machine, for as long as the block lasts."""
    hub = LocalHub(token)
    handler = type("Handler", (_Handler,), {"hub": hub})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        hub.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()
