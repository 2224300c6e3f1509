"""A server on this machine that speaks the hub's protocol as far as uploads and downloads need it.

The real client of huggingface_hub talks to it: repositories, branches, ``preupload``, LFS with its
batch and its PUT, commits, and ``resolve`` for downloads. Xet is left out: the client is asked to
do without, and then uploads by LFS.
"""

import base64
import hashlib
import json
import re
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

GOOD, READER = "hf_good", "hf_reader"
"""Tokens: of the owner of everything, and of one who may only read."""

LFS_SUFFIX = ".safetensors"


@dataclass
class Repo:
    """A repository: its branches, and the files of each commit."""

    private: bool
    commits: dict = field(default_factory=dict)
    branches: dict = field(default_factory=dict)
    messages: list = field(default_factory=list)

    def commit(self, branch, files, message):
        sha = hashlib.sha1(json.dumps([sorted(files), message, len(self.commits)]).encode())
        self.commits[sha.hexdigest()] = dict(files)
        self.branches[branch] = sha.hexdigest()
        self.messages.append(message)
        return sha.hexdigest()

    def sha_of(self, revision):
        return self.branches.get(revision, revision if revision in self.commits else None)


class Hub:
    """The state of the server."""

    def __init__(self):
        self.repos, self.objects, self.requests = {}, {}, []
        self.failing, self.ignored = {}, ()
        self.before_commit = lambda: None

    def add(self, name, files, *, private=False):
        repo = self.repos[name] = Repo(private)
        repo.commit("main", {".gitattributes": b"", **files}, "initial commit")
        return repo

    def files(self, name, revision="main"):
        repo = self.repos[name]
        return {k: v for k, v in repo.commits[repo.sha_of(revision)].items() if k[0] != "."}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    @property
    def hub(self) -> Hub:
        return self.server.hub

    def _answer(self, status, content=b"", headers=None):
        if not isinstance(content, bytes):
            content = json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": len(content), **(headers or {})}.items():
            self.send_header(name, str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _refuse(self, status, code=None):
        self._answer(status, {"error": "refused"}, {"X-Error-Code": code} if code else {})

    @property
    def token(self):
        return (self.headers.get("Authorization") or "").removeprefix("Bearer ")

    def _handle(self):
        path = unquote(urlsplit(self.path).path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b"".join(self._chunks())
        self.hub.requests.append(f"{self.command} {path}")
        for part, status in self.hub.failing.items():
            if part in path:
                return self._refuse(status)
        for pattern, method, answer in _ROUTES:
            found = re.fullmatch(pattern, path)
            if found and self.command in method:
                return answer(self, body, *found.groups())
        return self._refuse(404)

    do_GET = do_HEAD = do_POST = do_PUT = _handle  # noqa: N815 -- as http.server calls them

    def _chunks(self):
        while size := int(self.rfile.readline(), 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    def _may_write(self):
        if self.token not in (GOOD, READER):
            self._refuse(401)
        elif self.token == READER:
            self._refuse(403)
        return self.token == GOOD

    def _found(self, name):
        repo = self.hub.repos.get(name)
        if repo is None or (repo.private and self.token != GOOD):
            self._refuse(404 if self.token else 401, "RepoNotFound")
            return None
        return repo

    def _info(self, body, name, revision):
        repo = self._found(name)
        if repo is None:
            return None
        sha = repo.sha_of(revision or "main")
        if sha is None:
            return self._refuse(404, "RevisionNotFound")
        siblings = [_sibling(*item) for item in repo.commits[sha].items()]
        about = {"id": name, "sha": sha, "private": repo.private, "siblings": siblings}
        return self._answer(200, about)

    def _create(self, body):
        if not self._may_write():
            return None
        asked = json.loads(body)
        name = f"{asked['organization']}/{asked['name']}"
        if name in self.hub.repos:
            return self._refuse(409)
        # Of older clients `private`, of newer ones `visibility`.
        private = asked.get("private") or asked.get("visibility") == "private"
        self.hub.add(name, {}, private=private)
        return self._answer(200, {"url": f"{self.server.url}/{name}"})

    def _branch(self, body, name, branch):
        repo = self._found(name)
        if repo is None or not self._may_write():
            return None
        repo.branches[branch] = repo.branches["main"]
        return self._answer(201, {})

    def _validate(self, body):
        card = json.loads(body)["content"]
        is_card = re.match(r"\s*---\n(.*?)\n---\n", card, re.DOTALL)
        return self._answer(200, {"errors": [], "warnings": []}) if is_card else self._refuse(400)

    def _preupload(self, body, name, revision):
        if not self._may_write():
            return None
        files = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if file["path"].endswith(LFS_SUFFIX) else "regular",
                "shouldIgnore": file["path"] in self.hub.ignored,
                "oid": None,
            }
            for file in json.loads(body)["files"]
        ]
        return self._answer(200, {"files": files})

    def _batch(self, body, name):
        objects = [
            {
                **wanted,
                "actions": {"upload": {"href": f"{self.server.url}/lfs/{wanted['oid']}"}},
            }
            for wanted in json.loads(body)["objects"]
        ]
        return self._answer(200, {"transfer": "basic", "objects": objects})

    def _put(self, body, oid):
        if hashlib.sha256(body).hexdigest() != oid:
            return self._refuse(400)
        self.hub.objects[oid] = body
        return self._answer(200)

    def _commit(self, body, name, revision):
        repo = self._found(name)
        if repo is None or not self._may_write():
            return None
        self.hub.before_commit()
        sha = repo.sha_of(revision)
        files, message = dict(repo.commits[sha]), ""
        for line in body.splitlines():
            item = json.loads(line)
            value = item["value"]
            if item["key"] == "header":
                message = value["summary"]
                if value.get("parentCommit", sha) != sha:
                    return self._refuse(412)
            elif item["key"] == "lfsFile":
                files[value["path"]] = self.hub.objects[value["oid"]]
            else:
                files[value["path"]] = base64.b64decode(value["content"])
        made = repo.commit(revision, files, message)
        return self._answer(
            200, {"commitUrl": f"{self.server.url}/{name}/commit/{made}", "commitOid": made}
        )

    def _resolve(self, body, name, revision, file):
        repo = self._found(name)
        if repo is None:
            return None
        sha = repo.sha_of(revision)
        if sha is None:
            return self._refuse(404, "RevisionNotFound")
        content = repo.commits[sha].get(file)
        if content is None:
            return self._answer(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": sha})
        etag = hashlib.sha256(content).hexdigest()
        return self._answer(200, content, {"ETag": f'"{etag}"', "X-Repo-Commit": sha})


def _sibling(name, content):
    sha256 = hashlib.sha256(content).hexdigest()
    blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    lfs = {"sha256": sha256, "size": len(content), "pointerSize": 130}
    is_lfs = name.endswith(LFS_SUFFIX)
    return {
        "rfilename": name,
        "size": len(content),
        "blobId": blob,
        **({"lfs": lfs} if is_lfs else {}),
    }


_NAME = r"([\w.-]+/[\w.-]+)"
_ROUTES = (
    (r"/api/repos/create", "POST", _Handler._create),
    (r"/api/validate-yaml", "POST", _Handler._validate),
    (rf"/api/models/{_NAME}(?:/revision/(.+))?", "GET", _Handler._info),
    (rf"/api/models/{_NAME}/branch/(.+)", "POST", _Handler._branch),
    (rf"/api/models/{_NAME}/preupload/(.+)", "POST", _Handler._preupload),
    (rf"/api/models/{_NAME}/commit/(.+)", "POST", _Handler._commit),
    (rf"/{_NAME}\.git/info/lfs/objects/batch", "POST", _Handler._batch),
    (r"/lfs/(\w+)", "PUT", _Handler._put),
    (rf"/{_NAME}/resolve/(.+)/([^/]+)", "GET HEAD", _Handler._resolve),
)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    hub: Hub
    url: str


@contextmanager
def running_hub():
    """A server for as long as the block lasts: its state, and its address."""
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.hub, server.url = Hub(), f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server.hub, server.url
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def client_of_it(monkeypatch, cache, *, token=GOOD):
    """The same, with huggingface_hub's client pointed at it: constants are read at its import."""
    from huggingface_hub import constants
    from huggingface_hub.utils import close_session, disable_progress_bars, enable_progress_bars

    with running_hub() as (hub, url):
        for name, value in {
            "ENDPOINT": url,
            "HUGGINGFACE_CO_URL_TEMPLATE": url + "/{repo_id}/resolve/{revision}/{filename}",
            "HF_HUB_OFFLINE": False,
            "HF_HUB_DISABLE_XET": True,
            "HF_HUB_CACHE": str(cache),
            "HF_TOKEN_PATH": str(cache / "token"),
            "HF_STORED_TOKENS_PATH": str(cache / "tokens"),
        }.items():
            monkeypatch.setattr(constants, name, value)
        if token is None:
            monkeypatch.delenv("HF_TOKEN", raising=False)
        else:
            monkeypatch.setenv("HF_TOKEN", token)
        disable_progress_bars()
        close_session()  # one that was opened offline stays so
        try:
            yield hub
        finally:
            close_session()
            enable_progress_bars()
