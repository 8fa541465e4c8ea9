"""The records of the metrics: all that can occur in results, each in one family, and the pages that list them."""

import importlib.util
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from geomprobe.analysis.analyze import analyze
from geomprobe.analysis.definitions import UNTESTED
from geomprobe.analysis.protocols import STRICT
from geomprobe.api import every_metric
from geomprobe.cli.main import app
from geomprobe.common import InputError
from geomprobe.comparison.table import add_comparisons, adjusted
from geomprobe.encoders.baselines import bag_of_words
from geomprobe.inference import intervals
from geomprobe.metrics import REGISTRY
from geomprobe.metrics.registry import definitions
from geomprobe.metrics.reserved import RESERVED
from geomprobe.predict_reconstruct.protocol import choose
from geomprobe.reports.data.load import load
from geomprobe.results.record import FAMILIES
from geomprobe.results.summary.facts import PARTS
from geomprobe.tasks import load_task
from geomprobe.tasks.words import words

DOCS = Path(__file__).parents[3] / "docs"


def script(name):
    """A script of the docs as a module."""
    spec = importlib.util.spec_from_file_location(Path(name).stem, DOCS / name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


definitions_page = script("write_definitions.py").definitions_page
BY_NAME_ONLY = {name for name, metric in REGISTRY.items() if not metric.default_views}


def cut(name, rows, train):
    """Return a task of the controlled suite with its first rows."""
    task = load_task(name)
    assert task.train is not None
    return replace(task, train=task.train.take(np.arange(train)), validation=task.validation.take(np.arange(rows)))


@pytest.fixture(scope="module")
def analysed(tmp_path_factory):
    """Results of two encoders on tasks of every shape, under every choice that has metrics of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GEOMPROBE_CACHE", str(tmp_path_factory.mktemp("cache")))
        tasks = [
            cut("controlled", 130, 90),
            cut("controlled-sentiment", 60, 120),
            cut("controlled-similarity", 50, 120),
        ]
        vocabulary = sorted({word for task in tasks for text in task.validation.first for word in words(text)})
        encoders = [bag_of_words(vocabulary, 12, seed=seed) for seed in (0, 1)]
        paper = ["protocol.score=skill"]
        strict = analyze(encoders, tasks, similarity=True)
        add_comparisons(strict, *(entry["name"] for entry in strict.run["models"]))
        return {
            "strict": strict,
            "binary": analyze(encoders[:1], tasks[1:2], precisions=["binary"]),
            "pooling": analyze(
                encoders[:1], tasks[1:2], poolings=["weighted"], protocol=replace(STRICT, pooling_seeds=1)
            ),
            "tokens": analyze(encoders, tasks[1:], protocol=choose("paper", paper)),
            "words": analyze(encoders, tasks[1:], protocol=choose("paper", [*paper, "protocol.token_target=word"])),
        }


def occurring(results):
    return {*results.results["metric"], *results.similarities["metric"]}


def test_every_metric_of_an_analysis_is_listed_and_every_listed_one_occurs(analysed):
    found = set().union(*map(occurring, analysed.values()))
    listed = json.loads(CliRunner().invoke(app, ["ls", "metrics", "--json"]).stdout)["results"]
    assert {row["metric"] for row in listed} == found | BY_NAME_ONLY
    assert len({row["metric"] for row in listed}) == len(listed)
    assert [row["family"] for row in listed] == sorted((row["family"] for row in listed), key=list(FAMILIES).index)
    assert all(row["formula"] and row["source"] for row in listed)
    assert set(re.findall(r"^### (.+)$", definitions_page(), re.M)) == found | BY_NAME_ONLY


def test_every_metric_of_an_analysis_is_defined_in_its_folder_with_a_family(analysed):
    for results in analysed.values():
        assert set(results.definitions) == occurring(results)
        assert {entry["family"] for entry in results.definitions.values()} <= set(FAMILIES)
        for name, entry in results.definitions.items():
            assert {"formula", "range", "direction", "invariances", "source"} <= set(entry), name
        json.dumps(results.definitions, allow_nan=False)


def test_families_are_those_that_the_page_on_inference_declares(analysed):
    declared = re.findall(
        r"^\| (\w+) \| .+ \|$",
        (DOCS / "reference" / "inference.md").read_text().partition("## Families")[2].partition("## ")[0],
        re.M,
    )
    assert [name for name in declared if name != "family"] == [name for name in FAMILIES if name not in UNTESTED]
    compared = analysed["strict"].comparisons
    assert set(compared["family"]) == set(FAMILIES) - set(UNTESTED)
    assert compared["family"].tolist() == [every_metric()[metric]["family"] for metric in compared["metric"]]


def test_p_values_are_adjusted_within_the_declared_family(analysed):
    compared = analysed["strict"].comparisons
    for name in ("lexical", "semantic", "hypersphere"):
        part = compared[compared["family"] == name]
        expected = intervals.holm(part["p"].to_numpy(float, na_value=np.nan))
        assert np.allclose(part["p_holm"].to_numpy(float, na_value=np.nan), expected, equal_nan=True)
    known = every_metric()
    of_crossed = [name for name, entry in known.items() if entry.get("against", {}).get("part") == "crossed"]
    crossed = compared[compared["metric"].isin(of_crossed)]
    assert len(crossed) == 7 * 2 + 2  # shares raw and centred, triplets
    assert set(crossed["family"]) == {"lexical"}


def test_p_values_before_adjustment_come_back_from_what_a_folder_keeps(analysed):
    """As docs/gallery/verdicts.py needs them, also where discordant examples decide."""
    verdicts = script("gallery/verdicts.py")
    results = analysed["strict"]
    compared = results.comparisons
    assert compared["ci_method"].str.contains("score interval").any()
    again = adjusted(compared.assign(p_tost=verdicts.unadjusted(results, compared)), results.definitions)
    pd.testing.assert_frame_equal(again, compared, rtol=1e-8, atol=1e-9)
    with pytest.raises(SystemExit, match="cannot be adjusted anew"):
        verdicts.unadjusted(results, compared.assign(margin=compared["margin"] * 1.5))


def test_a_metric_without_a_record_is_refused_where_it_would_be_adjusted(analysed):
    results = analysed["strict"]
    strange = results.results["metric"].replace({"semantic_mcc": "semantic_kappa"})
    models = [entry["name"] for entry in results.run["models"]]
    with pytest.raises(InputError, match="'semantic_kappa'") as error:
        add_comparisons(replace(results, results=results.results.assign(metric=strange)), *models)
    assert "geomprobe ls metrics" in error.value.hint


def test_the_part_of_a_report_follows_the_family(analysed):
    assert set(PARTS) == set(FAMILIES) - {"similarity"}
    facts = load(analysed["strict"])
    expected = {"semantic": "semantic", "lexical": "lexical"}
    for metric, entry in facts.definitions.items():
        assert facts.part_of(metric) == expected.get(entry["family"], "geometry")
    parts = [mv for name in ("geometry", "semantic", "lexical") for mv in facts.part(name)]
    assert sorted(parts) == sorted(facts.metrics)
    lexical = [name for name, entry in facts.definitions.items() if entry["family"] == "lexical"]
    found = {name for name in lexical if name.endswith(("_share", "triplet_accuracy", "triplet_margin"))}
    crossed = {n for n, entry in facts.definitions.items() if entry.get("against", {}).get("part") == "crossed"}
    assert crossed == found


def test_the_probes_of_the_most_frequent_word_and_token_have_two_names(analysed):
    stems = {
        name: {metric for metric in occurring(results) if metric.startswith("lexical_top_")}
        for name, results in analysed.items()
    }
    word = {"lexical_top_word_accuracy", "lexical_top_word_skill"}
    assert stems["strict"] == stems["words"] == word
    assert stems["tokens"] == {"lexical_top_token_accuracy", "lexical_top_token_skill"}
    for name in ("strict", "words", "tokens"):
        entry = next(e for m, e in analysed[name].definitions.items() if re.match("lexical_top_.*_accuracy", m))
        assert ("most frequent token" in entry["formula"]) == (name == "tokens")
    assert "lexical_top_word" in set(analysed["strict"].examples["probe"])


def test_page_is_up_to_date():
    page = (DOCS / "reference" / "definitions.md").read_text(encoding="utf-8")
    assert page == definitions_page(), "python docs/write_definitions.py > docs/reference/definitions.md"


def test_every_definition_is_on_it():
    text = definitions_page()
    for metric in REGISTRY.values():
        for definition in metric.variant_notes:
            assert f"`{metric.name}:{definition}`" in text


def test_the_ranks_are_the_metrics_whose_range_ends_at_the_number_of_rows_or_dimensions():
    assert {name for name, metric in REGISTRY.built_in.items() if metric.rank} == {
        name for name, metric in REGISTRY.built_in.items() if re.search(r"min\(N(−1)?, D\)[]}]", metric.range)
    }


def test_definitions_of_the_registry_are_json_ready():
    entries = definitions(["effective_rank", "not a metric"])
    assert set(entries) == {"effective_rank"}
    assert "ssrlib" in entries["effective_rank"]["definitions"]
    json.dumps(every_metric(), allow_nan=False)


# ---- folders of earlier versions -------------------------------------------------------------------------------------


def as_before(folder):
    """Write into a results folder what an earlier version wrote: other names, no families of probes, other margins."""

    def old(text):
        return text.replace("lexical_top_word", "lexical_top_token").replace("lexical top word", "lexical top token")

    entries = json.loads((folder / "definitions.json").read_text())
    for name, entry in entries.items():
        entry.pop("rank", None)
        if name not in REGISTRY:
            entry.pop("family")
        if "name" in entry:
            entry["name"] = old(entry["name"])
        if entry.get("margin", {}).get("scale") in ("absolute", "relative"):
            scale, whole = entry["margin"].pop("scale"), entry["margin"].pop("whole")
            entry["margin"] |= {"relative": scale == "relative", "least": 1.5 * whole}
    (folder / "definitions.json").write_text(json.dumps({old(name): entry for name, entry in entries.items()}))
    (folder / "run.json").write_text(old((folder / "run.json").read_text()))
    columns = {"results": "metric", "comparisons": "metric", "influences": "metric", "examples": "probe"}
    for file, column in columns.items():
        frame = pd.read_parquet(folder / f"{file}.parquet")
        frame.assign(**{column: frame[column].map(old)}).to_parquet(folder / f"{file}.parquet", index=False)


@pytest.mark.parametrize("name", ["strict", "tokens", "words"])
def test_folders_of_earlier_versions_are_read_with_the_names_of_this_one(analysed, name, tmp_path):
    from geomprobe.results import read_results, write_results

    now = read_results(write_results(tmp_path, analysed[name]))
    as_before(tmp_path)
    then = read_results(tmp_path)
    for table in ("results", "comparisons", "examples", "influences"):
        pd.testing.assert_frame_equal(getattr(then, table), getattr(now, table))
    assert then.definitions == now.definitions
    assert then.run == now.run


def test_the_reserved_names_are_all_names_that_the_registry_does_not_hold():
    assert sorted(RESERVED) == sorted(set(every_metric()) - set(REGISTRY.built_in))
