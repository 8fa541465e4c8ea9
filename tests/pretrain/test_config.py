"""Settings: typed, checked, and every mistake named."""

import json
from dataclasses import asdict

import pytest
from typer.testing import CliRunner

from geomprobe.cli.main import app
from geomprobe.common import InputError, UsageError
from geomprobe.pretrain.budget import check_budget
from geomprobe.pretrain.config import load_config, make_config, preset_names
from geomprobe.pretrain.loop import train


@pytest.mark.parametrize("preset", preset_names())
def test_presets_load(preset):
    config = load_config(preset)
    assert config.preset == preset
    check_budget(config)
    assert make_config(asdict(config)) == config


def test_overrides_are_parsed_as_the_fields_type():
    config = load_config("demo", {"seed": 3, "out": None}, ["lr=2e-3", "layers=3", "tied_head=False", "budget=7-steps"])
    assert (config.lr, config.layers, config.tied_head, config.budget, config.seed) == (2e-3, 3, False, "7-steps", 3)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["lrr=1"], "Did you mean 'lr'"),
        (["layers=two"], "layers must be int"),
        (["layers=2.5"], "layers must be int"),
        (["tied_head=1"], "tied_head must be bool"),
        (["lr"], "has no value"),
        (["heads=3"], "multiple of heads"),
        (["objective=mlmm"], "Did you mean 'mlm'"),
        (["layers=0"], "above 0"),
        (["row_length=4096"], "max_length"),
        (["mask_fraction=0.9"], "mask_fraction"),
        (["seed=-1"], "negative"),
        (["warmup_steps=-5"], "warmup_steps must not be negative"),
        (["weight_decay=-0.1"], "weight_decay must not be negative"),
        (["beta2=1"], "beta1 and beta2"),
        (["lr=nan"], "lr must be float"),
        (["batch_rows=30", "accumulation=4"], "multiple of accumulation"),
        (["layers=1"], "target_layers is 2, and the encoder has 1 layer"),
        (["masks=paper"], "masks=paper needs structure=context"),
    ],
)
def test_mistakes_are_named(overrides, message):
    with pytest.raises(UsageError, match=message) as caught:
        load_config("demo", {}, overrides)
    assert caught.value.exit_code == 2


def test_mlm_reads_no_setting_of_jepa():
    assert load_config("demo", {"objective": "mlm"}, ["layers=1", "masks=paper"]).target_layers == 2


def test_unknown_preset():
    with pytest.raises(UsageError, match="Did you mean 'demo'"):
        load_config("dem")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("50M-tokens", (50e6, "tokens")),
        ("2000-steps", (2000, "steps")),
        ("30-minutes", (30, "minutes")),
        ("1e17-flops", (1e17, "flops")),
        ("1.5B-tokens", (1.5e9, "tokens")),
    ],
)
def test_budgets(text, value):
    assert check_budget(load_config("demo", {"budget": text})) == value


@pytest.mark.parametrize(
    "text", ["", "50", "50M", "-3-steps", "0-steps", "many-steps", "3-hours", "...-steps", "1e999-steps"]
)
def test_no_budgets(text):
    with pytest.raises(UsageError, match="is no budget"):
        check_budget(load_config("demo", {"budget": text}))


