"""What embedding costs: all layers × four poolings against a bare forward pass over the same texts, in one run.

    python tests/benchmarks/embedding.py MODEL [--texts 1000] [--repeats 3] [--device auto]

Both sides tokenize the same texts and use the same length-sorted batches; they alternate; the median of each counts.
The bare pass asks for the last layer only and keeps nothing. On a CPU the seconds are those that the process computed,
so that other work on the machine does not count; on a GPU they are wall time.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time

import numpy as np
import torch

from geomprobe.embedding.embed import embed_grid
from geomprobe.embedding.tokens import batches, token_budget, tokenize
from geomprobe.encoders import Encoder, load_encoder

POOLINGS = ["mean", "max", "weighted", "attention"]


def texts_of_many_lengths(n: int) -> list[str]:
    """Return texts of 3 to 60 words, most of them short, as in GLUE."""
    rng = np.random.default_rng(0)
    line = "the of and to a in that it is was for on as with his they at be this from have or by one had not"
    words = line.split()
    lengths = np.clip(rng.lognormal(2.7, 0.55, n), 3, 60).astype(int)
    return [f"{i} " + " ".join(rng.choice(words, length)) for i, length in enumerate(lengths)]


def wait(encoder: Encoder) -> None:
    """Wait until the device has done what it was given."""
    if encoder.device.type == "cuda":
        torch.cuda.synchronize()


def clock(encoder: Encoder) -> float:
    """Return seconds: computed ones on a CPU, passed ones elsewhere."""
    wait(encoder)
    return time.process_time() if encoder.device.type == "cpu" else time.perf_counter()


def bare(encoder: Encoder, texts: list[str]) -> float:
    """Return the seconds of tokenizing and of one forward pass that keeps nothing."""
    start = clock(encoder)
    rows = tokenize(encoder, texts)
    lengths = np.array([len(row) for row in rows.ids])
    with encoder.evaluating(), torch.inference_mode():
        for group in batches(lengths, token_budget(encoder)):
            longest = int(lengths[group].max())
            ids = torch.tensor(
                np.stack([np.pad(rows.ids[i], (0, longest - len(rows.ids[i]))) for i in group]), device=encoder.device
            )
            steps = torch.arange(longest, device=encoder.device)
            mask = steps < torch.from_numpy(lengths[group]).to(encoder.device)[:, None]
            encoder.model(input_ids=ids, attention_mask=mask.long())
    return clock(encoder) - start


def full(encoder: Encoder, texts: list[str]) -> float:
    """Return the seconds of `embed_grid` with every layer under four poolings."""
    start = clock(encoder)
    embed_grid(encoder, texts, POOLINGS, range(encoder.n_layers + 1))
    return clock(encoder) - start


def main() -> None:
    """Run and print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--texts", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    encoder = load_encoder(options.model, device=options.device)
    texts = texts_of_many_lengths(options.texts)
    bare(encoder, texts[:64]), full(encoder, texts[:64])
    seconds = [(bare(encoder, texts), full(encoder, texts)) for _ in range(options.repeats)]
    once, grid = (statistics.median(side) for side in zip(*seconds, strict=True))
    tokens = int(tokenize(encoder, texts).lengths.sum())
    report = {
        "model": encoder.name,
        "dim": encoder.dim,
        "layers": encoder.n_layers + 1,
        "poolings": len(POOLINGS),
        "texts": options.texts,
        "tokens": tokens,
        "bare_seconds": round(once, 3),
        "grid_seconds": round(grid, 3),
        "ratio": round(grid / once, 3),
        "ratios": [round(b / a, 3) for a, b in seconds],
        "device": torch.cuda.get_device_name() if encoder.device.type == "cuda" else platform.processor() or "cpu",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
