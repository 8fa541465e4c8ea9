"""The results folder's contract: columns of the tables, curves, statuses, and the records of run.json, all typed.

Standard library only. What is written and what is read goes through the same checks (`check_run`, `check_definitions`,
`check_record`), so that both sides may rely on the types: a key that is there has the type that is declared here. Keys
that are not declared here are left alone.
"""

# no `from __future__ import annotations`: under it Python 3.11 does not see which keys of a TypedDict are NotRequired
from functools import partial
from typing import Any, NamedTuple, NotRequired, TypedDict

from geomprobe.common import InputError
from geomprobe.common.json_types import checked

SCHEMA_VERSION = 1
HINT = "Repeat the command that wrote the folder; finished cells are reused."


def _columns(*groups: str) -> dict[str, str]:
    """Columns in their order, each with its type in pandas, from groups such as "Int64: layer n"."""
    return {name: kind for kind, _, names in (group.partition(": ") for group in groups) for name in names.split()}


# A row a number. `definition` names the variant where a metric has several; `control` is set on a probe's control.
RESULT_COLUMNS = _columns(
    "string: model model_hash task task_hash split",
    "Int64: layer",
    "string: pooling view protocol metric definition",
    "Float64: value se ci_low ci_high",
    "string: ci_method",
    "Int64: n d seed",
    "string: control status note",
)

# A row a difference, value(b) - value(a).
COMPARISON_COLUMNS = _columns(
    "string: a b level task",
    "Int64: layer",
    "string: pooling view metric definition",
    "Float64: value_a value_b diff se ci_low ci_high",
    "string: ci_method",
    "Float64: dof p p_holm",
    "string: family",
    "Float64: margin p_tost mdd seed_spread",
    "string: seed_size",
    "Int64: rows_for_margin seeds_for_margin n",
    "string: verdict",
)

# What figures are drawn from: points of a curve, in order. `curve` is one of CURVES.
CURVE_COLUMNS = _columns(
    "string: model task",
    "Int64: layer",
    "string: pooling view curve",
    "Float64: x y",
    "string: label",
)


class Curve(NamedTuple):
    """A kind of curve: what it shows, and the labels of its axes; its definition where the labels do not say it."""

    title: str
    x: str
    y: str
    note: str = ""


# A curve NAME may come with NAME_low and NAME_high, its band: of rarefaction, a standard deviation between subsamples.
_rarefied = partial(Curve, x="rows", note="mean over subsamples without replacement")
_weight = partial(Curve, y="mean trained weight", note="1 is the weight under mean pooling")
CURVES = {
    "spectrum": Curve("spectrum", "rank k", "share of variance", "lambda_k / sum(lambda), centred"),
    "cosine_histogram": Curve("cosines between rows", "cosine of two rows", "density", "100 bins over [-1, 1]"),
    "rarefaction_effective_rank": _rarefied("effective rank by number of rows", y="effective rank"),
    "rarefaction_rankme": _rarefied("RankMe by number of rows", y="RankMe"),
    "rarefaction_participation_ratio": _rarefied("participation ratio by number of rows", y="participation ratio"),
    "pooling_position_weight": _weight("weight of a token by its position", x="position of the token, from 0"),
    "pooling_token_weight": _weight("weight of a token", x="rank of the token, heaviest first"),
}
"""Every kind of curve; `label` names the tokens of the last."""

# Per-example scores of a probe, so that paired tests can be redone. Rows that share a sentence share a `cluster`.
EXAMPLE_COLUMNS = _columns(
    "string: model task",
    "Int64: layer",
    "string: pooling probe row_id",
    "Int64: cluster",
    "Float64: label prediction log_loss",
)

# How much each cluster of rows moves a metric, so that paired differences can be redone: `contributions` is a list
# with a number per cluster, in the order of the cluster numbers; `extra` is variance that no row answers for;
# `together` is a list of what seeded pairs of clusters add, with a mean square that the contributions count twice. What
# has no row here has no interval.
INFLUENCE_COLUMNS = _columns(
    "string: model task",
    "Int64: layer",
    "string: pooling view metric definition",
    "object: contributions",
    "Float64: extra",
    "object: together",
)

# What refits of a probe on halves of the training rows change (--refits): `differences` is a list with, for each of
# refits / 2 divisions, half the difference of the number between the halves, by cluster of scored rows.
REFIT_COLUMNS = _columns(
    "string: model task",
    "Int64: layer",
    "string: pooling view metric definition",
    "Int64: refits",
    "object: differences",
)

