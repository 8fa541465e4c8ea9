"""The losses: equal to their written-out definitions, blind where they must be, and the same as ever."""

import json
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from geomprobe.pretrain import budget
from geomprobe.pretrain.config import PRESETS, load_config, preset_names
from geomprobe.pretrain.data import BatchSource
from geomprobe.pretrain.encoder import encode
from geomprobe.pretrain.loop import train
from geomprobe.pretrain.masking import evaluation_spans
from geomprobe.pretrain.objectives import build_objective
from geomprobe.pretrain.objectives.jepa import variance_loss
from geomprobe.pretrain.objectives.mlm import mlm_loss
from geomprobe.pretrain.optimizer import ema_decay, initial_share, make_optimizer
from geomprobe.pretrain.runlog import EARLIER

GOLDEN = Path(__file__).parent / "golden_losses.json"
BALANCES = ["learned", "fixed", "ramp", "uncertainty", "gradnorm"]


def lively(objective):
    """Give norms and gates values of their own, so that nothing is equal by symmetry."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in objective.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    return objective


@pytest.fixture
def made(tiny, corpus):
    config = tiny(objective="hybrid", **EARLIER)
    return lively(build_objective(config, corpus)).double(), BatchSource(config, corpus).batch(0, 0), config


def test_gathered_context_equals_masked_full_pass(made):
    """Reading only the context tokens, at their own positions, is the same as reading all and attending to those."""
    objective, batch, _ = made
    gathered = encode(objective.model.model, batch.masked, batch.context)
    visible = torch.zeros_like(batch.ids, dtype=torch.bool).scatter_(1, batch.context, True)
    full = objective.model.model(batch.masked, attention_mask=visible).last_hidden_state
    wanted = full.gather(1, batch.context[..., None].expand(-1, -1, full.shape[-1]))
    assert (gathered - wanted).abs().max() < 1e-12
    assert (encode(objective.model.model, batch.masked.gather(1, batch.context)) - wanted).abs().max() > 1e-4


def test_own_pass_equals_the_models_forward(made):
    objective, batch, _ = made
    full = objective.model.model(batch.ids).last_hidden_state
    assert (encode(objective.model.model, batch.ids) - full).abs().max() < 1e-12
    some = encode(objective.model.model, batch.ids, wanted=batch.targets)
    assert (some - full.gather(1, batch.targets[..., None].expand(-1, -1, full.shape[-1]))).abs().max() < 1e-12


@pytest.mark.parametrize("which", [0, 1])
def test_predictions_depend_on_context_and_own_block_only(made, which):
    """Text outside the context changes nothing; the other block's positions change nothing either."""
    objective, batch, _ = made
    predicted = objective.predict(batch.ids, batch.context, batch.targets)
    changed = batch.ids.clone()
    hidden = torch.ones_like(changed, dtype=torch.bool).scatter_(1, batch.context, False)
    changed[hidden] = 7
    assert torch.equal(objective.predict(changed, batch.context, batch.targets), predicted)
    size = batch.targets.shape[1] // 2
    moved = batch.targets.clone()
    moved[:, size * (1 - which) : size * (2 - which)] += 3
    own = slice(size * which, size * (which + 1))
    assert torch.allclose(objective.predict(batch.ids, batch.context, moved)[:, own], predicted[:, own], atol=1e-13)
    assert not torch.allclose(objective.predict(batch.ids, batch.context, batch.targets + 2), predicted, atol=1e-4)
    other = changed.clone()
    other[:, batch.context[0]] = 9
    assert not torch.allclose(objective.predict(other, batch.context, batch.targets), predicted, atol=1e-4)


def test_losses_equal_their_definitions(made):
    objective, batch, _ = made
    losses = objective(batch)
    logits = objective.model(batch.masked).logits
    labels = torch.full_like(batch.ids, -100).scatter_(1, batch.positions, batch.ids.gather(1, batch.positions))
    mlm = F.cross_entropy(logits.flatten(0, 1).float(), labels.flatten())
    assert losses["mlm"].item() == pytest.approx(mlm.item(), rel=1e-5)
    target = objective.target(batch.ids).last_hidden_state
    wanted = F.layer_norm(target, target.shape[-1:]).gather(
        1, batch.targets[..., None].expand(-1, -1, target.shape[-1])
    )
    assert objective.target_states(batch.ids, batch.targets).std(-1, unbiased=False) == pytest.approx(1.0, abs=1e-3)
    predicted = objective.predict(batch.masked, batch.context, batch.targets)
    jepa = (1 - (F.normalize(predicted, dim=-1) * F.normalize(wanted, dim=-1)).sum(-1)).mean()
    assert losses["jepa"].item() == pytest.approx(jepa.item(), rel=1e-5)
    share = torch.sigmoid(objective.w).item()
    assert losses["lambda"].item() == pytest.approx(share)
    balanced = share * losses["jepa"].item() + (1 - share) * losses["mlm"].item()
    assert losses["loss"].item() == pytest.approx(balanced, rel=1e-6)


