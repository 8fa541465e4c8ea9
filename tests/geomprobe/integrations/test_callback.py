"""GeometryCallback in trainings by transformers: what it logs and where, what it leaves alone, when it warns."""

from __future__ import annotations

import importlib.util
import json
import os
import random
import runpy
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import EarlyStoppingCallback, Trainer, TrainerCallback, TrainingArguments

from geomprobe.common import UsageError
from geomprobe.integrations.collapse import Collapse
from geomprobe.integrations.monitor import METRICS, GeometryMonitor, unchanged_random_state
from geomprobe.integrations.transformers import GeometryCallback
from tests.geomprobe.conftest import WORDS, tiny_model, word_tokenizer

pytest.importorskip("accelerate", reason="transformers' Trainer needs accelerate")
EXAMPLE = Path(__file__).parents[3] / "docs" / "examples" / "watch_geometry.py"
TEXTS = [f"the {a} {b} {c}" for a in WORDS[2:8] for b in ("saw", "sat on") for c in ("a bird", "the tree", "a mat")]
KEYS = [f"geometry/{name}" for name in METRICS]


class Pairs(torch.utils.data.Dataset):
    """Token rows of random words, each with a class."""

    def __init__(self, n: int = 64):
        drawn = np.random.default_rng(0).integers(5, 5 + len(WORDS), (n, 8))
        self.rows = [{"input_ids": row.tolist(), "labels": int(row[0]) % 2} for row in drawn]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> dict:
        return self.rows[i]


class WithHead(torch.nn.Module):
    """A classifier whose dropout draws random numbers at every step."""

    def __new__(cls, seed: int = 0):
        from transformers import BertForSequenceClassification

        base = tiny_model("bert")
        torch.manual_seed(seed)
        model = BertForSequenceClassification(base.config)
        model.bert.load_state_dict(base.state_dict(), strict=False)
        return model


def trainer_of(folder, callbacks=(), *, kind=Trainer, **options):
    """Return a trainer of a tiny classifier."""
    chosen = {"max_steps": 12, "logging_steps": 4, "report_to": [], "use_cpu": True, "disable_tqdm": True}
    chosen |= {"learning_rate": 1e-3, "save_strategy": "no", "dataloader_pin_memory": False} | options
    return kind(
        WithHead(),
        TrainingArguments(str(folder), **chosen),
        train_dataset=Pairs(),
        eval_dataset=Pairs(16),
        processing_class=word_tokenizer(),
        callbacks=list(callbacks),
    )


def lines_of(folder):
    return [json.loads(line) for line in (folder / "geometry.jsonl").read_text().splitlines()]


class Heard(TrainerCallback):
    """Keeps what it hears."""

    def __init__(self):
        self.logs: list = []

    def on_log(self, args, state, control, logs=None, **_):
        self.logs.append((state.global_step, dict(logs)))


@dataclass
class Trained:
    """The same training without the callback and with it, and random numbers that each left."""

    folder: Path
    plain: Trainer
    watched: Trainer
    callback: GeometryCallback
    heard: Heard
    drawn: list


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder, heard = tmp_path_factory.mktemp("trained"), Heard()
    callback = GeometryCallback(TEXTS, every=5, on_collapse="stop")
    trackers = ["tensorboard"] if importlib.util.find_spec("tensorboard") else []
    done, drawn = [], []
    for place, callbacks in ((folder / "plain", []), (folder, [heard, callback])):
        trainer = trainer_of(place, callbacks, report_to=trackers)  # which sets the seeds
        trainer.train()
        done.append(trainer)
        drawn.append((random.random(), np.random.rand(), torch.rand(1).item()))  # noqa: NPY002
    return Trained(folder, *done, callback, heard, drawn)


def test_a_training_has_the_same_bits_with_and_without_it(trained):
    ours, theirs = trained.watched.model.state_dict(), trained.plain.model.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    plain, watched = (
        [line["loss"] for line in t.state.log_history if "loss" in line] for t in (trained.plain, trained.watched)
    )
    assert plain == watched
    assert len(plain) == 3
    assert trained.drawn[0] == trained.drawn[1]


