"""How well hidden states can be predicted: skill over another row's context, from a frozen encoder.

    python tests/benchmarks/ceiling.py ENCODER --corpus SOURCE --out ceiling.csv

For spans of 1 to 32 tokens, a quarter of each row masked, and for the spans at which a training measures its skill (one
each of 1, 2, 4, 8 and 16 tokens), the encoder's own states of the unmasked text are predicted from its states of the
masked text: by ridge regression from the state at the position, and by one transformer layer
over all states of the row, with an output for each kind of target. The targets are the last layer or the mean of the
last half of the layers, in each normalisation. Skill is 1 − loss / loss of the same predictor on another row's text,
the loss 1 − cosine, on held-out rows; its standard error is that of a ratio of means over rows.
"""

from __future__ import annotations

import argparse
import csv
import io
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from transformers import AutoModel

from geomprobe.common import write_text
from geomprobe.pretrain.corpus import Corpus, build_corpus
from geomprobe.pretrain.device import bf16_is_faster
from geomprobe.pretrain.encoder import take
from geomprobe.pretrain.masking import draw_spans, evaluation_spans, masked_count
from geomprobe.pretrain.objectives.jepa import normalise

FRACTION, ROW, BATCH = 0.25, 128, 50
SPANS = {str(span): [span] * (masked_count(ROW, FRACTION, span) // span) for span in (1, 2, 4, 8, 16, 32)}
SPANS["skill_context"] = evaluation_spans(ROW)
PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1)  # as shares of the mean eigenvalue
STEPS, LEARNING_RATE = 600, 1e-3


class Frozen:
    """A frozen encoder: targets of unmasked rows, states of masked ones."""

    def __init__(self, folder: str, mask_id: int):
        self.model = AutoModel.from_pretrained(folder, trust_remote_code=False, use_safetensors=True).eval()
        self.mask_id = mask_id
        self.layers = self.model.config.num_hidden_layers
        self.half = max(1, self.layers // 2)

    @torch.no_grad()
    def states(self, ids: torch.Tensor) -> list[torch.Tensor]:
        """States (rows, length, d) after every layer."""
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16_is_faster("cpu")):
            hidden = self.model(input_ids=ids, output_hidden_states=True).hidden_states
        return [states.float() for states in hidden[1:]]

    def targets(self, ids: torch.Tensor) -> dict[str, torch.Tensor]:
        """Targets (rows, length, d) of each kind."""
        states = self.states(ids)
        chosen = {"last layer": states[-1:]}
        if self.half > 1:
            chosen[f"mean of the last {self.half}"] = states[-self.half :]
        return {
            f"{name}, {norm}": torch.stack([normalised(layer, norm) for layer in layers]).mean(0)
            for name, layers in chosen.items()
            for norm in ("layer", "instance", "batch")
        }

    def masked(self, ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """Last states (rows, length, d) of text with mask tokens at ``positions``."""
        return self.states(ids.scatter(1, positions, self.mask_id))[-1]


def normalised(states: torch.Tensor, norm: str) -> torch.Tensor:
    """States (rows, length, d) normalised over d (layer), the row (instance) or all rows as one (batch)."""
    if norm == "batch":
        return normalise(states.flatten(0, 1)[None], "instance").view_as(states)
    return normalise(states, norm)


def span_positions(n: int, spans: str, step: int) -> torch.Tensor:
    """Masked positions (n, M) in spans of these lengths."""
    return torch.from_numpy(draw_spans(n, ROW, SPANS[spans], seed=7, step=step).targets)


def batches(corpus: Corpus, split: str, n: int) -> Iterator[tuple[int, torch.Tensor]]:
    """The first n rows of a split, as (number of the first, ids)."""
    for first in range(0, min(n, corpus.n_rows(split, ROW)), BATCH):
        yield first, torch.from_numpy(corpus.rows(split, np.arange(first, min(first + BATCH, n)), ROW))


def row_losses(predicted: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """1 − cosine, averaged over the targets of each row."""
    return (1 - F.cosine_similarity(predicted, wanted, dim=-1)).mean(1)


def skill(own: torch.Tensor, other: torch.Tensor) -> tuple[float, float]:
    """1 − mean(own) / mean(other) over rows, and its standard error by the delta method."""
    own, other = own.double(), other.double()
    ratio = own.mean() / other.mean()
    error = ((own - ratio * other) / other.mean()).std() / len(own) ** 0.5
    return float(1 - ratio), float(error)


class Ridge:
    """Ridge regression of every kind of target, from sums over batches."""

    def __init__(self) -> None:
        self.xx: torch.Tensor | float = 0.0
        self.xy: dict[str, torch.Tensor] = {}

    @staticmethod
    def design(states: torch.Tensor) -> torch.Tensor:
        """Predictors with a constant."""
        return torch.cat([states, torch.ones(*states.shape[:-1], 1)], -1)

    def add(self, states: torch.Tensor, targets: dict[str, torch.Tensor]) -> None:
        """Add masked positions (rows, M, d)."""
        x = self.design(states).flatten(0, 1).double()
        self.xx = self.xx + x.T @ x
        for name, wanted in targets.items():
            self.xy[name] = self.xy.get(name, 0.0) + x.T @ wanted.flatten(0, 1).double()

    def weights(self, penalty: float) -> dict[str, torch.Tensor]:
        """Coefficients (d + 1, d) of each kind."""
        scale = penalty * self.xx.diagonal().mean() * torch.eye(len(self.xx), dtype=torch.float64)
        return {name: torch.linalg.solve(self.xx + scale, xy).float() for name, xy in self.xy.items()}


class Small(nn.Module):
    """One transformer layer over the states of a row, with positions, and a linear map for each kind of target."""

    def __init__(self, d: int, heads: int, kinds: Iterable[str]):
        super().__init__()
        self.position = nn.Parameter(torch.zeros(ROW, d))
        self.layer = nn.TransformerEncoderLayer(d, heads, 2 * d, 0.0, "gelu", batch_first=True, norm_first=True)
        self.norm = nn.LayerNorm(d)
        self.out = nn.ModuleList(nn.Linear(d, d) for _ in kinds)
        self.kinds = list(kinds)

    def forward(self, states: torch.Tensor, positions: torch.Tensor) -> dict[str, torch.Tensor]:
        """Predictions (rows, M, d) of each kind of target."""
        hidden = self.norm(take(self.layer(states + self.position), positions))
        return {name: out(hidden) for name, out in zip(self.kinds, self.out, strict=True)}


def fit_ridges(frozen: Frozen, corpus: Corpus, rows: int) -> dict[str, dict[float, dict[str, torch.Tensor]]]:
    """Weights by span, penalty and kind of target."""
    ridges = {span: Ridge() for span in SPANS}
    for first, ids in batches(corpus, "train", rows):
        whole = frozen.targets(ids)
        for span, ridge in ridges.items():
            positions = span_positions(len(ids), span, first)
            wanted = {name: take(target, positions) for name, target in whole.items()}
            ridge.add(take(frozen.masked(ids, positions), positions), wanted)
    return {span: {penalty: ridge.weights(penalty) for penalty in PENALTIES} for span, ridge in ridges.items()}


def train_small(frozen: Frozen, corpus: Corpus, rows: int, steps: int) -> Small:
    """The transformer layer, trained on spans of all lengths in turn."""
    torch.manual_seed(0)
    model, step = None, 0
    while step < steps:
        for first, ids in batches(corpus, "train", rows):
            positions = span_positions(len(ids), [*SPANS][step % len(SPANS)], 10_000_000 + step * BATCH + first)
            states, whole = frozen.masked(ids, positions), frozen.targets(ids)
            if model is None:
                model = Small(states.shape[-1], frozen.model.config.num_attention_heads, whole)
                optimizer = torch.optim.AdamW(model.parameters(), LEARNING_RATE)
            for group in optimizer.param_groups:
                group["lr"] = LEARNING_RATE * min(1.0, (step + 1) / 50) * (1 - step / steps)
            optimizer.zero_grad()
            predicted = model(states, positions)
            sum(row_losses(predicted[name], take(whole[name], positions)).mean() for name in whole).backward()
            optimizer.step()
            step += 1
            if step == steps:
                break
    assert model is not None
    return model


@torch.no_grad()
def judge(frozen: Frozen, corpus: Corpus, rows: int, ridges: dict, small: Small) -> list[dict[str, object]]:
    """A record for each kind of target, predictor and span; the penalty is chosen on the first half of the rows."""
    losses: dict[tuple, list[torch.Tensor]] = {}
    for first, ids in batches(corpus, "heldout", rows):
        whole, other = frozen.targets(ids), ids.roll(len(ids) // 2, 0)
        for span in SPANS:
            positions = span_positions(len(ids), span, 5_000_000 + first)
            for side, text in (("own", ids), ("other", other)):
                states = frozen.masked(text, positions)
                predicted = small(states, positions)
                design = Ridge.design(take(states, positions))
                for name, target in whole.items():
                    wanted = take(target, positions)
                    for penalty, weights in ridges[span].items():
                        found = row_losses(design @ weights[name], wanted)
                        losses.setdefault((name, "ridge", span, penalty, side), []).append(found)
                    found = row_losses(predicted[name], wanted)
                    losses.setdefault((name, "one layer", span, 0.0, side), []).append(found)
    joined = {key: torch.cat(parts) for key, parts in losses.items()}
    records = []
    for name, predictor, span in dict.fromkeys(key[:3] for key in joined):
        of = {key[3:]: value for key, value in joined.items() if key[:3] == (name, predictor, span)}
        half = len(next(iter(of.values()))) // 2
        best = min({p for p, _ in of}, key=lambda p: float(of[p, "own"][:half].mean()))
        value, error = skill(of[best, "own"][half:], of[best, "other"][half:])
        records.append({"target": name, "predictor": predictor, "span": span, "skill": value, "standard_error": error})
    return records


def main() -> None:
    """Measure and write a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("encoder")
    parser.add_argument("--corpus", required=True)
    parser.add_argument("--limit-tokens", type=int, default=6_000_000)
    parser.add_argument("--rows", type=int, default=3000)
    parser.add_argument("--judged", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    corpus = build_corpus(args.corpus, args.encoder, limit_tokens=args.limit_tokens)
    frozen = Frozen(args.encoder, corpus.special["mask"])
    small = train_small(frozen, corpus, args.rows, args.steps)
    records = judge(frozen, corpus, args.judged, fit_ridges(frozen, corpus, args.rows), small)
    text = io.StringIO()
    table = csv.DictWriter(text, ["encoder", *records[0]])
    table.writeheader()
    table.writerows({"encoder": Path(args.encoder).name} | record for record in records)
    write_text(args.out, text.getvalue())
    print(text.getvalue())


if __name__ == "__main__":
    main()
