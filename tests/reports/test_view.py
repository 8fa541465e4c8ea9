"""The view model: its schema, its kinds, what it refuses to say, and how numbers are written."""

from __future__ import annotations

import json

import pytest

from geomprobe.reports import build_view
from geomprobe.reports.data.differences import judgement
from geomprobe.reports.view import formats
from geomprobe.reports.view.schema import PATH, view_schema
from geomprobe.reports.view.walk import walk

SMALL = {"tasks": ("sst2", "mrpc"), "poolings": ("mean", "max")}
SEEDS = {"mlm": ["m1", "m2", "m3"], "hybrid": ["h1", "h2", "h3"]}
KINDS = {
    "pair": {},
    "pair with verdicts": {"intervals": True, "layers": (0, 2, 4), "failed": True},
    "single": {"models": ("mlm",)},
    "single without logs": {"models": ("mlm",), "training": False},
    "many": {"models": ("a", "b", "c"), "intervals": True},
    "groups": {"models": ("m1", "m2", "m3", "h1", "h2", "h3"), "groups": SEEDS, "intervals": True},
}


@pytest.mark.parametrize("case", KINDS)
def test_every_kind_of_view_meets_the_schema(make_results, case):
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is in the test extra")
    view = build_view(make_results(**SMALL | KINDS[case]))
    jsonschema.validate(json.loads(json.dumps(view, allow_nan=False)), view_schema())
    assert view["kind"] == case.split()[0]
    assert [s["id"] for s in view["sections"]] == [
        "downstream", "geometry", "poolings", "layers", "lexical", "training", "caveats", "provenance", "downloads",
        "glossary",
    ]  # fmt: skip


def test_the_schema_in_the_repository_is_the_one_of_the_types():
    assert json.loads(PATH.read_text(encoding="utf-8")) == view_schema()


def test_every_figure_has_a_table_and_words(make_results):
    view = build_view(make_results(intervals=True, layers=(0, 1, 2), **SMALL))
    figures = [b for b in walk(view) if b["type"] == "figure"]
    tables = {b["id"] for b in walk(view) if b["type"] == "table"}
    assert {f["kind"] for f in figures} == {
        "spectra", "histograms", "decomposition", "heat", "forest", "profiles", "training", "controls",
    }  # fmt: skip
    for figure in figures:
        assert len(figure["alt"]) > 30
        beside = figure["id"].removeprefix("forest-")  # the differences stand in the table of the same section
        assert figure["table"] is not None or (figure["kind"] == "forest" and beside in tables)
    ids = [b["id"] for b in walk(view) if "id" in b] + [f["table"]["id"] for f in figures if f["table"]]
    assert len(ids) == len(set(ids))


def test_numbers_come_from_the_folder_unchanged(make_results):
    results = make_results(intervals=True, **SMALL)
    row = results.comparisons.query("metric == 'effective_rank' and task == 'sst2' and pooling == 'mean'").iloc[0]
    view = build_view(results)
    heads, cells = _line(view, "geometry-mean", "sst2", "effective rank")
    found = dict(zip(heads, cells, strict=True))
    assert found["A · mlm"]["sort"] == pytest.approx(row["value_a"], rel=1e-5)
    assert found["B · hybrid"]["sort"] == pytest.approx(row["value_b"], rel=1e-5)
    assert found["B − A"]["text"] == formats.number(row["diff"], 2, signed=True)
    assert found["verdict"]["text"] == "▲ higher"


def _line(view, table_id, task, metric):
    table = next(b for b in walk(view) if b.get("id") == table_id)
    heads = [c["name"] for c in table["columns"]]
    return next((heads, r["cells"]) for r in table["rows"] if [c["text"] for c in r["cells"][:2]] == [task, metric])


def test_untrained_poolings_say_so(make_results):
    view = build_view(make_results(tasks=("sst2",), poolings=("mean", "weighted", "attention")))
    notes = {o["name"]: o["note"] for b in walk(view) if b.get("axis") == "pooling" for o in b["options"]}
    assert notes["mean"] == ""
    assert notes["weighted"].startswith("not trained")
    assert notes["attention"].startswith("not trained")


def test_a_failed_cell_is_marked_with_its_reason(make_results):
    view = build_view(make_results(failed=True, **SMALL))
    heat = next(b for b in walk(view) if b["type"] == "figure" and b["kind"] == "heat")
    assert heat["data"]["panels"][1]["cells"][1][1] == {"value": None, "text": "–", "failed": True}
    caveats = next(s for s in view["sections"] if s["id"] == "caveats")["blocks"][0]["items"]
    assert "Not measured: hybrid / mrpc / layer 4 / max: OutOfMemory: 3.1 GB wanted, 1.9 GB free." in caveats


def test_missing_provenance_is_no_error(make_results):
    results = make_results(**SMALL)
    results.run.clear()
    results.definitions.clear()
    view = build_view(results)
    assert view["title"] == "hybrid against mlm"


