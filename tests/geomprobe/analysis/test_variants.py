"""Quantised and truncated vectors in an analysis: full rows untouched, paired differences, cells found again."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import torch
import transformers
from typer.testing import CliRunner

import geomprobe as gp
from geomprobe.analysis import similarities, variants
from geomprobe.analysis.variants import FULL, Variant
from geomprobe.cli.main import app
from geomprobe.common import UsageError
from geomprobe.comparison.groups import compare_groups
from geomprobe.comparison.table import add_comparisons
from geomprobe.predict_reconstruct.protocol import PAPER
from geomprobe.results import read_results
from geomprobe.tasks.base import Split, Task

WORDS = ["the", "a", "cat", "dog", "sat", "on", "mat", "big", "small", "red", "not", "who", "saw", "bird", "tree"]


def sentences(n, seed):
    rng = np.random.default_rng(seed)
    return tuple(" ".join(rng.choice(WORDS, 8)) for _ in range(n))


def toy(train=True):
    def split(name, n, seed):
        return Split(name, sentences(n, seed), None, np.arange(n) % 2, tuple(f"{name}/{i}" for i in range(n)))

    return Task(
        "toy", "classification", split("train", 40, 0) if train else None, split("validation", 60, 1), ("a", "b"),
        "accuracy",
    )  # fmt: skip


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GEOMPROBE_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def models(model_folder, tmp_path_factory):
    """Folders of two encoders of width 12 and one of width 6."""
    folders = {}
    tokenizer = transformers.AutoTokenizer.from_pretrained(model_folder("bert"))
    for seed, (name, width) in enumerate({"one": 12, "two": 12, "narrow": 6}.items()):
        torch.manual_seed(seed)
        config = transformers.BertConfig(
            vocab_size=len(tokenizer), hidden_size=width, num_hidden_layers=1, num_attention_heads=2,
            intermediate_size=16, max_position_embeddings=32,
        )  # fmt: skip
        model = transformers.BertModel(config)
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.4)
        folders[name] = tmp_path_factory.mktemp("models") / name
        model.save_pretrained(folders[name])
        tokenizer.save_pretrained(folders[name])
    return folders


def test_each_precision_is_measured_at_the_full_width_and_at_each_dim():
    labels = [v.label for v in variants.plan(["binary", "float32", "int8"], [8, 4])]
    assert labels == [
        "dim 8", "dim 8 renormalised", "dim 4", "dim 4 renormalised",
        "int8", "dim 8 int8", "dim 8 renormalised int8", "dim 4 int8", "dim 4 renormalised int8",
        "binary", "dim 8 binary", "dim 4 binary",
    ]  # fmt: skip
    assert variants.plan() == variants.plan(["float32"]) == []
    assert [v.label for v in variants.plan(["int8"])] == ["int8"]
    assert variants.plan([], np.array([4, 8])) == variants.plan([], (4, 8))
    for dim in (0, -1, 2.0, True, "8"):
        with pytest.raises(UsageError, match="whole numbers from 1"):
            variants.plan([], [dim])


def test_names_do_not_collide():
    found = variants.names([Variant("int8")], ["m", "n"], ["m", "n", "m int8"])
    assert list(found.values()) == ["m int8 (2)", "n int8"]


def test_a_hash_of_its_own_for_each_variant_and_none_for_the_full_vectors():
    every = [FULL, *variants.plan(["int8", "binary"], [8, 80])]
    assert len({v.hash("abc") for v in every}) == len(every)
    assert FULL.hash("abc") == "abc"


def test_full_rows_stay_and_their_cells_are_found_again(models, tmp_path):
    def cells():
        return {path: path.stat().st_mtime_ns for path in (tmp_path / "r" / "cells").glob("*/*.parquet")}

    plain = gp.analyze([models["one"]], [toy()], ["mean"], out=tmp_path / "r")
    before = cells()
    more = gp.analyze([models["one"]], [toy()], ["mean"], precisions=["binary"], out=tmp_path / "r")
    after = cells()
    assert {path: after[path] for path in before} == before
    for name in ("results", "curves", "examples", "influences"):
        full, all_rows = getattr(plain, name), getattr(more, name)
        pd.testing.assert_frame_equal(full, all_rows.head(len(full)))
        assert set(all_rows["model"][len(full) :]) == {"one binary"}
    assert more.run["models"][:1] == plain.run["models"]
    again = gp.analyze([models["one"]], [toy()], ["mean"], precisions=["binary"], out=tmp_path / "r")
    assert cells() == after
    pd.testing.assert_frame_equal(again.comparisons, more.comparisons)
    pd.testing.assert_frame_equal(read_results(tmp_path / "r").comparisons, more.comparisons)


def test_values_and_paired_differences_are_those_of_the_stored_vectors(models):
    task = toy()
    found = gp.analyze([models["one"]], [task], precisions=["int8"], dims=[5])
    rows = task.geometry_rows
    Z, train = (gp.embed(models["one"], list(t)) for t in (rows.texts, dict.fromkeys(task.train.first)))
    low = np.stack([train.min(0), train.max(0)])
    unit, unit_train = (gp.truncate(x, 5, renormalise=True) for x in (Z, train))
    low_unit = np.stack([unit_train.min(0), unit_train.max(0)])
    direct = {
        "one int8": gp.quantise(Z, "int8", low),
        "one dim 5": Z[:, :5],
        "one dim 5 renormalised": unit,
        "one dim 5 renormalised int8": gp.quantise(unit, "int8", low_unit),
    }
    entries = {entry["name"]: entry for entry in found.run["models"]}
    for name, vectors in direct.items():
        options = {"labels": rows.labels, "clusters": rows.clusters}
        expected = gp.compare({"one": Z, name: vectors.astype(np.float32)}, **options).set_index(["metric", "view"])
        mine = found.comparisons[found.comparisons["b"] == name].set_index(["metric", "view"])
        shared = [key for key in expected.index if key in mine.index]
        assert len(shared) > 20
        for column in ("value_b", "diff", "se", "p"):
            a, b = (frame.loc[shared, column].to_numpy(float, na_value=np.nan) for frame in (mine, expected))
            np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-5, err_msg=f"{name} {column}")
        assert set(mine["a"]) == {"one"}
        assert entries[name]["of"] == "one"
    assert {e["name"]: (e["precision"], e["dim"], e["renormalised"]) for e in entries.values() if "of" in e} == {
        "one dim 5": ("float32", 5, False),
        "one dim 5 renormalised": ("float32", 5, True),
        "one int8": ("int8", 12, False),
        "one dim 5 int8": ("int8", 5, False),
        "one dim 5 renormalised int8": ("int8", 5, True),
    }
    assert entries["one int8"]["calibration"] == {"toy": "40 train texts"}
    # directions do not change by renormalising, spectra do
    values = found.results[found.results["view"] == "raw"].set_index(["model", "metric"])["value"]
    cosines, ranks = (
        [values[name, metric] for name in ("one dim 5", "one dim 5 renormalised")]
        for metric in ("mean_cosine", "effective_rank")
    )
    assert cosines[0] == pytest.approx(cosines[1], rel=1e-5)
    assert ranks[0] != pytest.approx(ranks[1], rel=1e-3)


def test_what_makes_no_sense_is_not_applicable(models):
    found = gp.analyze([models["one"]], [toy(train=False)], precisions=["binary", "int8"], dims=[3]).results
    rows = found[found["control"].isna() & (found["view"].fillna("raw") == "raw")].set_index(["model", "metric"])
    for name, metric in (
        ("one binary", "norm_cv"),
        ("one binary", "partition_isotropy"),
        ("one binary", "hubness_skew"),
        ("one int8", "partition_isotropy"),
        ("one dim 3 renormalised", "norm_cv"),
    ):
        row = rows.loc[(name, metric)]
        assert row["status"] == "not applicable"
        assert row[["value", "se", "ci_low", "ci_high"]].isna().all()
        assert row["note"]
    assert rows.loc[("one int8", "norm_cv"), "status"] == "ok"
    assert rows.loc[("one dim 3", "norm_cv"), "status"] == "ok"
    repeated = rows.loc[("one dim 3 binary", "duplicate_share")]
    Z = gp.embed(models["one"], list(toy().geometry_rows.texts))
    count = len(Z) - len(np.unique(Z[:, :3] > 0, axis=0))
    assert count > len(Z) - 9
    assert repeated["value"] == count / len(Z)
    assert repeated["note"] == f"{count} of {len(Z)} texts repeat an earlier vector; of the full vectors 0"


def test_all_dimensions_as_they_are_make_no_difference(models):
    task = toy(train=False)
    found = gp.analyze([models["one"]], [task], dims=[12])
    same = found.comparisons[found.comparisons["b"] == "one dim 12"]
    assert (same["diff"] == 0).all()
    assert set(same["verdict"]) <= {"no difference", "no clear difference", "no valid interval, no verdict"}
    assert (same["verdict"] == "no difference").sum() > 15


@pytest.fixture(scope="module")
def compared(models, tmp_path_factory):
    """Results of two models, without and with variants, and the folder of the latter."""
    folder = tmp_path_factory.mktemp("compared")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GEOMPROBE_CACHE", str(folder / "cache"))
        patch.setattr(similarities, "PERMUTATIONS", 3)
        plain, stored = (
            gp.analyze(
                [models["one"], models["two"]], [toy()], ["weighted", "mean"], precisions=precisions, similarity=True,
                out=folder / "r", complete=lambda results: add_comparisons(results, "one", "two"),
            )
            for precisions in ((), ("binary", "float32"))
        )  # fmt: skip
    return plain, stored, folder / "r"


def test_variants_change_nothing_of_the_pair(compared):
    plain, stored, _ = compared
    n = len(plain.comparisons)
    pd.testing.assert_frame_equal(plain.comparisons, stored.comparisons.head(n))
    assert stored.run["compared"] == ["one", "two"]
    pairs = stored.comparisons[n:][["a", "b", "level"]].drop_duplicates().to_numpy().tolist()
    assert pairs == [["one", "one binary", "checkpoint"], ["two", "two binary", "checkpoint"]]
    pd.testing.assert_frame_equal(plain.similarities, stored.similarities.head(len(plain.similarities)))
    alike = stored.similarities[["a", "b"]].drop_duplicates().to_numpy().tolist()
    assert alike == [["one", "two"], ["one", "one binary"], ["two", "two binary"]]


def test_the_variants_of_a_model_are_adjusted_together(models):
    def smallest(**options):
        found = gp.analyze([models["one"]], [toy(train=False)], **options).comparisons
        family = found[(found["family"] == "spectrum") & found["p"].notna()]
        least = family.sort_values("p", kind="stable").iloc[0]
        assert least["p_holm"] == pytest.approx(min(1, least["p"] * len(family)))
        return family

    few, more = smallest(dims=[6]), smallest(dims=[6, 9])
    assert set(more["b"]) > set(few["b"])
    same = more[more["b"].isin(few["b"])]
    assert (same["p"].to_numpy() == few["p"].to_numpy()).all()
    assert (same["p_holm"].to_numpy() >= few["p_holm"].to_numpy()).all()


def test_comparing_again_keeps_the_differences_of_variants(compared):
    _, _, folder = compared
    results = read_results(folder)
    before = results.comparisons.copy()
    pd.testing.assert_frame_equal(add_comparisons(results, "one", "two").comparisons, before)


def test_groups_of_seeds_are_compared_on_their_full_vectors(compared):
    from geomprobe.reports import build_view

    results = read_results(compared[2])
    before = results.comparisons
    compare_groups(results, {"A": ["one"], "B": ["two"]})
    levels = results.comparisons.groupby("level", sort=False).size()
    assert levels["checkpoint"] == len(before)
    assert set(results.comparisons.loc[results.comparisons["level"] == "objective", "b"]) == {"B"}
    view = build_view(results)
    assert (view["kind"], view["title"]) == ("groups", "B against A")
    assert "variants" in [s["id"] for s in view["sections"]]


def test_what_a_pooling_learned_is_said_of_the_full_vectors_only(compared):
    _, stored, _ = compared
    learned = stored.results[stored.results["metric"] == "trained_pooling_loss"]
    assert set(learned["model"]) == {"one", "two"}
    assert set(stored.results.loc[stored.results["model"] == "one binary", "pooling"]) == {"weighted", "mean"}


def test_the_report_is_about_the_pair_and_has_a_section_on_variants(compared, tmp_path):
    _, stored, folder = compared
    paths = gp.write_report(folder, tmp_path / "report.html", tmp_path / "report.json")
    view = json.loads(paths[1].read_text())
    assert (view["kind"], view["title"], len(view["sides"])) == ("pair", "two against one", 2)
    section = next(s for s in view["sections"] if s["id"] == "variants")
    shown = section["blocks"][0]
    assert [c["name"] for c in shown["columns"]][:4] == ["model", "metric", "full", "stored"]
    assert "binary" in shown["caption"]  # what is the same in all rows stands there
    cells = [[cell["text"] for cell in row["cells"]] for row in shown["rows"]]
    assert {row[0] for row in cells} == {"one", "two"}
    row = next(row for row in cells if row[0] == "two" and row[1] == "effective rank")
    at = stored.comparisons
    at = at[(at["b"] == "two binary") & (at["metric"] == "effective_rank") & (at["pooling"] == "mean")].iloc[0]
    assert row[2] == f"{at['value_a']:.2f}"
    assert section["title"] in paths[0].read_text()
    others = [s for s in view["sections"] if s["id"] not in ("variants", "downloads")]
    assert "one binary" not in json.dumps(others)
    assert any(item["name"] == "duplicate share" for item in view["sections"][-1]["blocks"][0]["items"])


def test_no_section_without_variants(compared):
    from geomprobe.reports import build_view

    assert "variants" not in [s["id"] for s in build_view(compared[0])["sections"]]


def test_a_dim_that_some_models_do_not_have_is_not_applicable_there(models, tmp_path):
    from geomprobe.reports import build_view

    found = gp.analyze([models["one"], models["narrow"]], [toy(train=False)], dims=[9], out=tmp_path / "r")
    rows = found.results[found.results["model"] == "narrow dim 9"]
    assert rows[["metric", "status", "note"]].to_numpy().tolist() == [
        ["embedding", "not applicable", "dim 9 is more than the 6 dimensions of these vectors"]
    ]
    assert found.run["failed_cells"] == 0
    assert set(found.comparisons["b"]) == {"one dim 9", "one dim 9 renormalised"}
    section = next(s for s in build_view(found)["sections"] if s["id"] == "variants")
    assert "narrow dim 9, layer 1: dim 9 is more than the 6 dimensions" in json.dumps(section)
    with pytest.raises(UsageError, match=r"--dim 13: no model has vectors of 13 dimensions \(one has 12, narrow has 6"):
        gp.analyze([models["one"], models["narrow"]], [toy()], dims=[9, 13])


def test_the_published_protocol_takes_variants(models):
    found = gp.analyze([models["one"]], [toy()], protocol=PAPER, precisions=["binary", "int8"])
    assert not (found.results["status"] == "failed").any()
    assert {"one binary", "one int8"} <= set(found.results["model"])
    entry = next(e for e in found.run["models"] if e["name"] == "one int8")
    assert "measured texts" in entry["calibration"]["toy"]


def test_vectors_that_are_not_finite_are_failed_cells():
    from geomprobe.analysis.cells import CellContext
    from geomprobe.analysis.measure import measure_cell
    from geomprobe.analysis.protocols import STRICT
    from geomprobe.analysis.texts import TaskTexts

    texts = TaskTexts.of(toy(train=False))
    vectors = np.ones((len(texts.texts), 4), np.float32)
    vectors[3, 1] = np.nan
    tables, whole = measure_cell(CellContext(None, texts, 1, "mean", STRICT, variant=Variant("binary")), vectors)
    assert not whole
    assert tables["results"][["metric", "status"]].to_numpy().tolist() == [["embedding", "failed"]]
    assert "3" in tables["results"]["note"][0]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--precision int4", "Known: binary, float32, int8"),
        ("--precision INT8", "Known: binary, float32, int8"),
        ("--precision int8,int8", "--precision int8 is given twice"),
        ("--dim 0", "--dim takes whole numbers from 1, not '0'"),
        ("--dim=-1", "--dim takes whole numbers from 1, not '-1'"),
        ("--dim abc", "not 'abc'"),
        ("--dim 1e9", "not '1e9'"),
        ("--dim 8.5", "not '8.5'"),
        ("--dim 8,08", "--dim 8 is given twice"),
        ("--dim 1000000000", "no model has vectors of 1000000000 dimensions (one has 12)"),
    ],
)
@pytest.mark.parametrize("command", ["analyze", "compare"])
def test_impossible_options_are_refused_before_anything_is_computed(models, tmp_path, command, words, message):
    (tmp_path / "t.csv").write_text("text,label\n" + "".join(f"the cat {w},{i % 2}\n" for i, w in enumerate(WORDS)))
    given = [str(models["one"])] * (2 if command == "compare" else 1)
    out = tmp_path / "out"
    done = CliRunner().invoke(
        app, [command, *given, "--task", str(tmp_path / "t.csv"), *words.split(), "--out", str(out)]
    )
    assert done.exit_code == 2 or isinstance(done.exception, UsageError)
    said = done.output + str(done.exception) + str(getattr(done.exception, "hint", ""))
    assert message.split(" (")[0] in said
    assert not out.exists()


def test_the_command_line_passes_both_options_on(models, tmp_path):
    (tmp_path / "t.csv").write_text("text,label\n" + "".join(f"{s},{i % 2}\n" for i, s in enumerate(sentences(40, 2))))
    words = ["analyze", str(models["narrow"]), "--task", str(tmp_path / "t.csv"), "--precision", "float32"]
    done = CliRunner().invoke(app, [*words, "--dim", "2", "--dim", "4", "--out", str(tmp_path / "r")])
    assert done.exit_code == 0
    assert "its vectors also as: dim 2, dim 2 renormalised, dim 4, dim 4 renormalised" in done.output
    names = [entry["name"] for entry in read_results(tmp_path / "r").run["models"]]
    labels = ["dim 2", "dim 2 renormalised", "dim 4", "dim 4 renormalised"]
    assert names == ["narrow", *(f"narrow {label}" for label in labels)]
