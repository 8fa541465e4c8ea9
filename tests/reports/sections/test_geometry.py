"""Curves with their bands, and the similarity of models and layers."""

from __future__ import annotations

from geomprobe.reports import build_view
from geomprobe.reports.document.walk import walk
from geomprobe.results.record import WIDE

SMALL = {"tasks": ("sst2", "mrpc"), "poolings": ("mean", "max")}
SEEDS = {"mlm": ["m1", "m2", "m3"], "hybrid": ["h1", "h2", "h3"]}


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
    labels = found["curve-rarefaction-effective-rank-mean"]["data"]
    assert (labels["x_label"], labels["y_label"]) == ("rows", "effective rank")
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
    known = {
        "se": 0.05,
        "ci_low": 0.4,
        "ci_high": 0.6,
        "ci_method": f"influence function, {WIDE}",
    }
    results.similarities = table(
        [
            place | known | {"metric": "linear_cka"},
            place | {"metric": "mutual_knn", "ci_method": "no valid interval: so"},
        ],
        SIMILARITY_COLUMNS,
    )
    found = next(b for b in walk(build_view(results)) if b.get("id") == "similarities")
    names = [column["name"] for column in found["columns"]]
    assert "value 0.500, by chance 0.100 ± 0.010" in found["caption"]  # what is the same in all rows
    assert [row["cells"][names.index("95 % interval")]["text"] for row in found["rows"]] == [
        "[0.400, 0.600] standard error probably too large",
        "none",
    ]
