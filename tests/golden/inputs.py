"""The inputs of the golden cases, written by NumPy and the standard library alone: the same bytes on every machine."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.numpy import save_file

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = [
    "the",
    "a",
    "cat",
    "dog",
    "bird",
    "tree",
    "house",
    "man",
    "woman",
    "child",
    "sees",
    "likes",
    "finds",
    "calls",
    "big",
    "small",
    "red",
    "old",
    "very",
    "not",
    "and",
    "or",
    "on",
    "near",
    "good",
    "bad",
    "fine",
    "awful",
    "who",
    "what",
    "runs",
    "sleeps",
    ",",
    ".",
    "!",
]
RARE = ["owl", "fox", "hen"]  # each in five sentences of a split: what the probe of single words asks for
WORDS += RARE[:2]
NOUNS, VERBS, ADJECTIVES = WORDS[2:10], WORDS[10:14], WORDS[14:18]
GOOD, BAD = ["good", "fine"], ["bad", "awful"]
HIDDEN, LAYERS, INNER, POSITIONS = 16, 2, 32, 32
SEEDS = {"plain": (0, 1, 2), "shifted": (0, 1, 2)}


def write_inputs(folder: Path) -> None:
    """Write encoders, tasks, vectors and a file of published numbers into an empty folder."""
    for kind, seeds in SEEDS.items():
        for seed in seeds:
            write_encoder(folder / f"{kind}-{seed}", weights(kind, seed))
    broken = weights("plain", 0)
    broken["encoder.layer.1.output.LayerNorm.weight"][3] = 3e38  # finite, but its last layer is not
    write_encoder(folder / "broken", broken)
    write_training_log(folder / "plain-0", 0.0)
    write_training_log(folder / "shifted-0", 0.25)
    write_glue(folder / "data" / "glue")
    write_files(folder)
    write_vectors(folder)
    write_published(folder / "published.json")


# ---- encoders --------------------------------------------------------------------------------------------------------


def weights(kind: str, seed: int) -> dict[str, np.ndarray]:
    """Return the weights of a BERT; "shifted" has a mean vector and a direction that all of its tokens share."""
    rng = np.random.default_rng([seed, len(kind)])

    def normal(*shape: int) -> np.ndarray:
        return (0.3 * rng.standard_normal(shape)).astype(np.float32)

    def norm(name: str) -> dict[str, np.ndarray]:
        return {f"{name}.weight": 1 + normal(HIDDEN) / 3, f"{name}.bias": normal(HIDDEN) / 3}

    def linear(name: str, n_out: int, n_in: int) -> dict[str, np.ndarray]:
        return {f"{name}.weight": normal(n_out, n_in), f"{name}.bias": normal(n_out) / 3}

    found = {
        "embeddings.word_embeddings.weight": normal(len(SPECIAL) + len(WORDS), HIDDEN),
        "embeddings.position_embeddings.weight": normal(POSITIONS, HIDDEN) / 3,
        "embeddings.token_type_embeddings.weight": normal(2, HIDDEN),
        **norm("embeddings.LayerNorm"),
    }
    for layer in (f"encoder.layer.{i}" for i in range(LAYERS)):
        for part in ("query", "key", "value"):
            found |= linear(f"{layer}.attention.self.{part}", HIDDEN, HIDDEN)
        found |= linear(f"{layer}.attention.output.dense", HIDDEN, HIDDEN)
        found |= norm(f"{layer}.attention.output.LayerNorm")
        found |= linear(f"{layer}.intermediate.dense", INNER, HIDDEN)
        found |= linear(f"{layer}.output.dense", HIDDEN, INNER)
        found |= norm(f"{layer}.output.LayerNorm")
    found |= linear("pooler.dense", HIDDEN, HIDDEN)
    if kind == "shifted":
        found["encoder.layer.1.output.LayerNorm.bias"] += np.float32(0.5)
        found["encoder.layer.1.output.LayerNorm.weight"][:4] *= np.float32(3)
    return {name: np.ascontiguousarray(value, np.float32) for name, value in found.items()}


def write_encoder(folder: Path, found: Mapping[str, np.ndarray]) -> None:
    """Write a folder as `save_pretrained` does, without the version of the library that did."""
    folder.mkdir(parents=True)
    vocabulary = {token: i for i, token in enumerate([*SPECIAL, *WORDS])}
    config = {
        "architectures": ["BertModel"], "model_type": "bert", "vocab_size": len(vocabulary), "hidden_size": HIDDEN,
        "num_hidden_layers": LAYERS, "num_attention_heads": 2, "intermediate_size": INNER, "hidden_act": "gelu",
        "max_position_embeddings": POSITIONS, "type_vocab_size": 2, "layer_norm_eps": 1e-12, "pad_token_id": 0,
        "initializer_range": 0.02, "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1,
        "dtype": "float32",
    }  # fmt: skip
    tokenizer = {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [
            {"id": i, "content": token, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
             "special": True} for i, token in enumerate(SPECIAL)
        ],
        "normalizer": {"type": "Lowercase"}, "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                       {"SpecialToken": {"id": "[SEP]", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {token: {"id": token, "ids": [vocabulary[token]], "tokens": [token]}
                               for token in ("[CLS]", "[SEP]")},
        },
        "decoder": None, "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "[UNK]"},
    }  # fmt: skip
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": POSITIONS, "pad_token": "[PAD]",
        "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]",
    }  # fmt: skip
    write_json(folder / "config.json", config)
    write_json(folder / "tokenizer.json", tokenizer)
    write_json(folder / "tokenizer_config.json", settings)
    save_file(dict(found), folder / "model.safetensors", metadata={"format": "pt"})


def write_training_log(folder: Path, shift: float) -> None:
    """Write a training log as the pretrainer does, for the report's section on training."""
    records = [{"step": step, "tokens": 512 * step, "loss": 4 - shift - step / 8} for step in range(1, 5)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))