def test_a_verdict_of_the_run_is_printed_as_it_is(make_results):
    results = make_results(**SMALL)
    results.run["verdict"] = "hybrid is more uniform than mlm in 4 of 4 cells."
    assert build_view(results)["verdict"]["sentence"] == "hybrid is more uniform than mlm in 4 of 4 cells."


@pytest.mark.parametrize(
    ("verdict", "diff", "expected"),
    [
        ("no valid interval, no verdict", 1.0, "none"),
        ("no valid interval", 1.0, "none"),
        (None, 1.0, "none"),
        ("equivalent", 0.1, "equivalent"),
        ("no difference", 0.1, "equivalent"),
        ("no clear difference", 0.1, "unclear"),
        ("higher", 0.1, "higher"),
        ("different", -0.1, "lower"),
    ],
)
def test_judgement_reads_the_verdict(verdict, diff, expected):
    assert judgement({"verdict": verdict, "diff": diff}) == expected


@pytest.mark.parametrize(
    ("value", "places", "signed", "expected"),
    [
        (None, None, False, "–"),
        (float("nan"), None, False, "–"),
        (-0.0001, 2, False, "0.00"),
        (-0.737, 2, True, "−0.74"),
        (0.5, 1, True, "+0.5"),
        (1234.5, None, False, "1,234"),
        (1e-9, None, False, "1.0e−09"),
    ],
)
def test_number(value, places, signed, expected):
    assert formats.number(value, places, signed) == expected


def test_interval_and_decimals_follow_the_half_width():
    places = formats.decimals([1.23456], half_width=0.0123)
    assert places == 3
    assert formats.interval(-1.0, 0.5, places) == "[−1.000, 0.500]"


def test_clean_keeps_no_control_and_names_stay_apart():
    assert formats.clean("a\x00b\u202ec\ud800\ufffe") == "a\ufffdb\ufffdc\ufffd\ufffd"
    assert formats.clean("a \n b") == "a b"
    names = formats.short_names(["x" * 10_000, "x" * 9_000, ""])
    assert len(set(names.values())) == 3
    assert max(map(len, names.values())) <= 48


def test_bands_rarefaction_and_similarity_are_drawn_where_they_occur(make_results):
    from geomprobe.reports.render import figures
    from geomprobe.results import CURVE_COLUMNS, table

    results = make_results(spectrum_points=32, **SMALL)
    rows = results.curves.to_dict("records")
    spectra = [r for r in rows if r["curve"] == "spectrum"]
    rows += [
        r | {"curve": f"spectrum_{end}", "y": r["y"] * k} for r in spectra for end, k in (("low", 0.9), ("high", 1.1))
    ]
    rows += [r | {"curve": "rarefaction_effective_rank", "x": 100 * r["x"], "y": 50.0} for r in spectra[:32]]
    results.curves = table(rows, CURVE_COLUMNS)
    values = [[1.0, 0.5, 0.2], [0.5, None, 0.4]]
    results.run["similarity"] = [
        {"metric": "linear_cka", "task": "sst2", "pooling": "mean", "a": "mlm", "b": "hybrid", "values": values}
    ]
    found = {b["id"]: b for b in walk(build_view(results)) if b["type"] == "figure"}
    line = found["spectra-mean"]["data"]["panels"][0]["lines"][0]
    assert line["low"][0] < line["y"][0] < line["high"][0]
    assert found["curve-rarefaction-effective-rank-mean"]["data"]["panels"][0]["lines"][0]["x"][0] == 100
    assert found["similarity-0"]["table"]["rows"][1]["cells"][3]["text"] == "0.40"
    for name in ("spectra-mean", "curve-rarefaction-effective-rank-mean", "similarity-0"):
        assert figures.render(found[name]["kind"], found[name]["data"]).startswith("<svg")


def test_groups_are_as_alike_as_their_seeds_allow(make_results):
    from geomprobe.results import SIMILARITY_COLUMNS, table

    results = make_results(models=("m1", "m2", "m3", "h1", "h2", "h3"), groups=SEEDS, **SMALL)
    place = {"task": "sst2", "pooling": "mean", "layer_a": 4, "layer_b": 4, "metric": "procrustes", "n": 872}
    seeds = {"level": "objective", "null_mean": 1.25}
    results.similarities = table(
        [
            place | {"a": "m1", "b": "h1", "level": "checkpoint", "value": 0.5, "null_mean": 1.2, "null_sd": 0.1},
            place | seeds | {"a": "mlm", "b": "hybrid", "value": 0.625},
            place | seeds | {"a": "mlm", "b": "mlm", "value": 0.375},
            place | seeds | {"a": "hybrid", "b": "hybrid", "value": 0.875},
            # of a map between layers, which has no null
            place | {"level": "objective", "a": "mlm", "b": "hybrid", "layer_b": 2, "value": 0.125},
        ],
        SIMILARITY_COLUMNS,
    )
    found = next(b for b in walk(build_view(results)) if b.get("id") == "similarities")
    (row,) = found["rows"]
    texts = [cell["text"] for cell in row["cells"]]
    assert texts[5:9] == ["0.625", "0.375", "0.875", "1.250"]
    names = [column["name"] for column in found["columns"]]
    assert names[5:8] == ["value", "seeds of the first", "seeds of the second"]