def test_the_history_has_the_keys_without_any_tracker(tmp_path):
    trainer = trainer_of(tmp_path, [GeometryCallback(TEXTS)], max_steps=2, report_to=[])
    trainer.train()
    assert [line["step"] for line in trainer.state.log_history if set(KEYS) <= set(line)] == [0, 2]  # first and last


def test_history_log_and_report_have_every_value(trained):
    measured = [line for line in trained.watched.state.log_history if KEYS[0] in line]
    assert [line["step"] for line in measured] == [0, 5, 10, 12]
    kept = lines_of(trained.folder)
    assert [{key: line[key] for key in KEYS} for line in kept] == [
        {key: line[key] for key in KEYS} for line in measured
    ]
    low, high = kept[0]["intervals"]["geometry/effective_rank"]
    assert low < measured[0]["geometry/effective_rank"] < high
    assert "4 measurements from step 0 to 12" in trained.callback.summary
    assert "% of the time)" in trained.callback.summary
    assert "| 12 |" in (trained.folder / "geometry.md").read_text()


def test_values_are_those_of_the_public_functions(trained):
    import geomprobe as gp

    Z = gp.embed(gp.load_encoder(trained.watched.model, tokenizer=word_tokenizer()), TEXTS)
    rows = gp.measure(Z, views=["raw", "centred"]).set_index(["metric", "view"])["value"]
    last = lines_of(trained.folder)[-1]
    assert last["geometry/effective_rank"] == rows["effective_rank", "raw"]
    assert last["geometry/uniformity_centred"] == rows["uniformity", "centred"]


def test_a_tracker_has_every_value_at_its_step(trained):
    tensorboard = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="tensorboard is not installed"
    )
    events = next(file for file in trained.folder.glob("runs/*/events.out.tfevents.*"))
    read = tensorboard.EventAccumulator(str(events.parent)).Reload()
    for key in KEYS:
        points = {event.step: event.value for event in read.Scalars(f"train/{key}")}
        assert points == {line["step"]: np.float32(line[key]) for line in lines_of(trained.folder)}
    assert [event.step for event in read.Scalars("train/loss")] == [4, 8, 12]


def test_callbacks_before_it_hear_it_and_the_trainers_own_log_still_comes(trained):
    assert [step for step, logs in trained.heard.logs if KEYS[0] in logs] == [0, 5, 10, 12]
    assert [step for step, logs in trained.heard.logs if "loss" in logs] == [4, 8, 12]


def test_a_healthy_training_is_neither_warned_of_nor_stopped(trained):
    assert trained.watched.state.global_step == 12
    assert trained.callback.monitor.alarms == []


def test_more_layers_and_poolings_have_keys_of_their_own(tmp_path):
    callback = GeometryCallback(TEXTS, every=100, layers=(-1, 0), poolings=("mean", "max"), metrics=["rankme"])
    trainer_of(tmp_path, [callback], max_steps=1).train()
    found = {key for key in lines_of(tmp_path)[0] if key.endswith("rankme")}
    places = ("", "layer2-max/", "layer0-mean/", "layer0-max/")
    assert found == {f"geometry/{place}rankme" for place in places}


def test_the_best_model_can_be_chosen_by_it(tmp_path):
    options = {"eval_strategy": "steps", "eval_steps": 4, "save_strategy": "steps", "save_steps": 4}
    options |= {"load_best_model_at_end": True, "metric_for_best_model": "geometry/effective_rank"}
    callbacks = [GeometryCallback(TEXTS, every=6), EarlyStoppingCallback(1)]
    trainer = trainer_of(tmp_path, callbacks, **options, greater_is_better=False)
    trainer.train()
    evaluated = [line for line in trainer.state.log_history if "eval_loss" in line]
    ranks = {line["step"]: line["eval_geometry/effective_rank"] for line in evaluated}
    assert trainer.state.best_metric == min(ranks.values())
    assert set(ranks) <= {line["step"] for line in lines_of(tmp_path)}
    again = trainer.evaluate()  # of the best model, which was loaded again
    assert again["eval_geometry/effective_rank"] == pytest.approx(min(ranks.values()), rel=1e-6)


