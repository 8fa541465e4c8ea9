"""gp.plot: what a report draws, on axes of the user; what is chosen is said; what is missing is refused or counted."""

from __future__ import annotations

import inspect
import subprocess
import sys
import warnings
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

import geomprobe as gp
from geomprobe.common import InputError, UsageError
from geomprobe.reports import build_view
from geomprobe.reports.document.walk import walk
from geomprobe.reports.render.figures import DRAW, STYLE
from tests.synthetic import hostile_results, with_maps

ROOT = Path(__file__).parents[3]
GRID = {"tasks": ("sst2", "mrpc"), "poolings": ("mean", "max"), "layers": (0, 2, 4), "intervals": True}


@pytest.fixture(scope="module")
def pair(make_results):
    return make_results(**GRID)


@pytest.fixture(scope="module")
def many(make_results):
    return make_results(models=("a", "b", "c"), tasks=("sst2",), poolings=("mean",), intervals=True)


@pytest.fixture
def ax():
    return Figure().add_subplot()


def drawn(axis):
    """Everything on an axes that has data, as numbers."""
    lines = [line.get_xydata() for line in axis.lines]
    return [points for points in lines if len(points)], len(axis.patches), len(axis.collections)


def same(first, second):
    (lines, *counts), (others, *other_counts) = drawn(first), drawn(second)
    assert counts == other_counts
    assert len(lines) == len(others)
    for one, other in zip(lines, others, strict=True):
        np.testing.assert_array_equal(one, other)


def reported(results, kind, panel=0, start=""):
    """The axes of a panel of the report's first figure of a kind."""
    blocks = [b for b in walk(build_view(results)) if b["type"] == "figure" and b["kind"] == kind]
    block = next(b for b in blocks if b["id"].startswith(start))
    with mpl.rc_context(STYLE):
        return DRAW[kind](block["data"]).axes[panel]


@pytest.mark.parametrize(
    ("name", "options", "kind", "panel", "start"),
    [
        ("spectrum", {}, "spectra", 0, ""),
        ("spectrum", {"task": "mrpc"}, "spectra", 1, ""),
        ("uniformity", {}, "decomposition", 0, ""),
        ("heatmap", {"of": "A"}, "heat", 0, ""),
        ("heatmap", {}, "heat", 2, ""),
        ("heatmap", {"metric": "effective_rank", "of": "hybrid"}, "heat", 1, "heat-effective-rank"),
        ("layers", {}, "profiles", 0, ""),
        ("layers", {"metric": "mean_cosine", "pooling": "max"}, "profiles", 0, "profile-mean-cosine-raw-max"),
        ("training", {}, "training", 0, ""),
        ("training", {"quantity": "mlm"}, "training", 1, ""),
        ("forest", {}, "forest", 0, "forest-geometry"),
        ("forest", {"metric": "semantic_accuracy", "pooling": "max"}, "forest", 0, "forest-downstream-max"),
    ],
)
def test_what_is_drawn_is_what_the_report_draws(name, options, kind, panel, start, pair, ax):
    assert getattr(gp.plot, name)(pair, ax, **options) is ax
    same(ax, reported(pair, kind, panel, start))


def test_many_models_are_ranked_as_in_the_report(many, ax):
    gp.plot.forest(many, ax)
    same(ax, reported(many, "ranking", 0, "ranking-geometry"))
    values = [line.get_xdata()[0] for line in ax.lines if len(line.get_xdata()) == 1]
    assert values == sorted(values)  # smaller: spread more evenly
    assert sorted(label.get_text() for label in ax.get_yticklabels()) == ["a", "b", "c"]


def test_the_summary_draws_every_headline_metric_in_its_list(pair, ax):
    summary = pair.summary()
    gp.plot.summary(pair, ax)
    order = [each.title for each in (*summary.differs, *summary.equal, *summary.cannot_tell)]
    assert [label.get_text() for label in ax.get_yticklabels()] == order
    typical = summary.differs[0].typical
    points = [line.get_xydata()[0] for line in ax.lines if line.get_marker() == "o"]
    assert points[0][0] == pytest.approx(typical.value / typical.margin)
    marks = [line for line in ax.lines if line.get_marker() == "|"]
    assert len(marks) == sum(len(each.cells) for each in summary.differs + summary.equal + summary.cannot_tell)


def test_a_folder_is_as_good_as_results(pair, ax, tmp_path):
    folder = gp.write_results(tmp_path / "results", pair)
    gp.plot.spectrum(folder, ax)
    other = Figure().add_subplot()
    gp.plot.spectrum(str(folder), other)
    same(ax, other)


