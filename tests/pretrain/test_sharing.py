"""A checkpoint folder as others get it: what an upload sends, who can read it, what sentence-transformers takes."""

import fnmatch
import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from pretrain.trainer import train


class Hub(BaseHTTPRequestHandler):
    """A stand-in of the hub that takes commits, and honours a .gitignore that is sent along, as the hub does."""

    def do_GET(self):
        self.answer({"id": "me/run", "siblings": [], "sha": "a" * 40, "oid": "a" * 40})

    def do_POST(self):
        lengths = iter(lambda: int(self.rfile.readline(), 16), 0)
        if "Content-Length" in self.headers:
            body = self.rfile.read(int(self.headers["Content-Length"]))
        else:
            body = b"".join((self.rfile.read(n), self.rfile.readline())[0] for n in lengths)
        if "/preupload/" in self.path:
            asked = json.loads(body)
            ignored = [line for line in asked.get("gitIgnore", "").splitlines() if not line.startswith("#")]
            self.answer({"files": [mode(file["path"], ignored) for file in asked["files"]]})
        elif "/commit/" in self.path:
            entries = [json.loads(line) for line in body.splitlines()]
            self.server.sent += [entry["value"]["path"] for entry in entries if entry["key"] == "file"]
            self.answer({"commitUrl": "https://huggingface.co/me/run/commit/" + "a" * 40, "commitOid": "a" * 40})
        else:
            self.answer({"url": "https://huggingface.co/me/run", "id": "me/run", "name": "me/run"})

    def answer(self, value):
        data = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args):
        pass


def mode(path, ignored):
    """Return the hub's answer for a file; of the .gitignore language only names of folders are understood."""
    folders = path.split("/")[:-1]
    out = any(fnmatch.fnmatch(folder, line.rstrip("/")) for folder in folders for line in ignored)
    return {"path": path, "uploadMode": "regular", "shouldIgnore": out, "oid": None}


@pytest.fixture
def hub(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)  # it is on this machine
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.sent = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_an_upload_leaves_the_training_states_out(tiny, hub):
    from huggingface_hub import HfApi

    out = train(tiny(objective="hybrid"))
    (out / ".left.tmp").mkdir()
    (out / ".left.tmp" / "model.safetensors").write_bytes(b"half")
    api = HfApi(endpoint=f"http://127.0.0.1:{hub.server_port}", token="hf_none")
    api.upload_folder(repo_id="me/run", folder_path=out)
    model = {
        "1_Pooling/config.json",
        "config.json",
        "config_sentence_transformers.json",
        "model.safetensors",
        "modules.json",
        "sentence_bert_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert set(hub.sent) == {".gitignore", "metrics.jsonl", "run.json"} | model | {f"ema/{name}" for name in model}


@pytest.mark.skipif(os.name != "posix", reason="modes are of POSIX")
@pytest.mark.parametrize("umask", [0o022, 0o027, 0o077])
def test_files_have_the_mode_of_new_files(tiny, umask):
    before = os.umask(umask)
    try:
        out = train(tiny(objective="hybrid"))
    finally:
        os.umask(before)
    modes = {path.relative_to(out): path.stat().st_mode & 0o777 for path in out.rglob("*")}
    assert modes == {name: (0o777 if (out / name).is_dir() else 0o666) & ~umask for name in modes}


def test_what_a_user_wrote_into_the_gitignore_stays(tiny):
    config = tiny(objective="mlm")
    out = train(config)
    (out / ".gitignore").write_text("trainer/\nrun.json\n")
    train(config, resume=True)
    assert (out / ".gitignore").read_text() == "trainer/\nrun.json\n"


def test_sentence_transformers_reads_the_similarity_and_no_prompt(tiny, caplog):
    from sentence_transformers import SentenceTransformer

    out = train(tiny(objective="jepa"))
    for folder in (out, out / "ema"):
        model = SentenceTransformer(str(folder), device="cpu")
        assert (model.similarity_fn_name, model.default_prompt_name) == ("cosine", None)
        assert not any(model.prompts.values())
    assert not [record for record in caplog.records if record.levelname == "WARNING"]