def test_a_resumed_training_goes_on_with_its_log(tmp_path):
    save = {"save_strategy": "steps", "save_steps": 6, "logging_steps": 3}
    trainer_of(tmp_path, [GeometryCallback(TEXTS, every=3)], **save).train()
    whole = lines_of(tmp_path)
    with open(tmp_path / "geometry.jsonl", "a") as log:
        log.write('{"step": 13, "geom')  # a killed process
    trainer_of(tmp_path, [GeometryCallback(TEXTS, every=3)], **save).train(
        resume_from_checkpoint=str(tmp_path / "checkpoint-6")
    )
    again = lines_of(tmp_path)
    assert [line["step"] for line in again] == [0, 3, 6, 9, 12]
    assert again[-1][KEYS[0]] == whole[-1][KEYS[0]]
    trainer_of(tmp_path, [GeometryCallback(TEXTS, every=100)], max_steps=2).train()
    assert [line["step"] for line in lines_of(tmp_path)] == [0, 2]


class Collapsing(Trainer):
    """Draws the vectors of all rows of a batch to their mean."""

    def compute_loss(self, model, inputs, return_outputs=False, **_):
        states = model(input_ids=inputs["input_ids"], output_hidden_states=True).hidden_states[-1].mean(1)
        states = torch.nn.functional.normalize(states, dim=-1)
        return ((states - states.mean(0)) ** 2).sum(1).mean()


def collapsing(folder, **options):
    callback = GeometryCallback(TEXTS, every=10, **options)
    trainer = trainer_of(folder, [callback], kind=Collapsing, max_steps=30, learning_rate=2e-2)
    trainer.train()
    return trainer, callback


def test_a_training_that_collapses_is_warned_of(tmp_path, caplog):
    trainer, callback = collapsing(tmp_path)
    assert trainer.state.global_step == 30
    warned = [record.message for record in caplog.records if record.name == "geomprobe"]
    assert any("collapse: mean_cosine = " in text and "different texts get the same vector" in text for text in warned)
    assert sum("mean_cosine" in text for text in warned) == 1  # said once
    assert "collapse: mean_cosine" in callback.summary
    assert "collapse: mean_cosine" in (tmp_path / "geometry.md").read_text()


def test_a_training_that_collapses_is_stopped_when_asked(tmp_path):
    trainer, callback = collapsing(tmp_path, on_collapse="stop")
    assert 0 < trainer.state.global_step < 30
    assert lines_of(tmp_path)[-1]["step"] == trainer.state.global_step
    assert callback.monitor.alarms[0].startswith(f"step {trainer.state.global_step}: collapse:")


def test_a_sign_is_raised_once_and_again_only_after_it_was_over():
    watch = Collapse()
    ranks = (20.0, 1.9, 2.5, 1.8, 5.0, 1.9)
    said = [watch.signs({"geometry/effective_rank": rank, "geometry/mean_cosine": 0.5}) for rank in ranks]
    assert [any("two dimensions" in text for text in texts) for texts in said] == [
        False,
        True,
        False,
        False,
        False,
        True,
    ]


def test_what_the_first_measurement_shows_is_no_collapse():
    watch = Collapse([{"geometry/effective_rank": 9.0, "geometry/mean_cosine": 0.9995}])
    assert watch.signs({"geometry/effective_rank": 9.0, "geometry/mean_cosine": 0.9996}) == []
    assert watch.signs({"geometry/effective_rank": 0.8, "geometry/mean_cosine": 0.5}) != []


def test_equal_vectors_are_a_collapse_although_they_have_no_rank():
    watch = Collapse([{"geometry/effective_rank": 9.0, "geometry/mean_cosine": 0.5}])
    assert any("effective_rank has no value" in text for text in watch.signs({"geometry/mean_cosine": 1.0}))