# How alike two encoders or layers are on the same rows, with the interval as in RESULT_COLUMNS; `null_mean`, `null_sd`
# and `p` are those of the permutation null, where one was drawn. At level "objective" a and b are groups: a mean over
# pairs of seeds, and where a is b the most that a similarity of two groups can reach.
SIMILARITY_COLUMNS = _columns(
    "string: a b level task pooling",
    "Int64: layer_a layer_b",
    "string: metric",
    "Float64: value se ci_low ci_high",
    "string: ci_method",
    "Float64: null_mean null_sd p",
    "Int64: n",
    "string: status note",
)

# Where a model puts some rows of a task, at one layer under one pooling (see MapEntry): principal axes, in units of the
# rows' root-mean-square length; a map that keeps neighbours; and the group of k-means, from 0, the largest first.
MAP_COLUMNS = _columns(
    "string: model task",
    "Int64: layer",
    "string: pooling row_id",
    "Float64: pca_x pca_y tsne_x tsne_y",
    "Int64: group",
)

# The nearest of these rows of each of them, by cosine; `rank` from 1.
NEIGHBOUR_COLUMNS = _columns(
    "string: model task",
    "Int64: layer",
    "string: pooling row_id",
    "Int64: rank",
    "string: neighbour",
    "Float64: cosine",
)

# Share of the nearest neighbours of a row in a that are nearest in b, too; what changed most comes first.
OVERLAP_COLUMNS = _columns(
    "string: a b task pooling",
    "Int64: layer_a layer_b",
    "string: row_id",
    "Float64: overlap",
)

# Pairs of rows whose similarity moved most from a to b; first those that came nearer. `share_a` is the share of all
# pairs that are less alike in a.
MOVED_COLUMNS = _columns(
    "string: a b task pooling",
    "Int64: layer_a layer_b",
    "string: row_id other",
    "Float64: cosine_a cosine_b share_a share_b",
)

# The rows of the maps: the text on one line, cut (empty with --no-texts), its length in characters before, its label.
TEXT_COLUMNS = _columns(
    "string: task row_id text label",
    "Int64: length",
)

# Many models in the order of a headline number, in each cell at the deepest layer of each. Rank 1 is at the end that
# the direction of the metric names. Two models that share a letter are not told apart: all pairs were tested, `tests`
# p-values adjusted together, and a model has no p-value with `untested` of the others. No letters: with none of them.
RANKING_COLUMNS = _columns(
    "string: model task",
    "Int64: layer",
    "string: pooling view metric definition",
    "Float64: value ci_low ci_high",
    "Int64: rank",
    "string: letters",
    "Int64: untested tests",
)

# Headline numbers along a series of checkpoints, at the deepest layer: of each training with the interval over rows,
# and of each group of trainings its mean with the interval over the trainings; `n` says of how many trainings.
TRAJECTORY_COLUMNS = _columns(
    "string: series",
    "Float64: step",
    "string: task",
    "Int64: layer",
    "string: pooling view metric definition",
    "Float64: value se ci_low ci_high",
    "string: ci_method",
    "Int64: n",
)

# Paired differences of two checkpoints of a training, the later less the earlier. `against` says which: each and the
# one before it (previous), the first, the last; or the best, of the number by which a checkpoint is kept. The anytime
# ends, of previous and first, are of an interval that holds at all steps together, however many more there will be.
CHANGE_COLUMNS = {
    **_columns("string: series against", "Float64: step_a step_b anytime_low anytime_high"),
    **COMPARISON_COLUMNS,
}

TABLES = {
    "results": RESULT_COLUMNS,
    "comparisons": COMPARISON_COLUMNS,
    "curves": CURVE_COLUMNS,
    "examples": EXAMPLE_COLUMNS,
    "influences": INFLUENCE_COLUMNS,
    "refits": REFIT_COLUMNS,
    "similarities": SIMILARITY_COLUMNS,
    "maps": MAP_COLUMNS,
    "neighbours": NEIGHBOUR_COLUMNS,
    "neighbour_overlap": OVERLAP_COLUMNS,
    "moved_pairs": MOVED_COLUMNS,
    "texts": TEXT_COLUMNS,
    "rankings": RANKING_COLUMNS,
    "trajectories": TRAJECTORY_COLUMNS,
    "changes": CHANGE_COLUMNS,
}
"""Tables of a results folder, a parquet file each."""

OPTIONAL = frozenset(TABLES) - {"results", "comparisons", "curves", "examples"}
"""Tables that a folder may lack: influences are large, and published folders leave them out; the others are of compared
models, or are not in folders of earlier versions."""

