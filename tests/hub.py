"""A stand-in of the Hugging Face hub on this machine, which the real client libraries talk to over loopback.

It holds repositories with branches and commits, takes uploads (large files as small ones) and fails on demand.
Tests get it as the fixture `hub`:

    hub.repositories["me/run"] = Repository({"main": OLD}, {OLD: {"config.json": b"{}"}})   "datasets/me/it" for data
    hub.faults["config.json"] = 429          an answer with this status wherever the path holds the text, or CUT, GATED
    hub.faults["config.json"] = [429, CUT]   the same, of the next answers only
    hub.asked                                what was asked for, in order
"""

import base64
import fnmatch
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

CUT = "cut"  # half of an answer, then the connection is closed
GATED = "gated"  # 401: what a visitor without a login is told of a repository that needs permission
CODES = {401: "RepoNotFound", 403: "GatedRepo"}  # as the hub answers without a login


@dataclass
class Repository:
    """Branches and tags by name, and the files of each commit; `tags` says which names are tags."""

    refs: dict[str, str] = field(default_factory=lambda: {"main": "0" * 40})
    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    tags: tuple[str, ...] = ()

    def commit(self, revision: str) -> str | None:
        """Return the commit of a branch, tag or commit."""
        known = {*self.files, *self.refs.values()}
        return self.refs.get(revision, revision if revision in known else None)


