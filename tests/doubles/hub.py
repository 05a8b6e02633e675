"""A hub of data sets on this machine: the part of the Hugging Face hub's protocol by which `datasets` streams files.
By another part of it huggingface_hub creates repositories and uploads to them (large files by LFS, in a request each).

A double at the outermost edge: real HTTP, the real protocol, repositories in memory. It counts what it is asked.
"""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit


@dataclass
class Hub:
    """`files` are the contents by (repository, commit, path); `requests` what was asked, `served` the bytes of files
    that were sent.

    `stored` are the large files that have arrived, by SHA-256; `commits` the messages of what was committed. A pushed
    repository has one commit, `main`. After `patience` large files the hub takes no more, as if it hung.
    """

    files: dict[tuple[str, str, str], bytes]
    requests: list[str] = field(default_factory=list)
    served: int = 0
    url: str = ""
    token: str = ""
    repositories: dict[str, bool] = field(default_factory=dict)
    """Those that were created, and whether they are private."""
    stored: dict[str, bytes] = field(default_factory=dict)
    commits: list[str] = field(default_factory=list)
    patience: int = 1 << 30
    lock: threading.Lock = field(default_factory=threading.Lock)

    def paths(self, repo: str, commit: str) -> dict[str, bytes]:
        return {path: content for (name, at, path), content in self.files.items() if (name, at) == (repo, commit)}