@pytest.mark.parametrize(
    ("name", "options", "title", "x", "y"),
    [
        ("spectrum", {}, "sst2, mean pooling, layer 4", "rank k", "share of variance"),
        ("spectrum", {"task": "mrpc", "pooling": "max", "layer": 4}, "mrpc, max pooling, layer 4", "rank k", None),
        ("uniformity", {"layer": 2}, "mean pooling, layer 2", None, ""),
        ("heatmap", {"layer": 0}, "uniformity (raw), B − A, layer 0", "", ""),
        ("heatmap", {"of": "mlm", "view": "centred"}, "uniformity (centred), A · mlm, layer 4", "", ""),
        ("layers", {"metric": "isoscore", "view": "raw"}, "sst2, mean pooling", "relative depth", "isoscore (raw)"),
        ("training", {"quantity": "lambda"}, "", "tokens", "λ (weight of JEPA)"),
        ("forest", {"layer": 2}, "uniformity (raw), mean pooling, layer 2", "B − A (hybrid − mlm)", ""),
        ("summary", {"layer": 2}, "hybrid − mlm, layer 2", "B − A, in units of the margin", ""),
    ],
)  # fmt: skip
def test_title_and_labels_say_what_was_chosen(name, options, title, x, y, pair, ax):
    getattr(gp.plot, name)(pair, ax, **options)
    assert ax.get_title() == title
    assert x is None or ax.get_xlabel() == x
    assert y is None or ax.get_ylabel() == y


def test_a_map_is_a_panel_of_the_reports_figure(make_results, ax):
    results = with_maps(make_results(tasks=("sst2",), poolings=("mean",), training=False, spectrum_points=4))
    blocks = [b for b in walk(build_view(results)) if b["type"] == "figure" and b["kind"] == "scatter"]
    with mpl.rc_context(STYLE):
        first, second = DRAW["scatter"](blocks[0]["data"]).axes
    same(gp.plot.map(results, ax), first)
    assert ax.get_title() == "sst2, A · mlm, mean pooling, layer 4"
    colours = {made["name"]: made for made in blocks[0]["data"]["colours"]}
    assert ax.get_legend().get_title().get_text() == next(iter(colours))
    same(gp.plot.map(results, other := Figure().add_subplot(), model="hybrid"), second)
    assert other.get_title() == "sst2, B · hybrid, mean pooling, layer 4"
    for name, made in colours.items():
        shown = gp.plot.map(results, Figure().add_subplot(), colour=name, projection="pca")
        assert [text.get_text() for text in shown.get_legend().get_texts()] == made["names"]
        assert shown.get_xlabel() == "principal axes"
    for options in ({"colour": "lenght"}, {"projection": "umap"}, {"model": "bert"}, {"task": "mrpc"}):
        with pytest.raises(UsageError, match="Unknown"):
            gp.plot.map(results, ax, **options)


def test_a_map_that_lacks_a_model_says_so(make_results, ax):
    results = with_maps(make_results(tasks=("sst2",), poolings=("mean",), training=False, spectrum_points=4))
    results.run["maps"][0]["left_out"] = {"hybrid": "too few rows"}
    with pytest.warns(UserWarning, match="hybrid is not complete here: too few rows."):
        gp.plot.map(results, ax)


def test_some_models_alone(pair, many, ax):
    gp.plot.spectrum(many, ax, models=["c", "a"])
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["c", "a"]
    gp.plot.spectrum(pair, other := Figure().add_subplot(), models=["hybrid"], legend=False)
    assert len(other.lines) == 1
    assert other.get_legend() is None


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("spectrum", {"task": "sst3"}, "Unknown task 'sst3'. Did you mean 'sst2'"),
        ("spectrum", {"pooling": "men"}, "Unknown pooling 'men'. Did you mean 'mean'"),
        ("spectrum", {"layer": 3}, "Layer 3 was not measured."),
        ("spectrum", {"models": ["bert"]}, "Unknown model 'bert'"),
        ("spectrum", {"models": "mlm"}, "`models` takes a list of names"),
        ("uniformity", {"tasks": "sst2"}, "`tasks` takes a list of names"),
        ("heatmap", {"of": "C"}, "Unknown model 'C'"),
        ("heatmap", {"metric": "efective_rank"}, "Did you mean 'effective_rank'"),
        ("layers", {"metric": "uniformity", "view": "whitened"}, "Unknown view 'whitened'"),
        ("training", {"quantity": "losses"}, "Unknown quantity 'losses'. Did you mean 'loss'"),
        ("forest", {"metric": "uniformity_reference"}, None),
    ],
)
def test_what_does_not_occur_is_refused(name, options, says, pair, ax):
    with pytest.raises(UsageError if says else InputError) as caught:
        getattr(gp.plot, name)(pair, ax, **options)
    assert (says or "These results have no uniformity_reference.") in caught.value.message
    assert caught.value.hint
    assert not ax.lines


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("summary", {}, "no comparison"),
        ("forest", {}, "one model and no comparison"),
        ("heatmap", {"of": "B-A"}, "no comparison"),
        ("layers", {}, "One layer was measured, layer 4."),
        ("map", {}, "no map of the texts"),
        ("training", {}, "No model has a training log."),
    ],
)
def test_what_results_lack_is_said_with_the_next_command(name, options, says, make_results, ax):
    single = make_results(models=("mlm",), tasks=("sst2",), poolings=("mean",), training=False, spectrum_points=4)
    with pytest.raises(InputError) as caught:
        getattr(gp.plot, name)(single, ax, **options)
    assert says in caught.value.message
    assert "geomprobe " in caught.value.hint


