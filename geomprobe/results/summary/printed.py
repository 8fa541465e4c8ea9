"""The summary as lines of a terminal, as Markdown, as LaTeX and as HTML."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from html import escape

from rich.cells import cell_len, set_cell_size

from geomprobe.common.text import listed, markdown, markdown_table
from geomprobe.results.summary.model import Statement, Summary
from geomprobe.results.summary.ranking import Ranking
from geomprobe.results.summary.series import Course
from geomprobe.results.summary.words import ALONE

HEADINGS = {
    "differs": "differs",
    "equal": "shown equal",
    "cannot_tell": "cannot tell",
    "values": "measured",
    "rankings": "ranking",
    "courses": "along the series",
}
LINES = 20
WIDTH = 120
NAME, FIGURE = 30, 24
"""Columns of a statement on a terminal: its name, its typical figure."""
AFTER_THE_BAR = "after the bar: told apart from the first"
FIRST_AND_LAST = f"values of the first and the last; cells; {AFTER_THE_BAR}"
SAID = {"rankings": FIRST_AND_LAST, "courses": "first → last value; where successive checkpoints differ"}
SHOWN = 2
"""Models before and after the bar that a terminal names."""


def terminal(summary: Summary, files: Sequence[str] = (), width: int = WIDTH, most: int = LINES) -> list[str]:
    """Lines for a terminal: at most `most`, each at most `width` columns wide but those of `files`, which come last.

    The lists share the lines fairly; what has no line is counted and named after the heading of its list.
    """
    sentence = textwrap.wrap(summary.sentence, width, max_lines=4, placeholder=" …")
    lists = _lists(summary)
    room = most - len(sentence) - len(files) - len(lists)
    shown = dict.fromkeys(lists, 0)
    for _ in range(room):
        open_lists = [heading for heading, items in lists.items() if shown[heading] < len(items)]
        if open_lists:
            shown[min(open_lists, key=shown.__getitem__)] += 1
    found = []
    for heading, items in lists.items():
        hidden = [name for name, _ in items[shown[heading] :]]
        found.append(f"{heading}{f' (and {len(hidden)} more: {listed(hidden, most=4)})' if hidden else ''}:")
        found += [f"  {line}" for _, line in items[: shown[heading]]]
    cut = [line if cell_len(line) <= width else f"{set_cell_size(line, width - 1)}…" for line in (*sentence, *found)]
    return [*cut, *files]  # a path is there to be copied


def _lists(summary: Summary) -> dict[str, list[tuple[str, str]]]:
    """Heading -> (name, line) of its items; empty lists are left out."""
    found: dict[str, list[tuple[str, str]]] = {}
    intervals = "95 % intervals"
    if _compares(summary):
        intervals = f"{summary.sides[1]} − {summary.sides[0]}, {intervals} of single differences; verdicts are adjusted"
    for name, heading in HEADINGS.items():
        if statements := getattr(summary, name):
            lines = [(each.title, _line(each, signed=name != "values")) for each in statements]
            figures = SAID.get(name, intervals)
            found[heading if found else f"{heading} ({figures})"] = lines
    found["beware"] = [
        (each["code"], each["sentence"].rstrip(".") + (f" ({each['number']})" if each["number"] else ""))
        for each in summary.beware
    ]
    return found if summary.beware else {k: v for k, v in found.items() if k != "beware"}


def _line(each: Statement | Ranking | Course, signed: bool) -> str:
    """One statement: name, typical figure, in how many cells, what could be seen; of a ranking the models."""
    if isinstance(each, Course):
        return f"{each.title:<{NAME}} {each.span:<{FIGURE}} {each.moves}"
    if isinstance(each, Ranking):
        names = " | ".join(listed(part, most=SHOWN) for part in (each.first, each.behind) if part)
        names += f" | not tested: {listed(each.untested, most=SHOWN)}" if each.untested else ""
        cells = f"{'≥' * (each.least < each.cells)}{each.least}/{each.cells}" if each.behind and each.cells > 1 else ""
        return f"{each.title:<{NAME}} {each.span:<{FIGURE}} {cells:<6} {names}"
    return f"{each.title:<{NAME}} {each.typical.text(signed):<{FIGURE}} {_about(each)}".rstrip()


def _about(each: Statement | Ranking | Course) -> str:
    if isinstance(each, Course):
        parts = (f"{each.series} on {each.task}, {each.pooling} pooling", each.moves, each.where)
        return "; ".join(filter(None, parts))
    if isinstance(each, Ranking):
        return "; ".join(part for part in (each.where, f"values on {each.task}, {each.pooling} pooling") if part)
    centred = "not once the mean vector is removed" if each.only_mean else ""
    return "; ".join(part for part in (each.where, each.seen, centred) if part)


def as_markdown(summary: Summary) -> str:
    """Markdown for a pull request or a README: the sentence, the lists as one table, what to beware of."""
    rows = [cells for name in HEADINGS for cells in _rows(summary, name)]
    about = "value" if summary.values else f"{markdown(' − '.join(reversed(summary.sides[:2])))}"
    about = f"models ({AFTER_THE_BAR})" if summary.rankings else "first → last" if summary.courses else about
    heads = ("", "metric", about, "")
    parts = [f"**{markdown(summary.sentence, 2000)}**", markdown(summary.scope, 1000)]
    parts += [markdown_table(heads, [[markdown(cell) for cell in row] for row in rows])] if rows else []
    parts += (
        ["".join(f"- {finding['severity']}: {markdown(finding['sentence'], 1000)}\n" for finding in summary.beware)]
        if summary.beware
        else []
    )
    return "\n\n".join([*parts, markdown(_limits(summary), 1000)]) + "\n"


def _compares(summary: Summary) -> bool:
    """Whether the intervals are of differences, which have verdicts."""
    return summary.kind in ("pair", "groups")


def _limits(summary: Summary) -> str:
    return f"{summary.limits} {ALONE}" if _compares(summary) else summary.limits


def _rows(summary: Summary, name: str) -> list[tuple[str, ...]]:
    """A row a statement: its list, metric, figure, and where it holds."""
    return [
        (
            HEADINGS[name],
            each.title,
            _figure(each, signed=name != "values"),
            _about(each),
        )
        for each in getattr(summary, name)
    ]


def _figure(each: Statement | Ranking | Course, signed: bool) -> str:
    if isinstance(each, Ranking):
        return each.order
    return each.span if isinstance(each, Course) else each.typical.text(signed)


def as_latex(summary: Summary) -> str:
    """A LaTeX table (booktabs) of the lists, its caption the sentence; for names beyond Latin take LuaLaTeX."""
    rows = [cells for name in HEADINGS for cells in _rows(summary, name)]
    alone = f" {_tex(ALONE)}" if _compares(summary) else ""
    body = "".join(" & ".join(map(_tex, row)) + r" \\" + "\n" for row in rows)
    return (
        "\\begin{table}\n\\centering\n"
        f"\\caption{{{_tex(summary.sentence)} {_tex(summary.scope)}.{alone}}}\n"
        "\\begin{tabular}{llll}\n\\toprule\n & metric & value & cells \\\\\n\\midrule\n"
        f"{body}\\bottomrule\n\\end{{tabular}}\n\\end{{table}}\n"
    )


TEX = {
    **{c: f"\\{c}" for c in "&%$#_{}"},
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "→": r"$\rightarrow$", "−": "$-$", "±": r"$\pm$", "≤": r"$\leq$", "×": r"$\times$", "…": r"\ldots{}",
    "≥": r"$\geq$", "≈": r"$\approx$", "λ": r"$\lambda$", "|": r"$|$", "<": r"$<$", ">": r"$>$",
}  # fmt: skip


def _tex(text: str) -> str:
    return "".join(TEX.get(char, char) for char in text)


def as_html(summary: Summary) -> str:
    """HTML for a notebook: no script, no style of its own."""
    parts = [f"<p><strong>{escape(summary.sentence)}</strong></p>", f"<p>{escape(summary.scope)}</p>"]
    for name, heading in HEADINGS.items():
        if rows := _rows(summary, name):
            body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row[1:])}</tr>" for row in rows)
            parts.append(f"<table><caption>{escape(heading)}</caption><tbody>{body}</tbody></table>")
    if summary.beware:
        items = "".join(f"<li>{escape(finding['sentence'])}</li>" for finding in summary.beware)
        parts.append(f"<p>Beware:</p><ul>{items}</ul>")
    return "\n".join([*parts, f"<p>{escape(_limits(summary))}</p>"])