OF_SERIES = ("trajectories", "changes")
"""Tables that only the results of a series of checkpoints have (`geomprobe track`)."""

STATUSES = ("ok", "failed", "not applicable", "needs rows", "too few rows")
"""ok; failed: a stage of a cell ended in an error; not applicable: undefined on these rows; needs rows: only moments
are there; too few rows: more rows of the same kind would give a number. `note` says why."""

STAGES = ("embedding", "geometry", "sample size", "probes", "published analysis", "similarity")
"""What a row with status "failed" has as its metric: the part of the cell that failed. All numbers of the cell are gone
where "embedding" or "published analysis" failed."""


class Training(TypedDict):
    """What a training log and the run.json of a checkpoint say of its training."""

    steps: NotRequired[float | None]
    tokens: NotRequired[float | None]
    flops: NotRequired[float | None]
    seed: NotRequired[int | None]
    finished: NotRequired[bool | None]
    corpus_fingerprint: NotRequired[str | None]
    corpus_unigram_entropy: NotRequired[float | None]


# "class" is a word of the language, so this one is not written as a class
_Class = TypedDict("_Class", {"class": NotRequired[str]})


class ModelEntry(_Class):
    """A model that was measured; `hash` is of its weights and configuration."""

    name: str
    source: NotRequired[str]
    taken: NotRequired[str]
    revision: NotRequired[str | None]
    kind: NotRequired[str]
    hash: NotRequired[str]
    dim: NotRequired[int]
    n_layers: NotRequired[int]
    parameters: NotRequired[int]
    max_length: NotRequired[int | None]
    dtype: NotRequired[str]
    device: NotRequired[str]
    tokenizer: NotRequired[str]
    vocabulary: NotRequired[int]
    declared_pooling: NotRequired[str | None]
    notes: NotRequired[list[str]]
    objective: NotRequired[str | None]
    training: NotRequired[Training | None]
    of: NotRequired[str]
    baseline_of: NotRequired[list[str]]
    variant: NotRequired[str]
    precision: NotRequired[str]
    renormalised: NotRequired[bool]
    calibration: NotRequired[dict[str, str] | None]


class TaskEntry(TypedDict):
    """A task; `truncated` counts, for each model, the texts that were cut to its longest input.

    `chunked`, under --long chunk, counts the texts that were divided into windows of that length.
    """

    name: str
    source: NotRequired[str]
    revision: NotRequired[str | None]
    fingerprint: NotRequired[str]
    rows: NotRequired[int]
    train_rows: NotRequired[int]
    geometry_rows: NotRequired[int]
    row_ids_hash: NotRequired[str]
    truncated: NotRequired[dict[str, int] | None]
    chunked: NotRequired[dict[str, int]]
    notes: NotRequired[list[str]]


class PoolingEntry(TypedDict):
    """A pooling; `trained` is None for one without parameters, `untrained_on` maps tasks to the reason."""

    name: str
    trained: NotRequired[bool | None]
    note: NotRequired[str]
    untrained_on: NotRequired[dict[str, str]]
    equals: NotRequired[str]


class PluginEntry(TypedDict):
    """A metric, task or pooling of another package, or registered in the process that measured it."""

    kind: str
    name: str
    package: str
    version: str


class LayerMap(TypedDict):
    """A similarity of each layer of a (rows) with each layer of b (columns)."""

    metric: str
    task: str
    pooling: str
    a: str
    b: str
    values: list[list[float | None]]
    layers_a: NotRequired[list[int]]
    layers_b: NotRequired[list[int]]


class MapEntry(TypedDict):
    """The maps of a task: which rows they show, and how well.

    `point` says what a point is; `rows` of `of` rows are shown. `onto` is the model whose map the others were turned
    onto. `shown` holds, for each model, the share of the variance on its principal axes (`pca_variance`), and the share
    of a row's nearest neighbours that are nearest on each map, too (`pca_neighbours`, `tsne_neighbours`); `overlap`,
    for each model but the first, the mean share of the neighbours that it has in common with the first. `left_out` maps
    models without neighbours, or without a map, to the reason.
    """

    task: str
    pooling: NotRequired[str]
    point: NotRequired[str]
    rows: NotRequired[int]
    of: NotRequired[int]
    neighbours: NotRequired[int]
    perplexity: NotRequired[float]
    onto: NotRequired[str | None]
    shown: NotRequired[dict[str, dict[str, float]]]
    overlap: NotRequired[dict[str, float]]
    left_out: NotRequired[dict[str, str]]