def test_gradients_of_the_learned_balance(made):
    """dL/dw = λ(1 − λ)(L_JEPA − L_MLM): negative while the JEPA loss is the smaller, so λ grows."""
    objective, batch, _ = made
    losses = objective(batch)
    losses["loss"].backward()
    share = losses["lambda"].item()
    wanted = share * (1 - share) * (losses["jepa"] - losses["mlm"]).item()
    assert objective.w.grad.item() == pytest.approx(wanted, rel=1e-5)
    assert all(p.grad is None for p in objective.target.parameters())


def test_target_is_a_moving_average(made):
    objective, _, _ = made
    before = [p.clone() for p in objective.target.parameters()]
    with torch.no_grad():
        for p in objective.model.model.parameters():
            p += 1
    objective.update_target(0.9)
    for old, new, online in zip(before, objective.target.parameters(), objective.model.model.parameters(), strict=True):
        assert torch.allclose(new, 0.9 * old + 0.1 * online)


@pytest.mark.parametrize("balance", BALANCES)
def test_balance_rules(tiny, balance):
    out = train(tiny(objective="hybrid", balance=balance, jepa_weight=0.3, log_every=1, budget="24-steps"))
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    weights = np.array([line["lambda"] for line in lines])
    assert ((weights >= 0) & (weights <= 1)).all()
    if balance == "fixed":
        assert weights == pytest.approx(0.3)
    if balance == "ramp":
        assert weights[:12] == pytest.approx(0.3 * np.arange(12) / 12, abs=1e-6)
        assert weights[12:] == pytest.approx(0.3)
    if balance == "learned":
        assert (np.diff(weights) > 0).all()
    if balance in ("uncertainty", "gradnorm"):
        assert weights.std() > 0


def test_overfits_one_batch(tiny, corpus):
    config = tiny(objective="mlm", hidden=64, intermediate=96)
    objective = build_objective(config, corpus)
    optimizer = make_optimizer(config, objective, torch.device("cpu"))
    batch = BatchSource(config, corpus).batch(0, 0)
    for group in optimizer.param_groups:
        group["lr"] = 0.005
    for _ in range(150):
        optimizer.zero_grad()
        loss = objective(batch)["loss"]
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1


GOLDEN_RUNS = {
    "mlm": {},
    "jepa": EARLIER,
    "hybrid": EARLIER,
    "jepa, default": {},
    "hybrid, default": {},
}
"""The first three were trained before there was a choice."""


@pytest.mark.parametrize("name", GOLDEN_RUNS)
def test_golden_losses(tiny, name):
    """Fifty steps from a fixed seed give the losses they always gave (to what other processors round differently)."""
    how = {"budget": "50-steps", "log_every": 10, "eval_every": 50, "save_every": "50", "lr": 0.005}
    out = train(tiny(objective=name.split(",")[0], **how, **GOLDEN_RUNS[name]))
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines]
    golden = json.loads(GOLDEN.read_text())
    assert losses == pytest.approx(golden[name], rel=2e-3)


STUDENT = {"structure": "student", "target_layers": 2, "target_norm": "instance"}
STRUCTURES = {
    "blocks": EARLIER,
    "paper": EARLIER | {"masks": "paper"},
    "spans": EARLIER | {"span_length": 3, "target_norm": "instance"},
    "student": EARLIER | {"structure": "student"},
    "student-spans": STUDENT | {"span_length": 3},
    "sentence": STUDENT | {"sentence_weight": 0.1},
}