def test_measurements_keep_to_their_share_of_the_time(tmp_path, monkeypatch):
    """On a clock that the test moves: 200 steps of a second, and measurements of half a second."""
    import geomprobe.integrations.monitor as module

    now = [0.0]
    monkeypatch.setattr(module.time, "perf_counter", lambda: now[0])
    monitor = GeometryMonitor(TEXTS, max_share=0.02)

    def half_a_second(model, tokenizer):
        now[0] += 0.5
        return {"geometry/effective_rank": 5.0, "geometry/mean_cosine": 0.1}, {}, np.zeros((2, 2))

    monkeypatch.setattr(monitor, "geometry", half_a_second)
    monitor.begin(tmp_path, 0)
    monitor.observe(None, 0)
    for step in range(1, 201):
        now[0] += 1
        if monitor.due(step):
            monitor.observe(None, step)
    assert monitor.measurements == 8
    assert monitor.spent <= 0.02 * monitor.elapsed


def test_a_later_failure_is_warned_of_and_training_goes_on(tmp_path, monkeypatch):
    callback = GeometryCallback(TEXTS, every=4)
    trainer = trainer_of(tmp_path, [callback])
    whole = callback.monitor.geometry

    def broken(*given):
        if trainer.state.global_step == 4:
            raise RuntimeError("out of memory\nand more")
        return whole(*given)

    monkeypatch.setattr(callback.monitor, "geometry", broken)
    trainer.train()
    assert trainer.state.global_step == 12
    assert callback.monitor.alarms == ["step 4: the geometry could not be measured: out of memory."]


def test_a_failure_after_a_resumption_costs_no_training(tmp_path):
    monitor = GeometryMonitor(TEXTS, word_tokenizer())
    (tmp_path / "geometry.jsonl").write_text('{"step": 6, "geometry/effective_rank": 5.0}\n')
    monitor.begin(tmp_path, 6)
    assert monitor.measured(6)
    assert monitor.observe(None, 8) == {}
    assert "step 8: the geometry could not be measured" in monitor.finish()


def test_a_full_disk_costs_no_training(tmp_path, monkeypatch):
    import geomprobe.integrations.monitor as module

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.TrainingLog, "write", full)
    monkeypatch.setattr(module, "write_text", full)
    callback = GeometryCallback(TEXTS, every=100)
    trainer = trainer_of(tmp_path, [callback], max_steps=2)
    trainer.train()
    assert trainer.state.global_step == 2
    assert [("geometry.jsonl" in text, "No space left" in text) for text in callback.monitor.alarms] == [
        (True, True), (True, True), (False, True),
    ]  # fmt: skip


class Diverging(Trainer):
    """Has a loss of NaN at step 4, and weights of NaN after it."""

    def compute_loss(self, model, *given, **named):
        loss = super().compute_loss(model, *given, **named)
        return loss * float("nan") if self.state.global_step == 3 else loss


def test_a_model_that_diverged_is_stopped_when_asked(tmp_path):
    callback = GeometryCallback(TEXTS, every=2, on_collapse="stop")
    trainer = trainer_of(tmp_path, [callback], kind=Diverging, max_grad_norm=0.0)
    trainer.train()
    assert trainer.state.global_step == 4
    assert "NaN" in callback.monitor.alarms[0]


def test_a_model_that_diverged_is_warned_of_once_and_is_never_the_best(tmp_path, caplog):
    options = {"eval_strategy": "steps", "eval_steps": 2, "save_strategy": "steps", "save_steps": 2}
    options |= {"load_best_model_at_end": True, "metric_for_best_model": "geometry/effective_rank"}
    callback = GeometryCallback(TEXTS, every=2)
    trainer = trainer_of(tmp_path, [callback], kind=Diverging, max_grad_norm=0.0, **options)
    trainer.train()
    assert trainer.state.global_step == 12
    assert len(callback.monitor.alarms) == 1
    assert "2 measurements from step 0 to 2, 5 failed" in callback.summary
    assert "From step 0 to step 2, paired" in callback.summary
    assert trainer.state.best_model_checkpoint.endswith("checkpoint-2")
    assert all("eval_geometry/effective_rank" not in line for line in trainer.state.log_history if line["step"] > 2)
    torch.nn.init.constant_(next(trainer.model.parameters()), float("nan"))
    caplog.clear()
    assert "eval_loss" in trainer.evaluate()  # after the training, too
    assert "NaN" in caplog.text


