"""Two small tasks for mteb, and encoders of letters: what the files in `mteb/` were made of, by the real library.

`python tests/geomprobe/integrations/mteb_task.py` writes them again (mteb must be installed).
"""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np

FOLDER = Path(__file__).parent / "mteb"
WORDS = "the a cat dog bird sees hears finds likes red blue small old house tree river".split()  # noqa: SIM905


def texts(n: int, seed: int) -> list[str]:
    draw = random.Random(seed)
    return [" ".join(draw.choice(WORDS) for _ in range(6)) for _ in range(n)]


def overlap(a: str, b: str) -> float:
    return float(len({*a.split()} & {*b.split()}))


FIRST, SECOND = texts(40, 1), texts(40, 2)
PAIRS = {"sentence1": FIRST, "sentence2": SECOND, "score": list(map(overlap, FIRST, SECOND))}
TRAIN, TEST = (
    {"text": found, "label": [int("cat" in text) for text in found]} for found in (texts(80, 3), texts(50, 4))
)


def stand_ins() -> list[SimpleNamespace]:
    """The tasks without mteb: the attributes that are read of them."""

    def task(name, kind, main_score, dataset, **columns):
        place = {"path": f"me/{name.lower()}", "revision": "1"}
        meta = SimpleNamespace(name=name, type=kind, main_score=main_score, eval_splits=["test"], dataset=place)
        return SimpleNamespace(metadata=meta, dataset=dataset, data_loaded=True, **columns)

    return [
        task("Pairs", "STS", "cosine_spearman", {"test": PAIRS}, column_names=("sentence1", "sentence2")),
        task(
            "Classes", "Classification", "accuracy", {"train": TRAIN, "test": TEST}, train_split="train",
            input_column_name="text", label_column_name="label",
        ),
    ]  # fmt: skip


def tasks() -> list:
    """The tasks of mteb."""
    import mteb
    from datasets import Dataset, DatasetDict
    from mteb.abstasks.classification import AbsTaskClassification
    from mteb.abstasks.sts import AbsTaskSTS

    def about(name, **more):
        return mteb.TaskMetadata(
            name=name, description="x", dataset={"path": f"me/{name.lower()}", "revision": "1"}, modalities=["text"],
            category="t2t", eval_splits=["test"], eval_langs=["eng-Latn"], **more,
        )  # fmt: skip

    class Pairs(AbsTaskSTS):
        metadata = about("Pairs", type="STS", main_score="cosine_spearman")

        def load_data(self, **_):
            self.dataset, self.data_loaded = DatasetDict(test=Dataset.from_dict(PAIRS)), True

    class Classes(AbsTaskClassification):
        metadata = about("Classes", type="Classification", main_score="accuracy")

        def load_data(self, **_):
            parts = {"train": Dataset.from_dict(TRAIN), "test": Dataset.from_dict(TEST)}
            self.dataset, self.data_loaded = DatasetDict(**parts), True

    return [Pairs(), Classes()]


def encoder(name: str, letters: str):
    """An encoder that counts letters."""
    import torch
    from mteb.models import ModelMeta

    class Letters:
        mteb_model_meta = ModelMeta.create_empty(overwrites={"name": name, "revision": "r1"})

        def encode(self, inputs, **_):
            return np.array([[text.count(c) for c in letters] for batch in inputs for text in batch["text"]], float)

        def similarity(self, a, b):
            return torch.nn.functional.cosine_similarity(torch.tensor(a)[:, None], torch.tensor(b)[None], dim=-1)

        def similarity_pairwise(self, a, b):
            return torch.nn.functional.cosine_similarity(torch.tensor(a), torch.tensor(b))

    return Letters()


def evaluate(model, out: Path) -> None:
    """Let mteb score a model; results in out/results, predictions in out/predictions/MODEL."""
    import mteb

    mteb.evaluate(
        model, tasks(), cache=mteb.ResultCache(out), co2_tracker=False, show_progress_bar=False,
        prediction_folder=out / "predictions" / model.mteb_model_meta.name.rpartition("/")[2],
    )  # fmt: skip


if __name__ == "__main__":
    shutil.rmtree(FOLDER, ignore_errors=True)
    for name, letters in (("me/few", "aeiou"), ("me/many", "abcdefghilnorstuv")):
        evaluate(encoder(name, letters), FOLDER)
    for left in FOLDER.rglob("run_settings.jsonl"):
        left.unlink()