@pytest.mark.parametrize("objective", ["mlm", "jepa", "hybrid"])
@pytest.mark.parametrize("structure", STRUCTURES)
def test_flops_match_the_counter(tiny, corpus, objective, structure):
    config = tiny(objective=objective, predictor_layers=2, **STRUCTURES[structure])
    made = build_objective(config, corpus)
    for body in (made.model, made.target, made.predictor and made.predictor.body):
        if body is not None:
            body.config._attn_implementation = "eager"  # the fused CPU kernel would count as nothing
    batch = BatchSource(config, corpus).batch(0, 0)
    with FlopCounterMode(display=False) as counter:
        made(batch)["loss"].backward()
    block = batch.targets.shape[1] // 2 if objective != "mlm" and structure == "blocks" else None
    assert budget.step_flops(config, corpus.vocab_size, block)["total"] == pytest.approx(
        counter.get_total_flops(), rel=0.02
    )


def test_spans_of_a_context_leave_the_masked_tokens_as_they_are(tiny, corpus):
    """Only a student's spans are the masked tokens."""
    batches = [
        BatchSource(tiny(objective="hybrid", structure="context", span_length=n), corpus).batch(3, 0) for n in (0, 3)
    ]
    assert torch.equal(batches[0].masked, batches[1].masked)
    assert batches[0].targets.shape != batches[1].targets.shape
    student = BatchSource(tiny(objective="hybrid", structure="student", span_length=3), corpus).batch(3, 0)
    assert not torch.equal(student.masked, batches[0].masked)


@pytest.mark.parametrize("structure", ["blocks", "spans", "student", "sentence"])
def test_predictions_of_spans_do_not_see_them(tiny, corpus, structure):
    """The evaluation is blind to the text at its spans under every structure, and not to the rest."""
    config = tiny(objective="hybrid", **STRUCTURES[structure])
    objective = lively(build_objective(config, corpus)).double()
    spans = BatchSource(config, corpus).evaluation(8)
    lengths = evaluation_spans(config.row_length)
    predicted = objective.predict_spans(spans.ids, spans, lengths)
    assert torch.equal(objective.predict_spans(spans.ids.scatter(1, spans.targets, 7), spans, lengths), predicted)
    other = objective.predict_spans(spans.ids.scatter(1, spans.context[:, :4], 7), spans, lengths)
    assert (other - predicted).abs().amax((1, 2)).min() > 1e-6


@pytest.mark.parametrize("loss", ["cosine", "smooth-l1"])
def test_student_loss_equals_its_definition(tiny, corpus, loss):
    config = tiny(objective="hybrid", jepa_loss=loss, **STUDENT)
    objective = lively(build_objective(config, corpus))
    batch = BatchSource(config, corpus).batch(0, 0)
    assert batch.targets is None
    losses = objective.parts(batch)
    states = objective.model.model(batch.masked).last_hidden_state
    where = batch.positions[..., None].expand(-1, -1, states.shape[-1])
    predicted = objective.prediction_head(states.gather(1, where))
    layers = objective.target(batch.ids, output_hidden_states=True).hidden_states[1:]
    normed = [F.instance_norm(layer.transpose(1, 2)).transpose(1, 2) for layer in layers]
    wanted = torch.stack(normed).mean(0).gather(1, where)
    difference = (predicted - wanted).abs()
    expected = {
        "cosine": (1 - F.cosine_similarity(predicted, wanted, dim=-1)).mean(),
        "smooth-l1": torch.where(difference < 1, difference**2 / 2, difference - 0.5).mean(),
    }[loss]
    assert losses["jepa"].item() == pytest.approx(expected.item(), rel=1e-4)
    assert losses["mlm"].item() == pytest.approx(mlm_loss(objective.model, batch).item(), rel=1e-5)
    losses["jepa"].backward()
    assert all(p.grad is None for p in objective.target.parameters())


def test_rows_are_found_by_their_mean_state(tiny, corpus):
    """Queries equal to the keys give the lowest loss; those of the row before give a high one."""
    config = tiny(objective="hybrid", **STRUCTURES["sentence"])
    objective = build_objective(config, corpus)
    batch = BatchSource(config, corpus).batch(0, 0)
    targets = encode(objective.target, batch.ids)
    key = targets.mean(1) - targets.mean((0, 1))
    objective.sentence_head = torch.nn.Identity()
    found, confused = (objective.sentence_loss(states[:, None], targets).item() for states in (key, key.roll(1, 0)))
    scores = F.normalize(key, dim=-1) @ F.normalize(key, dim=-1).T / 0.1
    assert found == pytest.approx(-scores.log_softmax(1).diagonal().mean().item(), rel=1e-4)
    assert confused > found + 5


