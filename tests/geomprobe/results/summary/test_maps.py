"""The maps of a folder, indexed: rows by number, names as the report shows them, what is damaged left out."""

from __future__ import annotations

import numpy as np
import pandas as pd

from geomprobe.results.summary.maps import TEXT
from tests.synthetic import HOSTILE, with_maps


def test_maps_are_indexed_by_row(make_results):
    results = with_maps(make_results(tasks=("sst2", "mrpc"), poolings=("mean",)), n=30)
    first, second = results.facts().row_maps
    assert (first.task, second.task, first.pooling) == ("sst2", "mrpc", "mean")
    assert first.texts[4] == "text 4 of sst2"
    assert first.labels[:3] == ["yes", "no", ""]
    assert (first.lengths[0], list(first.models)) == (10, ["mlm", "hybrid"])
    frame = results.maps[(results.maps["task"] == "sst2") & (results.maps["model"] == "hybrid")]
    model = first.models["hybrid"]
    np.testing.assert_array_equal(model.points["tsne"], frame[["tsne_x", "tsne_y"]].to_numpy(float))
    assert (model.groups, model.layer) == (frame["group"].tolist(), 4)
    near = results.neighbours.query("task == 'sst2' and model == 'hybrid' and row_id == 'validation/7'")
    assert [f"validation/{row}" for row, _ in model.near[7]] == near["neighbour"].tolist()
    assert [cosine for _, cosine in model.near[7]] == near["cosine"].tolist()
    overlap = first.overlap["mlm", "hybrid"]
    assert [share for _, share in overlap] == sorted(share for _, share in overlap)
    moved = first.moved["mlm", "hybrid"]
    frame = results.moved_pairs[results.moved_pairs["task"] == "sst2"]
    assert [(f"validation/{m.row}", f"validation/{m.other}", *m.cosines, *m.shares) for m in moved] == list(
        frame[["row_id", "other", "cosine_a", "cosine_b", "share_a", "share_b"]].itertuples(index=False, name=None)
    )
    assert first.entry["point"] == "one text"


def test_a_folder_without_maps_has_none(make_results):
    assert make_results(tasks=("sst2",), poolings=("mean",)).facts().row_maps == []


def test_without_texts_the_ids_stand_for_them(make_results):
    results = with_maps(make_results(tasks=("sst2",), poolings=("mean",)), keep_texts=False)
    (found,) = results.facts().row_maps
    assert found.texts[:2] == ["validation/0", "validation/1"]
    assert not found.with_texts


def test_texts_are_inert_and_what_names_no_row_is_left_out(make_results):
    results = with_maps(make_results(tasks=("sst2",), poolings=("mean",)), n=12, texts=HOSTILE)
    results.neighbours.loc[0, "neighbour"] = "nowhere"
    results.moved_pairs.loc[0, "other"] = "nowhere"
    results.neighbours.loc[1, "cosine"] = np.inf
    results.neighbours.loc[2, "cosine"] = np.nan
    results.maps = results.maps.iloc[1:]
    results.texts = pd.concat([results.texts, results.texts])
    (found,) = results.facts().row_maps
    assert len(found.texts) == 12
    assert max(map(len, found.texts)) == TEXT
    assert not [text for text in found.texts if "\x00" in text or "\u202e" in text or "\n" in text]
    assert len(found.models["mlm"].near[0]) == 7
    assert len(found.moved["mlm", "hybrid"]) == len(results.moved_pairs) - 1
    assert list(found.models["mlm"].points) == []  # a row has no place
    assert list(found.models["hybrid"].points) == ["tsne", "pca"]