# ---- tasks -----------------------------------------------------------------------------------------------------------


def sentence(rng: np.random.Generator, mood: str | None = None) -> str:
    """Return a sentence of the small vocabulary, sometimes with a word outside it."""
    a, b = rng.choice(NOUNS, 2)
    end = f" , {rng.choice(GOOD if mood == 'good' else BAD)} !" if mood else " ."
    odd = f" near zebra{rng.integers(3)}" if rng.random() < 0.1 else ""
    return f"The {rng.choice(ADJECTIVES)} {a} {rng.choice(VERBS)} a {b}{odd}{' and sleeps' * int(rng.integers(2))}{end}"


def reworded(rng: np.random.Generator, first: str) -> str:
    """Return a sentence that shares all but a word or two with the first."""
    words = first.split()
    words[1] = str(rng.choice(ADJECTIVES))
    return " ".join(words)


def with_rare(sentences: list[str]) -> list[str]:
    """Return the sentences, the first of them with a rare word each."""
    return [f"{text} {RARE[i % 3]}" if i < 5 * len(RARE) else text for i, text in enumerate(sentences)]


def single(n: int, seed: int) -> dict[str, list[Any]]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n).tolist()
    moods = [label if rng.random() < 0.85 else 1 - label for label in labels]  # no probe is to be perfect
    return {
        "sentence": with_rare([sentence(rng, "good" if mood else "bad") for mood in moods]),
        "label": labels,
        "idx": list(range(n)),
    }


def paired(n: int, seed: int, names: tuple[str, str], kind: str) -> dict[str, list[Any]]:
    """Return pairs; every fourth first sentence is also that of the next pair, so that pairs share a source."""
    rng = np.random.default_rng(seed)
    first, second, labels = [], [], []
    for i in range(n):
        first.append(first[-1] if i % 4 == 1 else sentence(rng))
        same = rng.random() < 0.5
        second.append(reworded(rng, first[-1]) if same else sentence(rng))
        score = round(float(rng.uniform(3, 5) if same else rng.uniform(0, 3.5)), 2)
        labels.append({"scores": score, "two": int(same), "three": 0 if same else int(rng.integers(1, 3))}[kind])
    return {names[0]: first, names[1]: with_rare(second), "label": labels, "idx": list(range(n))}