def test_variance_loss():
    """0 for uncorrelated states of variance 1; equal dimensions are punished, and small ones."""
    states = torch.randn(4000, 8, generator=torch.Generator().manual_seed(0))
    states = torch.linalg.qr(states - states.mean(0))[0] * 3999**0.5
    assert variance_loss(states).item() == pytest.approx(0.0, abs=1e-3)
    assert variance_loss(states[:, :1].expand(-1, 8)).item() == pytest.approx(56 / (25 * 8), rel=1e-3)
    assert variance_loss(states / 100).item() == pytest.approx(0.98, abs=0.01)


def test_target_half_life():
    """After the warm-up the decay halves weights in the given share of the run; the initial ones are gone."""
    config = load_config("demo", {"objective": "hybrid"}, ["ema_half_life=0.02"])
    decays = [ema_decay(config, step, 1000) for step in range(1000)]
    assert np.prod(decays[-20:]) == pytest.approx(0.5)
    assert decays == sorted(decays)
    assert initial_share(config, 1000) < 1e-9
    published = load_config("demo", {"objective": "hybrid"}, ["ema_start=0.996", "ema_end=1.0", "ema_half_life=0"])
    assert initial_share(published, 600) == pytest.approx(0.30, abs=0.005)


@pytest.mark.parametrize(("half_life", "warned"), [(0.0, True), (0.05, False)])
def test_initial_weights_in_the_target_are_said(tiny, half_life, warned):
    said = []
    out = train(tiny(objective="jepa", ema_half_life=half_life), progress=lambda record: said.append(str(record)))
    assert any("ema_half_life" in text for text in said) == warned
    assert (json.loads((out / "run.json").read_text())["initial_share"] > 0.05) == warned


def test_every_preset_is_a_model_of_its_size():
    sizes = {
        "demo": (2, 128),
        "small": (4, 256),
        "blocks": (4, 256),
        "paper": (6, 512),
        "paper-faithful": (6, 512),
        "base": (12, 768),
    }
    assert set(preset_names()) == set(sizes)
    for name, size in sizes.items():
        config = load_config(name)
        assert (config.layers, config.hidden) == size
    assert 2.5e9 > budget.step_flops(load_config("small"), 30522)["total"] / 4096 > 1e7


@pytest.mark.parametrize("preset", ["blocks", "paper-faithful"])
def test_presets_of_the_published_objective_name_all_of_it(preset):
    """Whatever the defaults become, they train what was trained before there was a choice."""
    config = load_config(preset)
    assert {key: getattr(config, key) for key in EARLIER} == EARLIER
    named = tomllib.loads((PRESETS / f"{preset}.toml").read_text())
    assert {"structure", "target_layers", "target_norm", "jepa_loss", "ema_half_life", "balance"} <= set(named)


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch.optim.Muon came with torch 2.9")
def test_muon_moves_matrices_by_their_orthogonal_factor(tiny, corpus):
    """A first step is 0.2 · sqrt(longer side) · lr times the nearest semi-orthogonal matrix of the gradient."""
    config = tiny(objective="mlm", optimizer="muon", weight_decay=0.0)
    objective = build_objective(config, corpus)
    optimizer = make_optimizer(config, objective, torch.device("cpu"))
    tokens = objective.model.model.embeddings.tok_embeddings.weight
    matrices, others = (part.param_groups for part in optimizer.parts)
    assert not any(p is tokens for p in matrices[0]["params"])
    trained = {id(p) for p in objective.parameters() if p.requires_grad}
    assert trained == {id(p) for group in matrices + others for p in group["params"]}

    weight = objective.model.model.layers[1].mlp.Wo.weight
    before = weight.detach().clone()
    for p in objective.parameters():
        p.grad = torch.randn(p.shape, generator=torch.Generator().manual_seed(0))  # of full rank, unlike the first real
    left, _, right = torch.linalg.svd(weight.grad.double(), full_matrices=False)
    optimizer.step()
    wanted = 0.2 * max(weight.shape) ** 0.5 * (left @ right)
    moved = (before - weight.detach()).double() / config.lr
    assert torch.nn.functional.cosine_similarity(moved.flatten(), wanted.flatten(), dim=0) > 0.95
    assert moved.norm() == pytest.approx(float(wanted.norm()), rel=0.2)