def test_similarities_show_their_intervals(make_results):
    from geomprobe.results import SIMILARITY_COLUMNS, table

    results = make_results(models=("m", "h"), **SMALL)
    place = {"task": "sst2", "pooling": "mean", "layer_a": 4, "layer_b": 4, "n": 872, "a": "m", "b": "h"}
    place |= {"level": "checkpoint", "value": 0.5, "null_mean": 0.1, "null_sd": 0.01, "p": 0.02}
    known = {"se": 0.05, "ci_low": 0.4, "ci_high": 0.6, "ci_method": "influence function, conservative"}
    results.similarities = table(
        [
            place | known | {"metric": "linear_cka"},
            place | {"metric": "mutual_knn", "ci_method": "no valid interval: so"},
        ],
        SIMILARITY_COLUMNS,
    )
    found = next(b for b in walk(build_view(results)) if b.get("id") == "similarities")
    assert [column["name"] for column in found["columns"]][5:8] == ["value", "95 % interval", "by chance"]
    assert [row["cells"][6]["text"] for row in found["rows"]] == ["[0.400, 0.600] conservative", "none"]


def test_baselines_stand_beside_a_pair_and_are_no_side_of_it(make_results):
    import pandas as pd

    results = make_results(**SMALL, intervals=True)
    own = [m["name"] for m in results.run["models"]]
    results.results = pd.concat(
        [results.results, results.results[results.results["model"] == own[0]].assign(model="R")]
    )
    results.run["models"].append(results.run["models"][0] | {"name": "R", "parameters": 7})
    results.run["baselines"] = {"R": "random-init"}
    tokens = {"task": "sst2", "layer": 4, "pooling": "mean", "curve": "pooling_token_weight"}
    layer = int(results.results["layer"].max())
    rows = [
        tokens | {"layer": layer, "model": own[0], "x": i + 1.0, "y": 2.0 - i, "label": f"<b>{i}"} for i in range(3)
    ]
    results.curves = pd.concat([results.curves, pd.DataFrame(rows)])
    view = build_view(results)
    assert view["kind"] == "pair"
    assert [s["lines"][0] for s in view["sides"]].count("baseline") == 1
    assert "unequal-models" not in {f["code"] for f in view["findings"] if f["severity"] == "issue"}
    tables = {b["id"]: b for b in walk(view) if b["type"] == "table"}
    assert '"R"' in json.dumps(tables["geometry-mean"])
    (weights,) = [t for name, t in tables.items() if name.startswith("token-weights")]
    assert "<b>0 2.00, <b>1 1.00" in json.dumps(weights)  # escaped where it is drawn


def test_wording_meaning_and_the_crossed_design_stand_side_by_side(make_results):
    import pandas as pd

    from geomprobe.api import every_metric

    results = make_results(**SMALL, intervals=True)
    names = ("semantic_conditional_bits", "meaning_share", "words_share", "triplet_accuracy", "partial_spearman_gold")

    def more(frame):
        like = frame[frame["metric"] == "semantic_skill"]
        return pd.concat([frame, *(like.assign(metric=name) for name in names)])

    results.results, results.comparisons = more(results.results), more(results.comparisons)
    results.definitions |= {name: every_metric()[name] for name in names}
    results.results = pd.concat(
        [results.results, results.results[results.results["metric"] == "semantic_skill"].assign(control="control_task")]
    )
    view = build_view(results)
    (section,) = [s for s in view["sections"] if s["id"] == "lexical"]
    made = {b["id"]: b for b in walk({"sections": [section]}) if "id" in b}
    for part, wanted in (
        ("wording", ["lexical word content"]),
        ("meaning", ["semantic skill", "semantic conditional bits", "partial spearman gold"]),
        ("crossed", ["meaning share", "words share", "triplet accuracy"]),
    ):
        table = made[f"lexical-{part}-mean"]
        said = list(dict.fromkeys(row["cells"][1]["text"] for row in table["rows"]))
        assert [name for name in said if name in wanted] == wanted
        heads = [column["name"] for column in table["columns"]]
        assert {"95 % interval", "verdict"} <= set(heads)
        interval = table["rows"][0]["cells"][heads.index("95 % interval")]["text"]
        assert interval not in ("", "none")
        if part == "meaning":  # the control task is each encoder's own: its level is no common mark
            assert "control_task" not in json.dumps(made[f"controls-lexical-{part}-mean"])
