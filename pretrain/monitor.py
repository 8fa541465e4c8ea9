"""Is the encoder collapsing? Measured now and then on the same held-out rows, with a reason when it looks so."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from geomprobe.pretrain.config import PretrainConfig
from geomprobe.pretrain.data import BatchSource
from geomprobe.pretrain.device import autocast
from geomprobe.pretrain.encoder import take
from geomprobe.pretrain.masking import evaluation_spans
from geomprobe.pretrain.objectives.base import Batch, Objective
from geomprobe.pretrain.objectives.jepa import JEPA, cosine_loss, normalise

GRADIENT_ROWS = 8  # gradient norms are taken on these rows of the held-out batch

# Below or above these an encoder has collapsed for any use; trained ones lie far inside.
COLLAPSED = {
    "target_std": (operator.lt, 0.1, "the targets hardly differ between tokens"),
    "encoder_rank": (operator.lt, 2.0, "the encoder uses fewer than two dimensions"),
    "encoder_top_share": (operator.gt, 0.95, "one direction holds nearly all variance"),
    "mean_cosine": (operator.gt, 0.999, "different texts get the same vector"),
    "lambda": (operator.gt, 0.95, "the balance has all but switched MLM off (see --set balance=fixed)"),
}


def measure(objective: Objective, batch: Batch, spans: Batch) -> dict[str, float]:
    """Monitors of a held-out batch; ``spans`` are the held-out rows of `BatchSource.evaluation`.

    encoder_rank, encoder_top_share : effective rank (exponential of the entropy of the eigenvalues) and the largest
        eigenvalue's share, of the covariance of the token states.
    mean_cosine : between the mean-pooled texts of different rows.
    target_std, prediction_std : standard deviation over tokens of the layer-normed states, averaged over dimensions.
    skill_mean, skill_position, skill_context : 1 − loss / loss of a trivial predictor: the mean target; the mean target
        of the position; this predictor on the context of a row far away. About 0 says that the context predicts
        nothing. The loss is 1 − cosine at `masking.evaluation_spans`, whatever is trained on; skill_span_N is
        skill_context at spans of N tokens.
    ema_distance : norm of the difference to the target encoder over the norm of the encoder.
    gradient_mlm, gradient_jepa : norm of each loss's gradient at the encoder.
    """
    with torch.no_grad():
        record = _spread(objective.token_states(batch.ids).float())
        if isinstance(objective, JEPA):
            record |= _prediction(objective, spans)
            online, target = objective.model.model.parameters(), objective.target.parameters()
            pairs = [(a, a - b) for a, b in zip(online, target, strict=True)]
            norms = [torch.stack([part.norm() for part in parts]).norm() for parts in zip(*pairs, strict=True)]
            record["ema_distance"] = norms[1] / norms[0]
    few = batch.map(lambda part: part[:GRADIENT_ROWS])
    record |= {f"gradient_{name}": norm for name, norm in objective.gradient_norms(few).items()}
    return {name: float(value) for name, value in record.items()}


def _spread(states: torch.Tensor) -> dict[str, torch.Tensor]:
    """Spectrum and mean cosine of states of shape (rows, length, d)."""
    tokens = states.flatten(0, 1).double()
    tokens = tokens - tokens.mean(0)
    share = torch.linalg.eigvalsh(tokens.T @ tokens).clamp(min=0)
    share = share / share.sum().clamp(min=1e-300)
    texts = F.normalize(states.mean(1).double(), dim=-1)
    n = len(texts)
    cosine = ((texts.sum(0) ** 2).sum() - n) / max(1, n * (n - 1))
    return {
        "encoder_rank": torch.special.entr(share).sum().exp(),
        "encoder_top_share": share.max(),
        "mean_cosine": cosine,
    }


def _prediction(objective: JEPA, spans: Batch) -> dict[str, torch.Tensor]:
    """Spread of targets and predictions, and the skill over trivial predictors."""
    lengths = evaluation_spans(spans.ids.shape[1])
    everything = torch.arange(spans.ids.shape[1], device=spans.ids.device).expand(len(spans.ids), -1)
    states = objective.target_states(spans.ids, everything)
    wanted = take(states, spans.targets)
    predicted = objective.predict_spans(spans.ids, spans, lengths).float()
    other_text = objective.predict_spans(spans.ids.roll(len(spans.ids) // 2, 0), spans, lengths)

    # The trivial predictors are fitted on the first half of the rows and judged on the second.
    half = max(1, len(spans.ids) // 2)
    fitted = states[:half]
    by_position = fitted.mean(0)[spans.targets[half:]]
    judged = wanted[half:]
    own = mean = position = cosine_loss(predicted, wanted)
    if len(judged):
        own = cosine_loss(predicted[half:], judged)
        mean = cosine_loss(fitted.mean((0, 1)).expand_as(judged), judged)
        position = cosine_loss(by_position, judged)
    spread = {"target_std": wanted, "prediction_std": predicted}
    skills = {
        f"skill_span_{length}": _skill(mine, others, own_states)
        for length, mine, others, own_states in zip(
            lengths, *(s.split(lengths, 1) for s in (predicted, other_text, wanted)), strict=True
        )
    }
    return {name: normalise(each, "layer").flatten(0, 1).std(0).mean() for name, each in spread.items()} | {
        "skill_mean": 1 - own / mean.clamp(min=1e-12),
        "skill_position": 1 - own / position.clamp(min=1e-12),
        "skill_context": _skill(predicted, other_text, wanted),
        **skills,
    }


def _skill(predicted: torch.Tensor, reference: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """1 − loss of a prediction over that of a reference."""
    return 1 - cosine_loss(predicted, wanted) / cosine_loss(reference, wanted).clamp(min=1e-12)


def collapse_warnings(record: dict[str, Any]) -> list[str]:
    """A sentence for each sign of collapse in a record."""
    return [
        f"step {record.get('step')}: {name} = {record[name]:.3g}: {reason}."
        for name, (beyond, limit, reason) in COLLAPSED.items()
        if name in record and beyond(record[name], limit)
    ]


@torch.no_grad()
def held_out_loss(
    config: PretrainConfig, objective: Objective, data: BatchSource, device: torch.device
) -> dict[str, float]:
    """Losses on held-out rows with fixed masks, as held_out_mlm, held_out_jepa …."""
    n = min(config.eval_rows, data.n_held_out)
    size = max(1, config.batch_rows // config.accumulation)
    sums: dict[str, float] = {}
    for first in range(0, n, size):
        indices = np.arange(first, min(n, first + size))
        with autocast(config, device):
            parts = objective.parts(data.held_out(indices, first, device))
        for name, loss in parts.items():
            sums[name] = sums.get(name, 0.0) + float(loss) * len(indices)
    return {f"held_out_{name}": value / n for name, value in sums.items()}
