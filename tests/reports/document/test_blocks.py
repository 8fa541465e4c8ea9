"""Tables: what is the same in all rows stands in the caption."""

from __future__ import annotations

from geomprobe.reports.document.blocks import cell, line, table

HEADS = [("task", False), ("metric", False), ("n", True)]


def rows(*texts):
    return [line([*map(cell, row)], row[0]) for row in texts]


def test_a_column_with_one_value_stands_in_the_caption():
    found = table("t", "Scores.", HEADS, rows(("sst2", "accuracy", "872"), ("sst2", "skill", "872")))
    assert [column["name"] for column in found["columns"]] == ["metric"]
    assert [[each["text"] for each in row["cells"]] for row in found["rows"]] == [["accuracy"], ["skill"]]
    assert found["caption"] == "Scores. In all rows: task sst2, n 872."
    assert [row["task"] for row in found["rows"]] == ["sst2", "sst2"]  # the selector still finds them


def test_a_table_of_one_row_and_one_of_equal_rows_keep_their_columns():
    for content in ([("sst2", "accuracy", "872")], [("sst2", "accuracy", "872")] * 2):
        found = table("t", "Scores.", HEADS, rows(*content))
        assert len(found["columns"]) == len(HEADS)
        assert found["caption"] == "Scores."


def test_cells_that_failed_stay_in_the_table_for_they_are_hatched():
    failed = [line([cell(name), cell("failed", tone="failed")]) for name in "ab"]
    assert len(table("t", "Scores.", HEADS[:2], failed)["columns"]) == 2
