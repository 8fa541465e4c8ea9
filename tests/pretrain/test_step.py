"""A step that is recorded and replayed does what one that is taken anew does."""

from __future__ import annotations

import contextlib

import pytest
import torch

from geomprobe.pretrain.cross_entropy import linear_cross_entropy
from geomprobe.pretrain.data import BatchSource
from geomprobe.pretrain.objectives import build_objective
from geomprobe.pretrain.optimizer import make_optimizer
from geomprobe.pretrain.runlog import EARLIER
from geomprobe.pretrain.step import EAGER_STEPS, Step

CPU = torch.device("cpu")


class Recorder:
    """Stands for CUDA graphs: what is recorded is not done, and every replay does it, on the tensors of then."""

    def __init__(self, fails=False):
        self.fails, self.recorded, self.replayed = fails, 0, 0

    def unrecorded(self):
        return contextlib.nullcontext()

    def record(self, work):
        if self.fails:
            raise RuntimeError("operation not permitted when stream is capturing")
        self.recorded += 1

        def again():
            self.replayed += 1
            work()

        return again


def trained(config, corpus, recorder=None, steps=16, warn=print):
    """Weights of all that is trained, and the losses of every step."""
    objective, data = build_objective(config, corpus), BatchSource(config, corpus)
    optimizer = make_optimizer(config, objective, CPU)
    take = Step(config, objective, objective, optimizer, steps, CPU, recorder, warn)
    places = [take.decay, *(group["lr"] for group in optimizer.param_groups)]
    size, losses = config.batch_rows // config.accumulation, []
    for step in range(steps):
        parts = (data.batch(step, first) for first in range(0, config.batch_rows, size))
        losses.append(take(step, parts, lambda rows, step=step: data.batch(step, 0, rows)))
        if recorder:  # what a graph reads lies where it lay when it was recorded
            assert all(isinstance(place, torch.Tensor) for place in places)
            assert all(
                a is b for a, b in zip(places, [take.decay, *(g["lr"] for g in optimizer.param_groups)], strict=True)
            )
    return objective.state_dict(), losses


KINDS = {
    "mlm": {"objective": "mlm"},
    "student": {"objective": "hybrid", "structure": "student", "ema_half_life": 0.1},
    "four shapes": {"objective": "hybrid", **EARLIER},
    "gradnorm": {"objective": "hybrid", "balance": "gradnorm"},
    "parts": {"objective": "hybrid", "structure": "student", "accumulation": 2},
}


@pytest.mark.parametrize("kind", KINDS)
def test_replayed_steps_are_the_steps(tiny, corpus, kind):
    """Learning rate, decay, share of training done and batches are those of each step, not those that were recorded."""
    config = tiny(**KINDS[kind])
    recorder = Recorder()
    (anew, losses), (again, found) = trained(config, corpus), trained(config, corpus, recorder)
    assert recorder.recorded >= 1
    assert 16 - recorder.replayed == EAGER_STEPS * recorder.recorded or kind == "four shapes"
    for name, value in anew.items():
        torch.testing.assert_close(
            again[name], value, rtol=1e-4, atol=1e-6, msg=lambda text, name=name: f"{name}: {text}"
        )
    for a, b in zip(losses, found, strict=True):
        assert a.keys() == b.keys()
        for name in a:
            assert float(b[name]) == pytest.approx(float(a[name]), rel=1e-4), name


def test_steps_that_cannot_be_recorded_are_taken_anew(tiny, corpus):
    said = []
    config = tiny(objective="mlm")
    anew, found = trained(config, corpus)[0], trained(config, corpus, Recorder(fails=True), warn=said.append)[0]
    assert len(said) == 1
    assert "not permitted" in said[0]
    for name, value in anew.items():
        torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("rows", [1, 7, 30])
def test_cross_entropy_in_chunks_is_the_whole_one(rows):
    generator = torch.Generator().manual_seed(0)
    shapes = (30, 8), (50, 8), (50,)
    leaves = [torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True) for shape in shapes]
    wanted = torch.randint(0, 50, (30,), generator=generator)
    states, weight, bias = leaves
    whole = torch.nn.functional.cross_entropy(states @ weight.T + bias, wanted)
    parts = linear_cross_entropy(*leaves, wanted, most=50 * rows - 1 if rows == 30 else 50 * rows)
    assert float(parts) == pytest.approx(float(whole), rel=1e-6)
    for a, b in zip(torch.autograd.grad(3 * parts, leaves), torch.autograd.grad(3 * whole, leaves), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7)


def test_cross_entropy_in_chunks_under_autocast():
    generator = torch.Generator().manual_seed(0)
    leaves = [torch.randn(shape, generator=generator, requires_grad=True) for shape in ((64, 16), (500, 16), (500,))]
    wanted = torch.randint(0, 500, (64,), generator=generator)
    with torch.no_grad():
        assert linear_cross_entropy(*leaves, wanted, most=5000).isfinite()
    with torch.autocast("cpu", torch.bfloat16):
        half = leaves[0].bfloat16()
        parts, whole = (linear_cross_entropy(half, *leaves[1:], wanted, most=most) for most in (5000, 10**9))
    assert parts.dtype == whole.dtype == torch.float32
    assert float(parts) == pytest.approx(float(whole), rel=1e-4)
    for a, b in zip(torch.autograd.grad(parts, leaves), torch.autograd.grad(whole, leaves), strict=True):
        assert a.dtype == torch.float32
        assert float((a - b).norm() / b.norm()) < 0.01