def test_a_name_that_is_not_measured_is_no_metric_of_the_best_model(tmp_path):
    options = {"eval_strategy": "steps", "eval_steps": 2, "save_strategy": "steps", "save_steps": 2}
    options |= {"load_best_model_at_end": True, "metric_for_best_model": "geometry/efective_rank"}
    with pytest.raises(KeyError, match="efective_rank"):
        trainer_of(tmp_path, [GeometryCallback(TEXTS)], **options).train()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"texts": "one text"}, "texts is one string"),
        ({"texts": ["a", "a"]}, "two different texts, not 1"),
        ({"texts": ["a", None]}, "texts are strings, not NoneType"),
        ({"every": 0}, "every is a whole number"),
        ({"max_share": 0}, "max_share"),
        ({"on_collapse": "die"}, "on_collapse"),
        ({"metrics": ["efective_rank"]}, "effective_rank"),
        ({"metrics": ["class_separation"]}, "needs labels"),
        ({"metrics": ["mean_cosine_standardised"]}, "metric"),
        ({"poolings": ["men"]}, "mean"),
        ({"poolings": "mean"}, "one string"),
        ({"layers": []}, "no layer"),
    ],
)
def test_what_cannot_be_used_is_refused_at_once(given, said):
    with pytest.raises(UsageError, match=said):
        GeometryCallback(**{"texts": TEXTS} | given)


def test_a_layer_that_the_model_lacks_is_refused_before_the_first_step(tmp_path):
    trainer = trainer_of(tmp_path, [GeometryCallback(TEXTS, layers=(7,))])
    with pytest.raises(UsageError, match="no layer 7"):
        trainer.train()
    assert trainer.state.global_step == 0


def test_the_controlled_suite_is_a_set_of_texts():
    assert len(GeometryMonitor("controlled").texts) > 100


def test_random_states_are_restored():
    with unchanged_random_state():
        inside = random.random(), np.random.rand(), torch.rand(1).item()  # noqa: NPY002
    assert inside == (random.random(), np.random.rand(), torch.rand(1).item())  # noqa: NPY002


