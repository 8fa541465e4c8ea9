"""Calibration on real embeddings in its quick form: small populations that are drawn here stand for real ones."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.calibration import counting, populations, real, real_page, simulate
from tests.calibration.designs import CELLS, DESIGNS, Cell, Design, draw, metrics_of

ROOT = Path(__file__).parents[2]
ARTICLES, EACH, OTHERS, D = 300, 10, 1_000, 8


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Sentences of articles whose vectors are alike within an article, and others, under two poolings."""
    folder, rng = tmp_path_factory.mktemp("populations"), np.random.default_rng(1)
    docs = [f"w{i}" for i in range(ARTICLES) for _ in range(EACH)] + ["sst2/train"] * OTHERS
    pd.DataFrame({"text": [f"text {i}" for i in range(len(docs))], "doc": docs}).to_parquet(folder / "texts.parquet")
    scale, n = np.arange(1, D + 1) ** -0.5, len(docs)
    home = np.concatenate([np.repeat(np.arange(ARTICLES), EACH), np.arange(ARTICLES, ARTICLES + OTHERS)])
    shared = (rng.normal(size=(n, D)) + 1.5 * rng.normal(size=(home.max() + 1, D))[home]) / np.sqrt(3.25)
    for name, mean in (("small2_mean", 0.5), ("small2_max", 2.0)):
        own = rng.normal(size=(n, D))
        np.save(folder / f"{name}.npy", ((0.8 * shared + 0.6 * own) * scale + mean).astype(np.float32))
    return real.Source(folder, folder / "no data")


def drawn(source, n, design, draws, metrics):
    cell = Cell("small2_mean", n, design)
    of_seeds = functools.partial(real.several_draws, source, cell, metrics)
    share = real.fraction(source, n, DESIGNS[design], "cloud")
    return counting.simulate(cell, draws, of_seeds, metrics).assign(fraction=share)


def test_no_row_is_drawn_twice_and_two_clouds_share_articles_not_rows(source):
    doc, rng = populations.texts(source.folder)["doc"].to_numpy(), np.random.default_rng(0)
    for design in (Design(), Design(50), Design(50, second="sentences"), Design(second="sentences")):
        rows, clusters = draw(source.folder, 100, design, rng)
        assert rows.shape == (2 if design.second else 1, 100)
        assert len(np.unique(rows)) == rows.size
        assert (clusters is None) == (design.documents is None)
        for side in rows if clusters is not None else []:
            assert len(set(zip(doc[side], clusters, strict=True))) == 50
    assert draw(source.folder, 1000, Design(50), rng) is None, "no article has 20 sentences"


def test_clusters_repair_what_undeclared_articles_break(source):
    designs = ("50 documents", "50 documents, undeclared")
    counts = pd.concat([drawn(source, 500, design, 50, ["mean_cosine"]) for design in designs])
    declared, plain = real_page.summary(counts).query("view == 'raw'").to_dict("records")
    assert declared["coverage"] > 0.85
    assert declared["short"] == ""
    assert 0.8 < declared["se_ratio"] < 1.25
    assert plain["coverage"] < 0.75
    assert plain["se_ratio"] < 0.6
    assert plain["short"] == "", "a reference, which is not judged"


def test_the_finite_population_is_in_the_standard_error_ratio(source):
    table = real_page.summary(drawn(source, 2000, "sentences", 50, ["participation_ratio"]))
    assert table["fraction"].item() == 0.5
    assert 0.8 < table["se_ratio"].item() < 1.25
    assert table["se"].item() / table["sd"].item() > 1.25, "the standard error does not know of it"


def test_the_share_between_articles_comes_from_the_design_effect():
    place = {"population": "small2_mean", "n": 200, "metric": "m", "view": "raw"}
    rows = [("50 documents", 2.0), ("50 documents, undeclared", 1.0), ("100 documents", 1.0), ("sentences", 1.0)]
    table = pd.DataFrame([place | {"design": design, "se": se} for design, se in rows])
    # 4 sentences of an article with an effect of 4 are alike; the effect of 100 articles is not known
    assert real_page.between(table)[[0, 2, 3]].tolist() == [1, 0, 1]
    alike = real_page.between(table.assign(se=[1.0, 1.0, 1, 1]))
    assert alike[0] == 0, "without an effect nothing lies between articles"


@pytest.mark.parametrize("design", ["null, sentences", "null, same rows"])
def test_rows_of_a_null_are_exchangeable(source, design):
    table = real_page.summary(drawn(source, 100, design, 50, ["effective_rank", "stable_rank"]))
    assert (table["false_positives"] < 0.15).all(), table.to_string()
    error = table["sd"] / np.sqrt(table["draws"])
    assert (table["mean"].abs() < 3.5 * error).all(), table.to_string()
    assert table["power"].isna().all()


def test_without_the_coin_the_poolings_differ(source):
    """The same rows under two poolings are no null: the coin makes them one."""
    first, second = real.alike(source.folder, "small2_mean")
    rows = np.arange(1000)
    assert first(rows).mean(0) == pytest.approx(second(rows).mean(0), abs=0.15)
    assert np.abs(first(rows) - second(rows)).max() > 0.5