class SeriesEntry(TypedDict):
    """The checkpoints of a training in their order: models and steps, which count `unit`."""

    name: str
    source: NotRequired[str]
    unit: NotRequired[str]
    models: list[str]
    steps: list[float]
    notes: NotRequired[list[str]]


class KeptCell(TypedDict):
    """Evidence for a checkpoint in one cell: the best one, the kept one, and their difference, best less kept.

    `indistinguishable` counts the checkpoints that cannot be told apart from the best, which is one of them.
    """

    task: str
    pooling: str
    metric: str
    view: str
    best: str
    best_value: float
    value: NotRequired[float | None]
    diff: NotRequired[float | None]
    ci_low: NotRequired[float | None]
    ci_high: NotRequired[float | None]
    p_holm: NotRequired[float | None]
    indistinguishable: int
    tests: int


class KeptEntry(TypedDict):
    """The checkpoint of a training that the rule keeps; None where there is no such one, and why."""

    series: str
    rule: str
    model: str | None
    step: float | None
    why: str
    cells: list[KeptCell]


class Run(TypedDict, total=False):
    """run.json.

    `baselines` maps models to the kind of baseline they are, `groups` groups of seeds to their models; `compared` holds
    the two models of a comparison. `failed_cells` counts the failures: the cells (a model on a task at a layer under a
    pooling) with a row of status "failed", and the pairs of sound cells whose similarity failed. The rows say which and
    why. `verdict` replaces the sentence that a report makes of the verdicts' counts. Of a comparison of results folders
    `sources` holds the folders, and `notes` what was left out. Of a series of checkpoints `series` holds the trainings,
    `bands` the groups of them whose mean is in the trajectories, and `kept` what the rule keeps.
    """

    schema_version: int
    created: str
    geomprobe_version: str
    versions: dict[str, str]
    hardware: dict[str, Any]
    command: str
    protocol: str
    seed: int
    limit: int | None
    refits: int
    probes: str
    models: list[ModelEntry]
    baselines: dict[str, str]
    tasks: list[TaskEntry]
    poolings: list[PoolingEntry]
    layers: str | list[int]
    compared: list[str] | None
    groups: dict[str, list[str]] | None
    similarity: list[LayerMap]
    maps: list[MapEntry]
    plugins: list[PluginEntry]
    processes: int
    failed_cells: int
    wall_seconds: float
    sources: list[dict[str, Any]]
    notes: list[str]
    verdict: str | None
    series: list[SeriesEntry]
    bands: dict[str, list[str]]
    kept: list[KeptEntry]


class MarginEntry(TypedDict):
    """How small a difference must be to be called none (see `geomprobe.results.record.Margin`).

    `relative` and `least` are of earlier versions, in place of `scale` and `whole`.
    """

    size: float
    scale: NotRequired[str]
    whole: NotRequired[bool]
    relative: NotRequired[bool]
    least: NotRequired[float]


class Headline(TypedDict):
    """Place of a metric among the few that carry a report's argument, and the views in which it does."""

    order: int
    views: list[str]


class Against(TypedDict):
    """Part of the section on lexical against semantic, and place in it."""

    part: str
    order: int


class Definition(TypedDict, total=False):
    """An entry of definitions.json: what a metric is (see `geomprobe.results.record.Record`)."""

    name: str
    title: str
    formula: str
    range: str
    direction: str
    source: str
    family: str
    invariances: str | list[str]
    needs: str
    views: list[str]
    definitions: dict[str, str]
    margin: MarginEntry
    compared: bool
    reference: bool
    rank: bool
    order: int
    headline: Headline
    phrases: list[str]
    against: Against
    stage: str
    probe: str
    score: str


def check_run(value: Any, where: str = "run.json") -> Run:
    """Value, which is known to be a `Run` from here on.

    Raises
    ------
    InputError
        A key has another type than is declared here; the message names `where` and the key.
    """
    run: Run = checked(value, Run, where, HINT)
    for i, layer_map in enumerate(run.get("similarity", ())):
        if len({len(row) for row in layer_map["values"]}) > 1:
            raise InputError(f"{where}: similarity[{i}].values has rows of several lengths.", HINT)
    return run


def check_definitions(value: Any, where: str = "definitions.json") -> dict[str, Definition]:
    """Value, a mapping of metric to `Definition`; raises InputError as `check_run` does."""
    return checked(value, dict[str, Definition], where, HINT)


def check_record(value: Any, where: str) -> dict[str, Any]:
    """Value, a record of a training log; raises InputError as `check_run` does."""
    return checked(value, dict[str, Any], where, HINT)
