"""The results folder's contract: columns of the tables, curves, statuses, and the records of run.json, all typed.

Standard library only. What is written and what is read goes through the same checks (`check_run`, `check_definitions`,
`check_record`), so that both sides may rely on the types: a key that is there has the type that is declared here. Keys
that are not declared here are left alone.
"""

# no `from __future__ import annotations`: under it Python 3.11 does not see which keys of a TypedDict are NotRequired
import sys
import types
from typing import Any, NotRequired, TypedDict, Union, get_args, get_origin, get_type_hints, is_typeddict

from geomprobe.common import InputError, brief

SCHEMA_VERSION = 1


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
    "Float64: margin p_tost mdd",
    "Int64: n",
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
# A curve NAME may come with NAME_low and NAME_high, its band: of rarefaction, a standard deviation between subsamples.
CURVES = {
    "spectrum": "x: rank k from 1; y: share of the variance, lambda_k / sum(lambda), centred",
    "cosine_histogram": "x: bin centre of the cosine of two different rows, 100 bins over [-1, 1]; y: density",
    "rarefaction_effective_rank": "x: rows; y: effective rank, mean over subsamples without replacement",
    "rarefaction_rankme": "x: rows; y: RankMe, mean over subsamples without replacement",
    "rarefaction_participation_ratio": "x: rows; y: participation ratio, mean over subsamples without replacement",
    "pooling_position_weight": "x: token position from 0; y: mean trained weight there, 1 is that of mean pooling",
    "pooling_token_weight": "x: rank from 1, heaviest first; y: mean trained weight of the token `label`, 1 is that of "
    "mean pooling",
}

# Per-example scores of a probe, so that paired tests can be redone. Rows that share a sentence share a `cluster`.
EXAMPLE_COLUMNS = _columns(
    "string: model task",
    "Int64: layer",
    "string: pooling probe row_id",
    "Int64: cluster",
    "Float64: label prediction log_loss",
)

# How much each cluster of rows moves a metric, so that paired differences can be redone: `contributions` is a list
# with a number per cluster, in the order of the cluster numbers; `extra` is variance that no row answers for. What has
# no row here has no interval.
INFLUENCE_COLUMNS = _columns(
    "string: model task",
    "Int64: layer",
    "string: pooling view metric definition",
    "object: contributions",
    "Float64: extra",
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

TABLES = {
    "results": RESULT_COLUMNS,
    "comparisons": COMPARISON_COLUMNS,
    "curves": CURVE_COLUMNS,
    "examples": EXAMPLE_COLUMNS,
    "influences": INFLUENCE_COLUMNS,
    "similarities": SIMILARITY_COLUMNS,
    "maps": MAP_COLUMNS,
    "neighbours": NEIGHBOUR_COLUMNS,
    "neighbour_overlap": OVERLAP_COLUMNS,
    "moved_pairs": MOVED_COLUMNS,
    "texts": TEXT_COLUMNS,
}
"""Tables of a results folder, a parquet file each."""

OPTIONAL = frozenset(TABLES) - {"results", "comparisons", "curves", "examples"}
"""Tables that a folder may lack: influences are large, and published folders leave them out; the others are of compared
models, or are not in folders of earlier versions."""

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
    """A task; `truncated` counts, for each model, the texts that were cut to its longest input."""

    name: str
    source: NotRequired[str]
    revision: NotRequired[str | None]
    fingerprint: NotRequired[str]
    rows: NotRequired[int]
    train_rows: NotRequired[int]
    geometry_rows: NotRequired[int]
    row_ids_hash: NotRequired[str]
    truncated: NotRequired[dict[str, int] | None]
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
    of a row's nearest neighbours that are nearest on each map, too (`pca_neighbours`, `tsne_neighbours`). `left_out`
    maps models without neighbours, or without a map, to the reason.
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
    left_out: NotRequired[dict[str, str]]


class Run(TypedDict, total=False):
    """run.json.

    `baselines` maps models to the kind of baseline they are, `groups` groups of seeds to their models; `compared` holds
    the two models of a comparison. `failed_cells` counts the failures: the cells (a model on a task at a layer under a
    pooling) with a row of status "failed", and the pairs of sound cells whose similarity failed. The rows say which and
    why. `verdict` replaces the sentence that a report makes of the verdicts' counts.
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
    verdict: str | None


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
    run: Run = checked(value, Run, where)
    for i, layer_map in enumerate(run.get("similarity", ())):
        if len({len(row) for row in layer_map["values"]}) > 1:
            raise InputError(f"{where}: similarity[{i}].values has rows of several lengths.", HINT)
    return run


def check_definitions(value: Any, where: str = "definitions.json") -> dict[str, Definition]:
    """Value, a mapping of metric to `Definition`; raises InputError as `check_run` does."""
    return checked(value, dict[str, Definition], where)


def check_record(value: Any, where: str) -> dict[str, Any]:
    """Value, a record of a training log; raises InputError as `check_run` does."""
    return checked(value, dict[str, Any], where)


WORDS: dict[Any, str] = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    type(None): "null",
    list: "a list",
    dict: "an object",
}


def checked(value: Any, kind: Any, where: str, at: str = "") -> Any:
    """Value of JSON, of the type or InputError is raised; `at` is the path to it, such as ``models[0].name``."""
    origin, inner = get_origin(kind), get_args(kind)
    if kind is Any:
        return value
    if origin in (Union, types.UnionType):
        # one alternative of a kind at most, so the errors inside the one that fits are the ones to tell
        fitting = next((part for part in inner if _fits(value, part)), None)
        if fitting is None:
            raise _wrong(value, inner, where, at)
        return checked(value, fitting, where, at)
    if not _fits(value, kind):
        raise _wrong(value, (kind,), where, at)
    if origin is list:
        for i, item in enumerate(value):
            checked(item, inner[0], where, f"{at}[{i}]")
    elif origin is dict:
        for key, item in value.items():
            checked(item, inner[1], where, _inside(at, key))
    elif is_typeddict(kind):
        if missing := sorted(kind.__required_keys__ - value.keys()):
            raise InputError(f"{where}: {_inside(at, missing[0])} is missing.", HINT)
        for key, part in get_type_hints(kind).items():
            if key in value:
                checked(value[key], part, where, _inside(at, key))
    return value


HINT = "Repeat the command that wrote the folder; finished cells are reused."


def _fits(value: Any, kind: Any) -> bool:
    """Whether a value is of a kind, whatever it holds inside."""
    if kind is float:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and abs(value) <= sys.float_info.max  # false for NaN, and for whole numbers beyond float64
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, _outer(kind))


def _outer(kind: Any) -> type:
    return get_origin(kind) or (dict if is_typeddict(kind) else kind)


def _inside(at: str, key: Any) -> str:
    key = brief(str(key), 60)
    return f"{at}.{key}" if at else key


def _wrong(value: Any, kinds: tuple[Any, ...], where: str, at: str) -> InputError:
    wanted = " or ".join(WORDS[_outer(kind)] for kind in kinds)
    actual = (
        repr(value) if isinstance(value, str | int | float | None) else WORDS.get(type(value), type(value).__name__)
    )
    return InputError(f"{where}: {at or 'the document'} must be {wanted}, not {brief(actual, 60)}.", HINT)
