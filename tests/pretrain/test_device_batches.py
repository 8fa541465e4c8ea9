"""Batches drawn by torch are those that numpy draws, bit for bit; on the CPU through the same code as on a GPU."""

import json
import os
import signal
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from geomprobe.pretrain import device_batches, loop, masking
from geomprobe.pretrain.config import load_config
from geomprobe.pretrain.corpus import Corpus
from geomprobe.pretrain.data import BatchSource, row_indices
from geomprobe.pretrain.device_batches import DeviceBatchSource, batch_source, row_order
from geomprobe.pretrain.distributed import Processes
from geomprobe.pretrain.philox import Generators, spare_draws
from geomprobe.pretrain.progress import SaveRule
from geomprobe.pretrain.runlog import EARLIER
from geomprobe.pretrain.step import Step

CPU = torch.device("cpu")
ROWS = 3
seeds = st.one_of(st.integers(0, 100), st.integers(2**31, 2**33), st.integers(0, 2**62), st.just(2**62))
steps = st.one_of(st.integers(0, 100), st.integers(0, 2**40))
highs = st.one_of(st.integers(1, 1000), st.integers(2**30, 2**31), st.integers(1, 2**31))
draws = st.one_of(
    st.tuples(st.just("random"), st.integers(1, 9)),
    st.tuples(st.just("integers"), highs, st.integers(1, 9)),
    st.tuples(st.just("choice"), st.integers(1, 6), st.integers(0, 500)),
)


@pytest.fixture(autouse=True)
def short_order(monkeypatch):
    """Compute the order of few steps at once, so that tests come to the end of it."""
    monkeypatch.setattr(device_batches, "_ORDERED", 128)


def same(batch, other):
    return all(a is b is None or (a.dtype == b.dtype and torch.equal(a, b)) for a, b in zip(batch, other, strict=True))


@settings(max_examples=150, deadline=None)
@given(seeds, steps, st.integers(0, 2**22), st.integers(0, 4), st.lists(draws, max_size=6), st.sampled_from([1, 64]))
def test_generators_draw_what_numpy_draws(seed, step, first, purpose, asked, words):
    """Draws of all kinds in any order; integers up to 2³¹, of which numpy refuses up to a half."""
    ours = Generators(seed, step, first, ROWS, purpose, CPU, words=words)
    theirs = [masking.generator(seed, step, first + row, purpose) for row in range(ROWS)]
    for kind, *given_ in asked:
        if kind == "random":
            drawn, wanted = ours.random(*given_), [one.random(*given_) for one in theirs]
        elif kind == "integers":
            high, n = given_
            drawn, wanted = ours.integers(high, n), [one.integers(high, size=n) for one in theirs]
        else:
            size, more = given_
            drawn = ours.choice(size + more, size)
            wanted = [one.choice(size + more, size, replace=False) for one in theirs]
        assert np.array_equal(drawn.numpy(), wanted)


def test_refused_draws():
    """Of integers below 2³⁰ + 2²⁹ + 1 every third draw is refused, so rows use up different numbers of words."""
    high, n, rows = 2**30 + 2**29 + 1, 50, 200
    ours = Generators(5, 6, 0, rows, 0, CPU)
    assert 0.1 < (2**32 % high) / 2**32 < 0.35
    drawn = ours.integers(high, n)
    assert len(ours.taken.unique()) > 5
    then = ours.integers(10, 3), ours.random(2)
    for row in range(rows):
        one = masking.generator(5, 6, row, 0)
        assert np.array_equal(drawn[row].numpy(), one.integers(high, size=n))
        assert np.array_equal(then[0][row].numpy(), one.integers(10, size=3))
        assert np.array_equal(then[1][row].numpy(), one.random(2))


