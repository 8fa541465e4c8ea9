"""Rows whose neighbours changed from one model to another, from the tables of both."""

from __future__ import annotations

import pandas as pd


def neighbour_overlap(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    """Share of each row's nearest neighbours that both models name, least first; equal ones in the order of the rows.

    Its mean is `mutual_knn` of these rows.

    Parameters
    ----------
    first, second : DataFrame
        Rows of the table of neighbours (`geomprobe.results.NEIGHBOUR_COLUMNS`) of one model each, on the same rows of
        a task: a neighbour is found among these.

    Returns
    -------
    DataFrame
        Columns row_id, overlap.
    """
    keys = ["row_id", "neighbour"]
    both = first[keys].merge(second[keys], on=keys).groupby("row_id").size()
    of = first.groupby("row_id", sort=False).size()
    overlap = (both.reindex(of.index, fill_value=0) / of).astype("Float64")
    frame = overlap.rename("overlap").rename_axis("row_id").reset_index()
    return frame.sort_values("overlap", kind="stable", ignore_index=True)