@pytest.mark.parametrize("kind", ["bert", "roberta", "modernbert", "gpt2", "llama", "t5", "fnet"])
def test_a_model_in_training_gives_the_same_gradients_after_a_measurement(kind):
    model, decoder = tiny_model(kind), kind in ("gpt2", "llama")
    model = model.get_encoder() if kind == "t5" else model
    tokenizer = word_tokenizer(template=not decoder, side="left" if decoder else "right")

    def gradients():
        model.train().zero_grad()
        torch.manual_seed(1)
        model(input_ids=torch.arange(5, 21).reshape(2, 8)).last_hidden_state.square().sum().backward()
        return [None if p.grad is None else p.grad.clone() for p in model.parameters()]

    before = gradients()
    GeometryMonitor(TEXTS, tokenizer).geometry(model)
    assert all(module.training for module in model.modules())
    after = gradients()
    assert all(b is None if a is None else torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_what_is_left_out_is_counted(tmp_path):
    long = "the cat " * 40
    callback = GeometryCallback([*TEXTS, *TEXTS[:3], long], every=100)
    trainer_of(tmp_path, [callback], max_steps=1).train()
    assert "Repeated texts that are left out: 3." in callback.summary
    assert "Texts that are cut to the model's length: 1." in callback.summary


def test_a_tokenizer_is_asked_for_by_name(tmp_path):
    trainer = trainer_of(tmp_path, [GeometryCallback(TEXTS)])
    trainer.processing_class = trainer.callback_handler.processing_class = None
    with pytest.raises(UsageError, match="needs the model's tokenizer"):
        trainer.train()


def test_weights_that_are_shared_out_are_refused():
    model = tiny_model("bert")
    next(model.parameters()).ds_id = 0  # as ZeRO-3 marks them
    with pytest.raises(UsageError, match="shared out over processes"):
        GeometryMonitor(TEXTS, word_tokenizer()).geometry(model)


def test_adapters_are_measured_in_training_without_a_copy(tmp_path):
    peft = pytest.importorskip("peft")
    import geomprobe as gp

    trainer = trainer_of(tmp_path, [GeometryCallback(TEXTS, every=6)])
    trainer.model = peft.get_peft_model(
        trainer.model, peft.LoraConfig(target_modules=["query"], init_lora_weights=False)
    )
    trainer.model_wrapped = trainer.model
    trainer.callback_handler.model = trainer.model
    trainer.create_optimizer()
    trainer.train()
    Z = gp.embed(gp.load_encoder(trainer.model, tokenizer=word_tokenizer()), TEXTS)  # merged, in a copy
    found = gp.measure(Z, metrics=["effective_rank"], views=["raw"])["value"][0]
    assert lines_of(tmp_path)[-1]["geometry/effective_rank"] == pytest.approx(found, rel=1e-4)


def test_the_example_draws_curves_in_few_lines(tmp_path, monkeypatch, capsys):
    pytest.importorskip("tensorboard", reason="the example reports to TensorBoard, which is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert len(EXAMPLE.read_text().splitlines()) <= 30
    tiny_model("bert").save_pretrained(tmp_path / "tiny")
    word_tokenizer().save_pretrained(tmp_path / "tiny")
    monkeypatch.setattr(sys, "argv", ["watch_geometry.py", str(tmp_path / "tiny"), str(tmp_path / "out")])
    runpy.run_path(str(EXAMPLE), run_name="__main__")
    assert "% of the time)" in capsys.readouterr().out
    (events,) = (file.parent for file in (tmp_path / "out").rglob("events.out.tfevents.*"))
    read = EventAccumulator(str(events)).Reload()
    assert [event.step for event in read.Scalars("train/geometry/effective_rank")] == [0, 10, 20, 30, 40]


def test_nothing_here_is_imported_with_the_package():
    code = "import sys, geomprobe, geomprobe.integrations; print([m for m in sys.modules if m.startswith('torch')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


SHARED = """
import sys
from pathlib import Path
from tests.geomprobe.integrations import test_callback as shared

folder = Path(sys.argv[1])
options = {"eval_strategy": "steps", "eval_steps": 4, "save_strategy": "steps", "save_steps": 4}
options |= {"load_best_model_at_end": True, "metric_for_best_model": "geometry/effective_rank"}
trainer = shared.trainer_of(folder / "best", [shared.GeometryCallback(shared.TEXTS, every=3)], **options)
trainer.train()
collapsed, callback = shared.collapsing(folder / "stop", on_collapse="stop")
print("rank", trainer.args.process_index, trainer.state.best_metric, collapsed.state.global_step, callback.summary[:8])
"""


@pytest.mark.thorough
def test_the_first_of_two_processes_measures_and_both_stop(tmp_path):
    (tmp_path / "shared.py").write_text(SHARED)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(EXAMPLE.parents[2])}
    done = subprocess.run(
        [*command, str(tmp_path / "shared.py"), str(tmp_path)],
        env=environment, capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    ranks = sorted(line.split()[1:] for line in done.stdout.splitlines() if line.startswith("rank"))
    assert [line[0] for line in ranks] == ["0", "1"]
    assert ranks[0][1:3] == ranks[1][1:3]  # the best metric, and where both stopped
    assert int(ranks[0][2]) < 30
    assert ranks[0][3:] == ["Geometry"]
    assert ranks[1][3:] == []
    assert [line["step"] for line in lines_of(tmp_path / "best")] == [0, 3, 4, 6, 8, 9, 12]
