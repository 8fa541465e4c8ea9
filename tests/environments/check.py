"""Every kind of work once, with the packages that are installed where this runs: `make check-lowest`, `check-newest`.

Assertions say that it works and the files are whole, not which numbers come out: the test suite says that.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import sysconfig
import tempfile
import time
from importlib.metadata import requires, version
from pathlib import Path

from packaging.requirements import Requirement

EXTRAS = ("sentence-transformers", "peft")
COMMAND = Path(sysconfig.get_path("scripts"), "geomprobe")
WORDS = """the a cat dog bird sees hears finds red blue small old house tree river under near and
    while""".split()  # noqa: SIM905


def main() -> None:
    names = [one.name for one in map(Requirement, requires("geomprobe") or ()) if not one.marker]
    print(f"Python {sys.version.split()[0]}:", ", ".join(f"{name} {version(name)}" for name in [*names, *EXTRAS]))
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        os.environ |= {"HOME": folder, "GEOMPROBE_CACHE": f"{folder}/cache", "HF_HUB_OFFLINE": "1", "NO_COLOR": "1"}
        for step in (imports, doctor, measure, analyze, pretrain, compare, report, loads, adapter):
            start = time.monotonic()
            step()
            print(f"{step.__name__}: ok, {time.monotonic() - start:.0f} s", flush=True)


def geomprobe(*arguments: str) -> str:
    """Run a command of this environment that must end well, and return what it prints."""
    done = subprocess.run([COMMAND, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"geomprobe {' '.join(arguments)}\n{done.stdout}{done.stderr}"
    assert "warning" not in done.stderr.lower(), done.stderr
    return done.stdout


def rows(path: str) -> list[dict]:
    """Return the rows of a table, none of which may have failed."""
    import pyarrow.parquet as pq

    found = pq.read_table(path).to_pylist()
    assert [row for row in found if row["status"] == "ok"]
    assert not [row for row in found if row["status"] == "failed"]
    return found


def texts(count: int) -> list[str]:
    draw = random.Random(0)
    return [" ".join(draw.choices(WORDS, k=draw.randint(8, 20))) for _ in range(count)]


def imports() -> None:
    code = "import geomprobe.pretrain, geomprobe.reports, geomprobe.cli.main"
    subprocess.run([sys.executable, "-I", "-c", code], check=True)
    assert geomprobe("--version").strip().endswith(version("geomprobe"))


def doctor() -> None:
    checks = json.loads(geomprobe("doctor", "--json"))["results"]
    assert {check["state"] for check in checks} <= {"ok", "low", "absent"}, checks


def measure() -> None:
    import numpy as np

    np.save("vectors.npy", np.random.default_rng(0).normal(size=(200, 16)).astype("float32"))
    geomprobe("measure", "vectors.npy", "--out", "measured.csv")
    assert "effective_rank" in Path("measured.csv").read_text(encoding="utf-8")


def analyze() -> None:
    from transformers import BertConfig, BertModel, logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    tokenizer().save_pretrained("stock")
    size = {
        "vocab_size": 40,
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
    }
    BertModel(BertConfig(**size, max_position_embeddings=64)).save_pretrained("stock")
    lines = [f"{text},{'bird' in text}" for text in texts(120)]
    Path("birds.csv").write_text("\n".join(["sentence,label", *lines]), encoding="utf-8")
    geomprobe("analyze", "stock", "--task", "birds.csv", "--out", "analyzed")
    assert {row["metric"] for row in rows("analyzed/results.parquet")} >= {"effective_rank", "semantic_accuracy"}


def tokenizer():  # a word a token
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({w: i for i, w in enumerate(["[PAD]", "[UNK]", *WORDS])}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]", model_max_length=64)


def pretrain() -> None:
    Path("corpus.txt").write_text("\n".join(texts(400)), encoding="utf-8")
    for objective in ("mlm", "hybrid"):
        command = (
            "pretrain --preset demo --corpus corpus.txt --tokenizer train:120 --budget 5-steps --set warmup_steps=1"
        )
        geomprobe(*command.split(), "--objective", objective, "--out", objective)
        assert json.loads(Path(objective, "metrics.jsonl").read_text(encoding="utf-8").splitlines()[-1])["step"] == 5


def compare() -> None:
    geomprobe("compare", "mlm", "hybrid", "--task", "birds.csv", "--out", "compared")
    rows("compared/results.parquet")
    assert Path("compared/report.html").stat().st_size > 10_000


def report() -> None:
    geomprobe("report", "analyzed")
    assert Path("analyzed/report.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    for folder in ("analyzed", "compared"):
        assert Path(folder, "report.pdf").read_bytes().startswith(b"%PDF-")


def loads() -> None:
    """A checkpoint gives sentence-transformers the vectors that it gives geomprobe."""
    import numpy as np
    from sentence_transformers import SentenceTransformer

    import geomprobe as gp

    some = texts(10)
    theirs = SentenceTransformer("hybrid", device="cpu").encode(some)
    np.testing.assert_allclose(gp.embed(gp.load_encoder("hybrid"), some), theirs, atol=1e-5)


def adapter() -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModel

    get_peft_model(AutoModel.from_pretrained("stock"), LoraConfig(target_modules=["query"])).save_pretrained("lora")
    geomprobe("analyze", "lora", "--task", "birds.csv", "--out", "adapted")
    rows("adapted/results.parquet")


if __name__ == "__main__":
    main()
