"""The ranked forest plot of many models, with letters."""

from __future__ import annotations

from geomprobe.reports import build_view
from geomprobe.reports.document.walk import walk

MODELS = ("a", "b", "c", "d")
SMALL = {"tasks": ("sst2", "mrpc"), "poolings": ("mean", "max"), "intervals": True, "training": False}


def ranking_of(results):
    found = [s for s in build_view(results)["sections"] if s["id"] == "ranking"]
    return {b["id"]: b for b in walk({"sections": found}) if "id" in b}


def test_each_headline_number_has_its_models_in_order_with_letters(make_results):
    results = make_results(models=MODELS, **SMALL)
    results.run["baselines"] = {"d": "random-init"}
    results.rankings = results.rankings[results.rankings["model"] != "d"]
    figure = ranking_of(results)["ranking-uniformity-raw"]
    assert [panel["title"] for panel in figure["data"]["panels"]] == ["sst2", "mrpc"]
    for panel in figure["data"]["panels"]:
        *ranked, last = panel["rows"]
        assert [row["value"] for row in ranked] == sorted(row["value"] for row in ranked)
        assert all(row["letters"] and not row["baseline"] for row in ranked)
        assert (last["name"], last["letters"], last["baseline"]) == ("d", "", True)
    assert "not told apart" in figure["caption"]
    assert "40 tests" in figure["caption"]
    places = [[cell["text"] for cell in line["cells"][:2]] for line in figure["table"]["rows"]]
    assert places == [[task, pooling] for task in SMALL["tasks"] for pooling in SMALL["poolings"]]
    # the letters of the table are those of the figure
    told = figure["table"]["rows"][0]["cells"][2]["text"].split(", ")
    assert [part.split()[0] for part in told] == [row["name"] for row in figure["data"]["panels"][0]["rows"][:-1]]
    assert [part.split()[-1] for part in told] == [row["letters"] for row in figure["data"]["panels"][0]["rows"][:-1]]


def test_without_tests_the_figure_says_so(make_results):
    results = make_results(models=MODELS, **SMALL)
    results.rankings = results.rankings.iloc[:0]
    figure = ranking_of(results)["ranking-uniformity-raw"]
    assert "No pair of models was tested" in figure["caption"]
    assert not any(row["letters"] for panel in figure["data"]["panels"] for row in panel["rows"])


def test_of_thirty_models_one_task_is_drawn_and_the_table_has_the_others(make_results):
    figure = ranking_of(make_results(models=tuple(f"m{i}" for i in range(30)), **SMALL | {"poolings": ("mean",)}))
    drawn = figure["ranking-uniformity-raw"]
    assert [len(panel["rows"]) for panel in drawn["data"]["panels"]] == [30]
    assert "Drawn: sst2; the table has every task." in drawn["caption"]
    assert len(drawn["table"]["rows"]) == 2


def test_a_comparison_and_a_single_model_have_no_ranking(make_results):
    assert not ranking_of(make_results(**SMALL))
    assert not ranking_of(make_results(models=("a",), **SMALL))