class Hub(ThreadingHTTPServer):
    """The server, with all that tests set and look at."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Request)
        self.repositories: dict[str, Repository] = {}
        self.faults: dict[str, int | str | list[int | str]] = {}
        self.asked: list[str] = []
        self.endpoint = f"http://127.0.0.1:{self.server_port}"

    def fault(self, path: str) -> int | str | None:
        """Return what goes wrong with the answer to a path; of a list of faults take the first."""
        for text, fault in self.faults.items():
            if text in path:
                return (fault.pop(0) if fault else None) if isinstance(fault, list) else fault
        return None


class Request(BaseHTTPRequestHandler):
    """One request: information, files, or a step of an upload."""

    server: Hub
    cut = False
    query = ""

    def do_GET(self) -> None:
        path, _, self.query = self.path.partition("?")
        path = path.strip("/")
        self.server.asked.append(path)
        fault = self.server.fault(path)
        self.cut = fault == CUT
        if fault == GATED:
            self.answer(401, b"", {"X-Error-Code": "GatedRepo"})
        elif isinstance(fault, int):
            self.answer(fault, b"", {"X-Error-Code": CODES[fault]} if fault in CODES else {"RateLimit": '"x";r=0;t=0'})
        elif path.startswith("api/"):
            self.information(path.removeprefix("api/").removeprefix("models/"))
        else:
            self.file(path)

    do_HEAD = do_GET

    def information(self, path: str) -> None:
        """Answer what a repository is, or which files a commit has."""
        name, _, rest = _split(path)
        repository = self.server.repositories.get(name)
        if repository is None:
            return self.answer(401, b"", {"X-Error-Code": "RepoNotFound"})  # what an unknown user is told
        what, _, place = rest.partition("/")
        if what == "refs":
            return self.answer(200, _references(repository))
        revision, _, folder = map(unquote, place.partition("/"))
        commit = repository.commit(revision or "main")
        if commit is None:
            return self.answer(404, b"", {"X-Error-Code": "RevisionNotFound"})
        files = repository.files.get(commit, {})
        if what == "tree" and folder and not any(name.startswith(f"{folder}/") for name in files):
            return self.answer(404, b"", {"X-Error-Code": "EntryNotFound"})
        if what == "tree":
            inside = {
                name: len(data) for name, data in files.items() if name.startswith(f"{folder}/" if folder else "")
            }
            return self.answer(200, _tree(inside, folder, recursive="recursive=true" in self.query.lower()))
        siblings = [{"rfilename": name, "size": len(data)} for name, data in files.items()]
        return self.answer(200, {"id": name.removeprefix("datasets/"), "sha": commit, "siblings": siblings})

    def file(self, path: str) -> None:
        """Answer a file of a commit, or the part of it that is asked for."""
        name, _, rest = _split(path)
        revision, _, file = map(unquote, rest.removeprefix("resolve/").partition("/"))
        repository = self.server.repositories.get(name, Repository({}))
        commit = repository.commit(revision)
        data = repository.files.get(commit or "", {}).get(file)
        if data is None:
            return self.answer(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit or ""})
        headers = {"ETag": f'"{hashlib.sha256(data).hexdigest()}"', "X-Repo-Commit": str(commit)}
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if asked and self.command == "GET":
            first, last = int(asked[1]), min(int(asked[2] or len(data)), len(data) - 1)
            headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
            return self.answer(206, data[first : last + 1], headers)
        return self.answer(200, data, headers)

    def do_POST(self) -> None:
        path = self.path.partition("?")[0].strip("/")
        if "Content-Length" in self.headers:
            body = self.rfile.read(int(self.headers["Content-Length"]))
        else:
            lengths = iter(lambda: int(self.rfile.readline(), 16), 0)
            body = b"".join((self.rfile.read(n), self.rfile.readline())[0] for n in lengths)
        if path == "api/repos/create":
            name = "/".join(filter(None, (json.loads(body).get("organization") or "me", json.loads(body)["name"])))
            self.server.repositories.setdefault(name, Repository())
            self.answer(200, {"url": f"{self.server.endpoint}/{name}", "id": name, "name": name})
        elif "/preupload/" in path:
            asked = json.loads(body)
            ignored = [line for line in asked.get("gitIgnore", "").splitlines() if not line.startswith("#")]
            self.answer(200, {"files": [_mode(file["path"], ignored) for file in asked["files"]]})
        elif "/commit/" in path:
            self.commit(_split(path.removeprefix("api/models/"))[0], [json.loads(line) for line in body.splitlines()])
        elif path == "api/validate-yaml":  # of a model card, before it is uploaded
            self.answer(200, {"errors": [], "warnings": []})
        else:
            self.answer(404, b"")

    def commit(self, name: str, entries: list[dict]) -> None:
        """Add a commit to the main branch."""
        repository = self.server.repositories[name]
        files = dict(repository.files.get(repository.refs["main"], {}))
        for entry in entries:
            if entry["key"] == "file":
                files[entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
        commit = hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()
        repository.files[commit], repository.refs["main"] = files, commit
        self.answer(200, {"commitUrl": f"{self.server.endpoint}/{name}/commit/{commit}", "commitOid": commit})

    def answer(self, status: int, value: object, headers: dict[str, str] | None = None) -> None:
        """Answer bytes, or a value as JSON; half of them where the connection is cut."""
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        for key, text in {
            "Content-Length": str(len(data)),
            "Content-Type": "application/json",
            **(headers or {}),
        }.items():
            self.send_header(key, text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data[: len(data) // 2] if self.cut else data)

    def log_message(self, *args: object) -> None:
        pass


def _tree(sizes: dict[str, int], folder: str, *, recursive: bool) -> list[dict[str, object]]:
    """Return the entries of a folder; its subfolders alone stand for what is in them unless it is recursive."""
    files, folders = [], {}
    for name, size in sizes.items():
        *parts, _ = name.removeprefix(f"{folder}/" if folder else "").split("/")
        for end in range(1, len(parts) + 1 if recursive else min(len(parts), 1) + 1):
            folders["/".join(filter(None, [folder, *parts[:end]]))] = None
        if recursive or not parts:
            files.append({"type": "file", "path": name, "size": size, "oid": "0" * 40})
    return [*({"type": "directory", "path": name, "size": 0, "oid": "0" * 40} for name in folders), *files]


def _references(repository: Repository) -> dict[str, list[dict[str, str]]]:
    """Return the branches and tags of a repository, as the hub answers."""
    found: dict[str, list[dict[str, str]]] = {"branches": [], "tags": [], "converts": []}
    for name, commit in repository.refs.items():
        kind, place = ("tags", "tags") if name in repository.tags else ("branches", "heads")
        found[kind].append({"name": name, "ref": f"refs/{place}/{name}", "targetCommit": commit})
    return found


def _split(path: str) -> tuple[str, str, str]:
    """Return a repository's name and what follows it in a path."""
    parts = path.split("/")
    n = 3 if parts[0] == "datasets" else 2
    return "/".join(parts[:n]), "/", "/".join(parts[n:])


def _mode(path: str, ignored: list[str]) -> dict[str, object]:
    """Return how a file is to be sent; of the .gitignore language only names of folders are understood."""
    out = any(fnmatch.fnmatch(folder, line.rstrip("/")) for folder in path.split("/")[:-1] for line in ignored)
    return {"path": path, "uploadMode": "regular", "shouldIgnore": out, "oid": None}


@contextmanager
def serving() -> Iterator[Hub]:
    """Run a stand-in until the end of the block."""
    with Hub() as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()