@pytest.mark.parametrize(("refused", "n"), [(0.0, 5), (1e-7, 1), (6e-6, 19), (0.25, 77), (0.5, 20)])
def test_spare_draws_are_enough(refused, n):
    """By the exact chance that more than the spare ones are refused."""
    from scipy.stats import binom

    spare = spare_draws(refused, n)
    assert binom.sf(spare, n + spare, refused) < 1e-30
    assert spare == 0 or binom.sf(spare // 2, n + spare // 2, refused) > 1e-30  # not far more than needed


@settings(max_examples=100, deadline=None)
@given(seeds, st.integers(0, 10**9), st.integers(1, 64), st.one_of(st.integers(1, 300), st.integers(1, 2**40)))
def test_rows_come_in_the_same_order(seed, step, batch_rows, n_rows):
    position = torch.arange(step * batch_rows, (step + 1) * batch_rows)
    assert np.array_equal(row_order(position, n_rows, seed).numpy(), row_indices(seed, step, batch_rows, n_rows))


@settings(max_examples=40, deadline=None)
@given(seeds, steps, st.integers(16, 300), st.sampled_from([70, 200, 30_522, 300_000]), st.floats(0.01, 0.5))
def test_masks_are_the_same(seed, step, length, vocabulary, fraction):
    special, unused = {"pad": 0, "cls": 2, "sep": 3, "mask": 4}, [9, 10, 55, 69]
    ids = np.random.default_rng(seed).integers(5, vocabulary, (ROWS, length))
    ids[:, 0], ids[:, -1], ids[:, length // 3] = 2, 3, 3
    count = masking.masked_count(length, fraction)
    where = {"seed": seed, "step": step, "first_row": 7}
    wanted = masking.mask_tokens(ids, count=count, special=special, vocab_size=vocabulary, unused=unused, **where)

    def draw(purpose, **words):
        return Generators(seed, step, 7, ROWS, purpose, CPU, **words)

    fixed = (torch.tensor(sorted(values)) for values in (special.values(), [*special.values(), *unused]))
    drawn = device_batches.mask_tokens(torch.from_numpy(ids), draw, count, *fixed, special["mask"], vocabulary)
    assert all(np.array_equal(a.numpy(), b) for a, b in zip(drawn, wanted, strict=True))


@settings(max_examples=60, deadline=None)
@given(seeds, steps, st.integers(16, 512), st.integers(0, 3), st.floats(0.05, 1.0))
def test_blocks_are_the_same(seed, step, length, which, fraction):
    size = masking.block_sizes(length)[which]
    where = {"seed": seed, "step": step, "first_row": 7}
    wanted = masking.draw_blocks(ROWS, length, size, context_fraction=fraction, **where)

    def draw(purpose, **words):
        return Generators(seed, step, 7, ROWS, purpose, CPU, **words)

    drawn = device_batches.draw_blocks(draw, length, size, fraction)
    assert all(np.array_equal(a.numpy(), b) for a, b in zip(drawn, wanted, strict=True))


def chunks(*sizes, dtype, vocabulary):
    """Return a corpus of random ids in chunks of these sizes."""
    rng = np.random.default_rng(0)
    streams = [rng.integers(5, vocabulary, size).astype(dtype) for size in sizes]
    for stream in streams:
        stream[20::21] = 3
    info = {"vocab_size": vocabulary, "special": {"pad": 0, "cls": 2, "sep": 3, "mask": 4}}
    return Corpus(None, {"train": streams, "heldout": streams[:1]}, {}, info)


@pytest.mark.parametrize(("dtype", "vocabulary"), [(np.uint16, 65_536), (np.uint32, 100_000)])
@pytest.mark.parametrize("objective", ["mlm", "jepa", "hybrid"])
def test_batches_are_the_same(tiny, objective, dtype, vocabulary):
    """Any part of any step, as ranks, accumulation and resumed runs ask for it; a pass over the data ends within."""
    corpus = chunks(1000, 37, 20, 5000, dtype=dtype, vocabulary=vocabulary)
    config = tiny(objective=objective, seed=2**62 - 1)
    host, drawing = BatchSource(config, corpus), DeviceBatchSource(config, corpus, CPU)
    assert drawing.reproduces(host)
    asked = [(step, *part) for step in (0, 24, 25, 3, 10**6) for part in ((0, None), (0, 8), (2, 4), (7, 1))]
    assert all(same(host.batch(*each), drawing.batch(*each)) for each in asked)
    if dtype is np.uint16:
        assert max(drawing.batch(step, 0).ids.max() for step in range(25)) > 2**15  # beyond int16


def test_ranks_and_accumulation_get_their_parts(tiny, corpus):
    config = tiny(objective="hybrid", accumulation=2)
    for rank in range(2):
        asked = (5, 9, Processes(rank, 2), CPU)
        host, drawing = BatchSource(config, corpus), DeviceBatchSource(config, corpus, CPU)
        with host.ahead(*asked) as wanted, drawing.ahead(*asked) as drawn:
            pairs = list(zip(islice(wanted, 20), drawn, strict=True))
        assert len(pairs) == 8
        assert all(same(*pair) for pair in pairs)


@pytest.fixture
def gpu(monkeypatch):
    """Let the CPU pass for a device on which batches are drawn, with 1 GB of free memory."""
    monkeypatch.setattr(device_batches, "free_memory", lambda device: 10**9)


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("how", [{}, EARLIER | {"balance": "gradnorm"}], ids=["default", "blocks"])
def test_a_run_logs_the_same(tiny, tmp_path, monkeypatch, how):
    """Drawn on the device, stopped and resumed, a run logs what one on the host logs, bit for bit."""
    config = tiny(objective="hybrid", **how, accumulation=2, log_every=1, out=str(tmp_path / "device"))
    drawn, batch = [], DeviceBatchSource.batch

    def counted(self, step, *given, **named):
        drawn.append(step)
        return batch(self, step, *given, **named)

    monkeypatch.setattr(DeviceBatchSource, "batch", counted)

    def stop(record):
        if record.get("step") == 5:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(KeyboardInterrupt):
        loop.train(config, progress=stop)
    loop.train(config, resume=True)
    assert set(range(12)) <= set(drawn)
    monkeypatch.undo()
    loop.train(replace(config, out=str(tmp_path / "host")))

    def logged(name):
        lines = [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        return [
            [line.get(key) for key in ("step", "mlm", "jepa", "lambda", "grad_norm", "held_out_mlm")] for line in lines
        ]

    assert len(logged("host")) == 12
    assert logged("device") == logged("host")


class Waits(TorchDispatchMode):
    """Notes the operations that read a value from the device, or whose shape depends on one."""

    def __init__(self):
        super().__init__()
        self.seen = set()

    def __torch_dispatch__(self, function, types, given=(), named=None):
        if function.overloadpacket.__name__ in WAITING:
            self.seen.add(function.overloadpacket.__name__)
        return function(*given, **named or {})


WAITING = {"_local_scalar_dense", "is_nonzero", "item", "equal", "nonzero", "masked_select", "_unique2", "unique_dim"}


@pytest.mark.usefixtures("gpu")
def test_no_step_waits_for_the_device(tiny, monkeypatch):
    """Neither its batches, nor losses, clipping, optimizer and target encoder read a value."""
    waits, take = Waits(), Step.__call__

    def watched(*given):
        with waits:
            return take(*given)

    monkeypatch.setattr(Step, "__call__", watched)
    for how in ({}, EARLIER, EARLIER | {"balance": "gradnorm"}):
        out = f"{tiny().out}-{how.get('balance')}"
        loop.train(tiny(objective="hybrid", **how, accumulation=2, out=out))
    assert waits.seen == set()
    with waits:
        torch.ones(1).item()
    assert waits.seen
    # An exchange reads a value, too; here it would fail.
    assert not SaveRule("0.0001m").due(3, Processes(0, 2), logged=False)


@pytest.mark.usefixtures("gpu")
def test_what_is_drawn_on_the_host(tiny, corpus, monkeypatch):
    def source(corpus=corpus, **changes):
        notes = []
        made = batch_source(
            tiny(**{"objective": "hybrid", "structure": "context"} | changes), corpus, CPU, notes.append
        )
        return type(made), " ".join(notes)

    assert source() == (DeviceBatchSource, "")
    assert source(masks="paper") == (BatchSource, "")
    assert source(span_length=2) == source(span_length=2, structure="student") == (BatchSource, "")
    assert source(structure="student") == (DeviceBatchSource, "")
    assert source(rows="padded") == (BatchSource, "")
    assert source(masks="paper", objective="mlm") == (DeviceBatchSource, "")
    dense = chunks(1000, dtype=np.uint16, vocabulary=200)
    dense.streams["train"][0][::2] = 3  # half of the text is [SEP], so too little is left to mask
    kind, note = source(dense, mask_fraction=0.5)
    assert kind is BatchSource
    assert "they would differ" in note
    monkeypatch.setattr(device_batches, "Generators", lambda *_, **__: (_ for _ in ()).throw(RuntimeError("no int64")))
    kind, note = source()
    assert kind is BatchSource
    assert "(no int64): batches are drawn on the host" in note
    monkeypatch.setattr(device_batches, "free_memory", lambda device: 10_000)
    kind, note = source()
    assert kind is BatchSource
    assert "takes more than 25% of the 1e-05 GB that are free" in note
    monkeypatch.undo()
    assert source() == (BatchSource, "")  # on a CPU


@pytest.mark.slow
def test_compiled(corpus, tiny):
    config = load_config("demo", {"corpus": str(corpus.path), "objective": "hybrid", "seed": 2**62})
    host, drawing = BatchSource(config, corpus), DeviceBatchSource(config, corpus, CPU, compiled=True)
    assert drawing.reproduces(host)
    with torch._dynamo.config.patch(error_on_recompile=True):
        assert all(same(host.batch(step, 0), drawing.batch(step, 0)) for step in (1, 2, 77))
