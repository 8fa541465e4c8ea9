"""Processor seconds of a step of each arm of docs/jepa.toml, beside those of `mlm`, as seconds.csv next to this file.

python docs/gallery/jepa/seconds.py

One thread, random tokens, rounds in which every arm takes steps in turn; the ratio is the median over rounds. Shapes of
two target blocks change from step to step, so every round takes several steps.
"""

import time
import tomllib
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from geomprobe.common import write_text
from geomprobe.pretrain.config import load_config
from geomprobe.pretrain.corpus import Corpus
from geomprobe.pretrain.data import BatchSource
from geomprobe.pretrain.objectives import build_objective
from geomprobe.pretrain.optimizer import make_optimizer
from geomprobe.pretrain.step import Step

HERE = Path(__file__).parent
DEVICE = torch.device("cpu")
VOCABULARY, ROUNDS, STEPS, TOTAL = 8192, 7, 5, 733
NOT_OF_A_STEP = ("corpus", "tokenizer", "limit_tokens", "budget", "preset")


def main() -> None:
    torch.set_num_threads(1)
    recipe = tomllib.loads((HERE.parents[1] / "jepa.toml").read_text(encoding="utf-8"))
    common = {key: value for key, value in recipe["settings"].items() if key not in NOT_OF_A_STEP}
    ids = np.random.default_rng(0).integers(5, VOCABULARY, 1_000_000).astype(np.uint16)
    info = {"vocab_size": VOCABULARY, "special": {"pad": 0, "cls": 2, "sep": 3, "mask": 4}}
    corpus = Corpus(Path(), {"train": [ids], "heldout": [ids[:1000]]}, {}, info)
    takers = {}
    for arm, changes in recipe["arms"].items():
        fixed = {"device": "cpu", "precision": "bf16", "compile": "no"}
        config = load_config(recipe["settings"]["preset"], common | changes | fixed)
        objective = build_objective(config, corpus)
        data = BatchSource(config, corpus)
        step = Step(config, objective, objective, make_optimizer(config, objective, DEVICE), TOTAL, DEVICE)
        takers[arm] = step, data
    rounds = []
    for number in range(ROUNDS + 1):  # the first one is to warm up
        seconds = {}
        for arm, (step, data) in takers.items():
            begun = time.process_time()
            for at in range(number * STEPS, (number + 1) * STEPS):
                step(at, [data.batch(at, 0)], partial(data.batch, at, 0))
            seconds[arm] = (time.process_time() - begun) / STEPS
        rounds.append(seconds)
    table = pd.DataFrame(rounds[1:])
    ratios = table.div(table["mlm"], axis=0)
    out = pd.DataFrame({"seconds": table.median(), "ratio": ratios.median(), "low": ratios.min(), "high": ratios.max()})
    write_text(HERE / "seconds.csv", out.to_csv(index_label="arm", float_format="%.3f", lineterminator="\n"))
    print(out.to_string(float_format="%.3f"))


if __name__ == "__main__":
    main()