def test_power_stands_next_to_the_oracle(source):
    table = real_page.summary(drawn(source, 200, "power, same rows, 1.5", 40, ["participation_ratio"]))
    assert (table["oracle"] > 0.5).all(), table.to_string()
    assert (table["power"] > 0.75 * table["oracle"]).all(), table.to_string()
    assert table["false_positives"].isna().all()


def test_targets_are_missed_only_beyond_the_99_percent_interval():
    row = {"design": "sentences", "given": 300, "draws": 300, "refused": 0.0, "coverage": 0.95, "conservative": 0.0}
    row |= {"se_ratio": 1.05, "false_positives": np.nan, "power": np.nan, "oracle": np.nan}

    def short(tested=0, **changed):
        return list(real_page.shortfalls(row | changed, tested))

    assert short() == []
    assert short(coverage=0.88) == short(coverage=0.88, conservative=1.0) == ["covers too little"]
    assert short(coverage=1.0, se_ratio=1.5) == ["covers too much", "SE too large"]
    assert short(coverage=1.0, se_ratio=1.5, conservative=1.0) == []
    assert short(se_ratio=0.7) == ["SE too small"]
    assert short(se_ratio=1.2) == []
    assert short(refused=0.2, given=240) == ["refused"]
    assert short(design="50 documents, undeclared", coverage=0.5) == []
    null = {"design": "null, sentences", "false_positives": 0.12}
    assert short(300, **null) == ["false positives"]
    power = {"design": "power, same rows, 1.25", "power": 0.3, "oracle": 0.8}
    assert short(300, **power) == ["power"]
    assert short(300, **power | {"power": 0.6}) == []
    assert short(300, **power | {"oracle": 0.2, "power": 0.0}) == []


def test_a_later_run_adds_what_is_missing_of_each_metric(source, tmp_path, monkeypatch):
    monkeypatch.setattr(counting, "BATCH", 4)
    cell, path = Cell("small2_mean", 200, "sentences"), tmp_path / "counts.csv"
    real.add_draws(source, cell, 4, ["stable_rank"], path, None)
    real.add_draws(source, cell, 8, ["stable_rank", "rankme"], path, None)
    found = counting.read_counts(path).set_index("metric")
    assert found["seeds"].to_dict() == {"stable_rank": 8, "rankme": 8}
    assert found["draws"].to_dict() == {"stable_rank": 8, "rankme": 8}
    before = path.read_bytes()
    real.add_draws(source, cell, 8, ["stable_rank", "rankme"], path, None)
    assert path.read_bytes() == before
    assert "200, sentences" in real_page.page(real_page.summary(found.reset_index()[list(pd.read_csv(path).columns)]))


def test_why_a_draw_is_refused_is_kept_and_shown(source, tmp_path):
    path, cell = tmp_path / "counts.csv", Cell("small2_mean", 200, "sentences")
    reason = "no valid interval: fewer than 30 independent rows"
    rows = pd.DataFrame(
        [
            {"metric": "rankme", "view": "raw", "label": "refused", "reason": reason, "value": float(i)}
            | dict.fromkeys(("se", "low", "high", "p", "boot_low", "boot_high"), np.nan)
            for i in range(40)
        ]
    )
    counts = counting.judged(cell, rows, pd.DataFrame(columns=["metric", "view", *counting.COUNTED]), 40)
    counting.write_counts(path, cell, CELLS, ["rankme"], counts.assign(fraction=0.1))
    text = real_page.page(real_page.summary(counting.read_counts(path)))
    assert "- rankme, small2_mean, sentences: 100 % at N = 200 (fewer than 30 independent rows)" in text


def test_what_is_missing_is_left_out_and_said(source, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(populations, "MINI", "no_such_package")
    wanted = ["mini6_mean", "small2_mean", "small2_cls"]
    assert populations.prepare(source.folder, source.data, None, wanted) == ["small2_mean"]
    said = capsys.readouterr().out
    assert "Without mini6_mean" in said
    assert "pip install no_such_package" in said
    assert "geomprobe pretrain" in said
    assert populations.prepare(tmp_path / "empty", tmp_path / "no data", None, wanted) == []
    assert "--data" in capsys.readouterr().out
    assert not (tmp_path / "empty").exists()


def test_a_design_has_the_metrics_that_it_is_for():
    asked = ["rankme", "uniformity", "procrustes", "semantic_accuracy"]
    assert metrics_of(DESIGNS["power, same rows, 1.5"], asked) == {"cloud": ["rankme"]}
    assert metrics_of(DESIGNS["null, sentences"], asked) == {"cloud": ["rankme", "uniformity"]}
    assert metrics_of(DESIGNS["sentences"], asked)["probe"] == ["semantic_accuracy"]
    assert metrics_of(DESIGNS["50 documents"], asked) == {"cloud": asked[:2], "similarities": asked[2:3]}


def test_the_pages_are_written_from_the_counts():
    for module, table in ((simulate, counting.summarise), (real, real_page.summary)):
        page = (simulate if module is simulate else real_page).page(table(counting.read_counts(module.COUNTS)))
        assert page == (ROOT / module.PAGE_FILE).read_text(encoding="utf-8")