@pytest.mark.parametrize("text", ["1e30-steps", "1e30-tokens", "1e30-minutes", "1e30-flops", "10000000001-steps"])
def test_budgets_beyond_any_run(text):
    with pytest.raises(UsageError, match="is over"):
        check_budget(load_config("demo", {"budget": text}))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--budget", "5-steps", "--match", "run"], "--budget and --match both say how long"),
        (["--by", "steps"], "no run to match is given"),
        (["--device", "meta"], "Unknown device 'meta'"),
        (["--budget", "1e30-flops"], "over 1e+28 flops"),
        (["--tokenizer", "train:1000000000"], "is no vocabulary size"),
        *(
            ([f"--{name}", ""], f"'--{name}': the text is empty")
            for name in ("out", "corpus", "tokenizer", "match", "by", "text")
        ),
        *((["--seed", str(seed)], "seed must be at most") for seed in (2**62 + 1, 2**64, 10**30)),
    ],
)
def test_options_are_refused_before_any_work(tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["pretrain", "--preset", "demo", "--corpus", "docstrings", *options])
    assert (done.exit_code, message in done.stderr) == (2, True), done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("objective", "overrides", "unread"),
    [
        ("mlm", ["structure=context"], {"structure": "objective=mlm"}),
        ("mlm", ["balance=learned", "lr=1e-3", "predictor_heads=2"],
         {"balance": "objective=mlm", "predictor_heads": "objective=mlm"}),
        ("hybrid", ["predictor_hidden=64", "lr=0.002"], {"predictor_hidden": "structure=student"}),
        ("hybrid", ["predictor_hidden=64", "context_fraction=0.5", "structure=context"], {}),
        ("hybrid", ["ema_start=0.9"], {"ema_start": "ema_half_life=0.02"}),
        ("hybrid", ["ema_start=0.9", "ema_half_life=0"], {}),
        ("hybrid", ["jepa_weight=0.3"], {}),
        ("hybrid", ["jepa_weight=0.3", "balance=learned"], {"jepa_weight": "balance=learned"}),
        ("hybrid", ["structure=context", "span_length=4", "context_fraction=0.5"],
         {"context_fraction": "span_length=4"}),
        ("hybrid", ["structure=context", "masks=paper", "context_fraction=0.5"], {"context_fraction": "masks=paper"}),
        ("jepa", ["balance=learned", "mask_fraction=0.3"], {"balance": "objective=jepa"}),
        ("jepa", ["structure=context", "mask_fraction=0.3"], {"mask_fraction": "structure=context"}),
    ],
)  # fmt: skip
def test_a_setting_without_effect_is_named(tmp_path, objective, overrides, unread):
    sets = [word for override in overrides for word in ("--set", override)]
    command = ["pretrain", "--objective", objective, "--corpus", str(tmp_path / "none.txt"), *sets]
    warnings = [line for line in CliRunner().invoke(app, command).stderr.splitlines() if line.startswith("warning: ")]
    assert warnings == [f"warning: {key} has no effect with {reason}" for key, reason in unread.items()]


@pytest.mark.parametrize(
    "override", ["lr=Infinity", "lr=1e400", "layers=1000000000", "hidden=1e12", "batch_rows=1e12", "limit_tokens=1e30"]
)
def test_numbers_beyond_any_machine(override):
    with pytest.raises(UsageError, match=r"must be (at most|float)"):
        load_config("demo", {}, [override])


def test_the_largest_seed_trains(tiny):
    assert train(tiny(seed=2**62, budget="1-steps")).is_dir()


@pytest.mark.parametrize(
    ("run", "said"),
    [
        ("[]", "holds no run"),
        ("{}", "holds no run"),
        ('{"flops_per_step": 1}', "holds no run"),
        ('{"flops_per_step": 1, "flops": NaN}', "NaN is not a finite number"),
    ],
)
def test_a_run_to_match_without_its_numbers(tiny, tmp_path, run, said):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "run.json").write_text(run)
    with pytest.raises(InputError, match=said):
        train(tiny(match=str(tmp_path / "other")))


@pytest.mark.parametrize("gone", ["layers", "hidden", "heads", "intermediate", "seed"])
def test_a_run_to_match_without_its_encoder(tiny, tmp_path, gone):
    out = train(tiny(budget="1-steps"))
    run = json.loads((out / "run.json").read_text())
    del (run if gone in run else run["config"])[gone]
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "run.json").write_text(json.dumps(run))
    with pytest.raises(InputError, match="is damaged"):
        train(tiny(match=str(tmp_path / "other")))