def test_results_without_spectra(make_results, ax):
    results = make_results(tasks=("sst2",), poolings=("mean",))
    results.curves = results.curves.iloc[:0]
    with pytest.raises(InputError, match="no spectrum"):
        gp.plot.spectrum(results, ax)


@pytest.mark.parametrize(
    ("given", "says"), [(pd.DataFrame(), "not of a pandas DataFrame"), (None, "not of a builtins NoneType")]
)
def test_other_inputs_are_refused(given, says):
    with pytest.raises(UsageError, match=says):
        gp.plot.spectrum(given)


def test_several_axes_are_refused(pair):
    with pytest.raises(UsageError, match="one matplotlib Axes, not ndarray"):
        gp.plot.spectrum(pair, Figure().subplots(1, 2))


def test_what_is_not_drawn_is_counted(make_results, ax):
    failed = make_results(tasks=("sst2", "mrpc"), poolings=("mean",), failed=True, intervals=True)
    with pytest.warns(UserWarning, match="Failed, in part or entirely: hybrid on mrpc."):
        gp.plot.uniformity(failed, ax)
    with pytest.warns(UserWarning, match="Left out, for they failed: 1 cell."):
        gp.plot.summary(failed, ax)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gp.plot.spectrum(failed, ax, task="sst2")  # the failure is of another task
    many, other = tuple(f"t{i}" for i in range(14)), Figure().add_subplot()
    with pytest.warns(UserWarning, match="The first 12 of 14 tasks are drawn; choose others with `tasks`."):
        gp.plot.uniformity(make_results(tasks=many, poolings=("mean",), training=False, spectrum_points=4), other)


def test_a_metric_without_a_margin_is_named(pair, ax, make_results):
    results = make_results(**GRID)
    results.comparisons.loc[results.comparisons["metric"] == "effective_rank", "margin"] = None
    with pytest.warns(UserWarning, match="for want of a margin: effective rank."):
        gp.plot.summary(results, ax)
    results.comparisons["margin"] = None
    with pytest.raises(InputError, match="has a margin"):
        gp.plot.summary(results, ax)


def test_names_are_drawn_as_they_are():
    """`$` and `_` in names are neither mathematics nor TeX."""
    results = hostile_results()
    figure = Figure(figsize=(8, 12), layout="constrained")
    axes = iter(figure.subplots(3, 2).flat)
    with mpl.rc_context({"text.parse_math": True}), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of failed cells, and glyphs that the font lacks
        for name in ("spectrum", "uniformity", "heatmap", "training", "forest", "map"):
            ax = getattr(gp.plot, name)(results, next(axes))
            texts = [ax.title, ax.xaxis.label, ax.yaxis.label, *ax.get_yticklabels()]
            assert not any(text.get_usetex() for text in texts if text.get_text())
        figure.canvas.draw()


def test_given_axes_leave_pyplot_alone(pair, tmp_path):
    """No figure is made, no backend chosen; without axes a figure of pyplot is made, without a display."""
    gp.write_results(tmp_path / "results", pair)
    code = """if True:
        import sys, geomprobe as gp
        from matplotlib.figure import Figure
        gp.plot.spectrum("results", Figure().add_subplot())
        gp.plot.summary("results", Figure().add_subplot())
        assert "matplotlib.pyplot" not in sys.modules
        axes = gp.plot.spectrum("results")
        from matplotlib import pyplot
        assert pyplot.get_fignums() == [axes.figure.number]
        axes.figure.savefig("figure.png")
    """
    environment = {"PYTHONPATH": str(ROOT), "MPLCONFIGDIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, cwd=tmp_path)
    assert (tmp_path / "figure.png").stat().st_size


def test_every_function_documents_itself():
    for name in gp.plot.__all__:
        text = inspect.getdoc(getattr(gp.plot, name))
        for part in ("Parameters", "Returns", "Raises", "InputError", "UsageError", "Examples"):
            assert part in text, (name, part)
        for parameter in inspect.signature(getattr(gp.plot, name)).parameters:
            assert parameter in text, (name, parameter)