def write_glue(folder: Path) -> None:
    two = ("sentence1", "sentence2")
    splits = {
        "sst2": lambda n, seed: single(n, seed),
        "cola": lambda n, seed: single(n, seed + 50),
        "mrpc": lambda n, seed: paired(n, seed, two, "two"),
        "stsb": lambda n, seed: paired(n, seed, two, "scores"),
        "mnli": lambda n, seed: paired(n, seed, ("premise", "hypothesis"), "three"),
    }
    for number, (name, made) in enumerate(splits.items()):
        (folder / name).mkdir(parents=True)
        scored = "validation_matched" if name == "mnli" else "validation"
        for split, n, seed in (("train", 64, 10 * number), (scored, 40, 10 * number + 1)):
            pq.write_table(pa.table(made(n, seed)), folder / name / f"{split}.parquet")


def write_files(folder: Path) -> None:
    """Write tasks of one's own: scored pairs with ids and a split column, labelled lines, and too few rows of both."""
    pairs = paired(64, 90, ("left", "right"), "scores")
    with (folder / "own.csv").open("w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out)
        writer.writerow(["key", "left", "right", "score", "split"])
        for i, (a, b, score) in enumerate(zip(pairs["left"], pairs["right"], pairs["label"], strict=True)):
            writer.writerow([f"row{i}", a, b, score, "train" if i < 36 else "validation"])
    for name, n in (("reviews", 56), ("small", 24), ("few", 7)):
        found = single(n, 91)
        lines = zip(found["sentence"], found["label"], strict=True)
        records = [{"text": text, "label": ["bad", "good"][label]} for text, label in lines]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))


# ---- vectors and published numbers -----------------------------------------------------------------------------------


def embeddings(seed: int, n: int = 64, d: int = 8) -> np.ndarray:
    """Return an anisotropic cloud with a mean, two classes (odd and even rows) and near copies (rows 2i and 2i + 1)."""
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((n, d)) * (1 / np.arange(1, d + 1)) + 0.5
    rows[1::2] = rows[::2] + 0.2 * rng.standard_normal((n // 2, d))
    rows[1::2, 0] += 0.5
    return rows


def write_vectors(folder: Path) -> None:
    np.save(folder / "vectors.npy", embeddings(0).astype(np.float32))
    np.save(folder / "few.npy", embeddings(1, 8, 6))
    with (folder / "vectors.csv").open("w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out)
        writer.writerow(["name", *(f"e{i}" for i in range(5))])
        writer.writerows([f"w{i}", *map(repr, map(float, row))] for i, row in enumerate(embeddings(2, 40, 5)))


def write_published(path: Path) -> None:
    """Write published numbers with cells that coincide."""
    rng = np.random.default_rng(5)
    cells: dict[str, Any] = {}
    for task in ("sst2", "mrpc"):
        for model in ("mlm", "hybrid"):
            spectra = []
            for i, pooling in enumerate(("mean", "max", "weighted")):
                values = spectra[0] if i == 2 and model == "mlm" else np.sort(rng.uniform(1, 9, 6))[::-1].tolist()
                spectra.append(values)
                squares = np.square(values)
                shares = squares / squares.sum()
                cells[f"('{task}', '{model}', '{pooling}')"] = {
                    "spectrum": {
                        "singular_vals": values, "eigenvalues": squares.tolist(), "explained_var": shares.tolist(),
                        "stable_rank": float(squares.sum() / squares[0]),
                        "spectral_entropy": float(-(shares * np.log(shares)).sum() / np.log(6)),
                    },
                    "metrics": {
                        "erank": float(rng.uniform(3, 6)), "uniformity": float(-rng.uniform(0.1, 1)),
                        "uniformity_se": 0.001, "alignment": float(rng.uniform(0.1, 0.5)),
                        "token_probe_acc": float(rng.uniform(0.6, 0.9)),
                        "semantic_probe_acc": float(rng.uniform(0.5, 0.7)),
                    },
                }  # fmt: skip
    write_json(path, cells)


def write_json(path: Path, document: Any) -> None:
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