def _oid(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        self.hub.requests.append(f"PUT {self.path}")
        with self.hub.lock:
            if len(self.hub.stored) < self.hub.patience:
                oid = hashlib.sha256(content).hexdigest()
                assert self.path == f"/lfs/{oid}"
                self.hub.stored[oid] = content
                self._json({})
                return
        threading.Event().wait()  # whoever sends it is killed meanwhile

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urlsplit(self.path)
        parts = [unquote(part) for part in url.path.strip("/").replace(".git/", "/").split("/")]
        self.hub.requests.append(f"{self.command} {unquote(self.path)}")
        if self.command == "POST" and self._write(parts, body):
            return
        if parts[:2] == ["api", "datasets"] and len(parts) >= 4:
            self._api("/".join(parts[2:4]), parts[4:], body)
        elif parts[:1] == ["datasets"] and parts[3:4] == ["resolve"]:
            self._file("/".join(parts[1:3]), parts[4], "/".join(parts[5:]))
        elif parts[2:3] == ["resolve"]:  # of a model
            self._file("/".join(parts[:2]), parts[3], "/".join(parts[4:]))
        else:
            self._error(404, "EntryNotFound")

    def _api(self, repo: str, rest: list[str], body: bytes) -> None:
        known = {commit for name, commit, _ in self.hub.files if name == repo}
        known |= {"main"} if repo in self.hub.repositories else set()
        if not known:
            self._error(401, "RepoNotFound")
            return
        kind, commit, *below = rest if len(rest) >= 2 else ("revision", "main")
        if commit not in known:
            self._error(404, "RevisionNotFound")
            return
        files = self.hub.paths(repo, commit)
        match kind:
            case "revision":
                siblings = [{"rfilename": path} for path in files]
                self._json({"id": repo, "sha": commit, "private": False, "tags": [], "siblings": siblings})
            case "paths-info":
                wanted = _paths(body)
                self._json([_entry(path, files) for path in wanted if _entry(path, files)])
            case "tree":
                self._tree("/".join(below), files)
            case _:
                self._error(404, "EntryNotFound")

    def _write(self, parts: list[str], body: bytes) -> bool:
        """Answer a request that writes; False for one that does not."""
        match parts:
            case ["api", "validate-yaml"]:
                self._json({"errors": [], "warnings": []})
            case ["api", "repos", "create"]:
                asked = json.loads(body)
                repo = f"{asked['organization']}/{asked['name']}" if asked.get("organization") else asked["name"]
                if self.headers.get("Authorization") != f"Bearer {self.hub.token}":
                    self._error(401, "Unauthorized")
                else:
                    status = 409 if repo in self.hub.repositories else 200
                    self.hub.repositories.setdefault(repo, asked.get("visibility") == "private")
                    self._json({"url": f"{self.hub.url}/datasets/{repo}", "name": repo, "id": repo}, status)
            case ["api", "datasets", owner, name, "preupload", revision]:
                files = self.hub.paths(f"{owner}/{name}", revision)
                asked = json.loads(body)["files"]
                self._json(
                    {
                        "files": [
                            {
                                "path": item["path"],
                                "uploadMode": "lfs" if item["path"].endswith(".parquet") else "regular",
                                "shouldIgnore": False,
                                "oid": _oid(files[item["path"]]) if item["path"] in files else None,
                            }
                            for item in asked
                        ]
                    }
                )
            case ["datasets", _, _, "info", "lfs", "objects", "batch"]:
                self._json({"transfer": "basic", "objects": [self._lfs(item) for item in json.loads(body)["objects"]]})
            case ["api", "datasets", owner, name, "commit", revision]:
                self._commit(f"{owner}/{name}", revision, [json.loads(line) for line in body.splitlines()])
            case _:
                return False
        return True

    def _lfs(self, item: dict[str, Any]) -> dict[str, Any]:
        if item["oid"] in self.hub.stored:
            return item
        return {**item, "actions": {"upload": {"href": f"{self.hub.url}/lfs/{item['oid']}"}}}

    def _commit(self, repo: str, revision: str, lines: list[dict[str, Any]]) -> None:
        for line in lines:
            value = line["value"]
            match line["key"]:
                case "header":
                    self.hub.commits.append(value["summary"])
                case "file":
                    self.hub.files[repo, revision, value["path"]] = base64.b64decode(value["content"])
                case "lfsFile":
                    self.hub.files[repo, revision, value["path"]] = self.hub.stored[value["oid"]]
                case "deletedFile":
                    del self.hub.files[repo, revision, value["path"]]
        oid = hashlib.sha1(repr(sorted(self.hub.paths(repo, revision).items())).encode()).hexdigest()
        self._json({"success": True, "commitOid": oid, "commitUrl": f"{self.hub.url}/datasets/{repo}/commit/{oid}"})

    def _tree(self, folder: str, files: dict[str, bytes]) -> None:
        prefix = f"{folder}/" if folder else ""
        inside = {path.removeprefix(prefix) for path in files if path.startswith(prefix)}
        if not inside and folder:
            self._error(404, "EntryNotFound")
            return
        if "recursive=true" in self.path.lower():
            inside |= {name[:place] for name in inside for place, char in enumerate(name) if char == "/"}
        else:
            inside = {name.partition("/")[0] for name in inside}
        self._json([_entry(prefix + name, files) for name in sorted(inside)])

    def _file(self, repo: str, commit: str, path: str) -> None:
        content = self.hub.files.get((repo, commit, path))
        if content is None:
            self._error(404, "EntryNotFound")
            return
        start, end, status = 0, len(content), 200
        if ranged := self.headers.get("Range"):
            first, _, last = ranged.removeprefix("bytes=").partition("-")
            start, end, status = int(first), min(int(last or end) + 1, end), 206
        sent = content[start:end]
        self.send_response(status)
        self.send_header("ETag", f'"{_oid(content)}"')
        self.send_header("X-Repo-Commit", commit)
        self.send_header("Accept-Ranges", "bytes")
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(sent)))
        self.end_headers()
        if self.command != "HEAD":
            self.hub.served += len(sent)
            self.wfile.write(sent)

    def _json(self, value: Any, status: int = 200) -> None:
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _error(self, status: int, code: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("X-Error-Message", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *arguments: Any) -> None:
        return None


def _paths(body: bytes) -> list[str]:
    try:
        paths = json.loads(body)["paths"]
    except ValueError:
        paths = parse_qs(body.decode())["paths"]
    return [paths] if isinstance(paths, str) else paths


def _entry(path: str, files: dict[str, bytes]) -> dict[str, Any] | None:
    if path in files:
        return {"type": "file", "path": path, "size": len(files[path]), "oid": _oid(files[path])}
    if any(name.startswith(f"{path}/") for name in files):
        return {"type": "directory", "path": path, "size": 0, "oid": _oid(path.encode())}
    return None


@contextmanager
def serving(files: dict[tuple[str, str, str], bytes]) -> Iterator[Hub]:
    """A hub that listens on a free port of this machine until the block ends."""
    hub = Hub(files)
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
