"""The section of the maps: which models it shows, what points are coloured by, the tables below."""

from __future__ import annotations

import json
import re

import pytest

from geomprobe.reports.document.walk import figures, walk
from geomprobe.reports.sections import maps
from tests.synthetic import with_maps

SMALL = {"tasks": ("sst2",), "poolings": ("mean",)}


def made(results):
    section = maps.section(results.facts())
    blocks = list(walk({"sections": [section]}))
    return section, {block["id"]: block for block in blocks if "id" in block}, blocks


def changed_first(found):
    """Return the number in the first text of the table of changed neighbours."""
    return found["changed-sst2-mlm-hybrid"]["rows"][0]["cells"][0]["text"].split(" ")[1]


def test_a_pair_has_two_maps_and_two_tables(make_results):
    section, found, _ = made(with_maps(make_results(**SMALL)))
    data = found["map-sst2"]["data"]
    assert json.loads(json.dumps(data)) == data
    assert data["start"] == int(changed_first(found))
    assert [panel["title"] for panel in data["panels"]] == ["A · mlm", "B · hybrid"]
    assert [kind["key"] for kind in data["kinds"]] == ["tsne", "pca"]
    names = [colour["name"] for colour in data["colours"]]
    assert names == ["label", "cluster in A", "cluster in B", "length", "neighbours in common"]
    for panel in data["panels"]:
        for points in panel["maps"].values():
            places = [tuple(map(int, place.split(","))) for place in points.split(" ")]
            assert len(places) == 40
            assert min(map(min, places)) >= 0
            assert max(map(max, places)) <= maps.SIDE
        assert len(panel["near"].split(" ")) == len(panel["cosines"].split(" ")) == 40
    assert all(len(colour["values"].split(" ")) == 40 for colour in data["colours"])
    assert section["title"] == "Which texts moved?"
    changed, moved = found["changed-sst2-mlm-hybrid"], found["moved-sst2-mlm-hybrid"]
    shares = [row["cells"][1]["sort"] for row in changed["rows"]]
    assert shares == sorted(shares)
    assert len(shares) == maps.CHANGED
    assert re.match(r"\d+\. text ", changed["rows"][0]["cells"][2]["text"])
    assert changed["rows"][0]["cells"][2]["text"].count("\n") == 2
    words = [row["cells"][0]["text"] for row in moved["rows"]]
    assert words == ["nearer"] * words.count("nearer") + ["apart"] * words.count("apart")
    assert [(row["cells"][3]["sort"] > 0) for row in moved["rows"]] == [word == "nearer" for word in words]
    assert section["answer"].startswith("Of a text's 10 nearest neighbours A and B share ")
    assert section["answer"].endswith(" on sst2 on average.")
    assert "40 of 280 rows, drawn at random" in found["map-sst2"]["caption"]


def test_a_text_without_a_place_leaves_the_tables_and_no_map(make_results):
    results = with_maps(make_results(**SMALL))
    results.texts.loc[results.texts.index[0], "row_id"] = "another"
    _, found, blocks = made(results)
    assert "map-sst2" not in found
    assert "changed-sst2-mlm-hybrid" in found
    assert any("some texts have no place" in block.get("text", "") for block in blocks)


def test_each_task_has_its_own_and_the_first_is_open(make_results):
    section, found, _ = made(with_maps(make_results(tasks=("sst2", "mrpc"), poolings=("mean",))))
    (choice,) = section["blocks"]
    assert [option["name"] for option in choice["options"]] == ["sst2", "mrpc"]
    assert list(figures({"sections": [section]}, foreground=True)) == ["map-sst2"]
    assert {"map-sst2", "map-mrpc"} <= set(found)


def test_of_many_tasks_the_first_have_maps(make_results):
    tasks = tuple(f"task {i}" for i in range(maps.TASKS + 2))
    section, _, _ = made(with_maps(make_results(tasks=tasks, poolings=("mean",)), n=12))
    assert len(section["blocks"][0]["options"]) == maps.TASKS
    assert section["blocks"][1]["text"] == "The maps of 2 more tasks are in the results folder."


def test_one_model_has_one_map_and_no_tables(make_results):
    section, found, _ = made(with_maps(make_results(("mlm",), **SMALL, compared=False)))
    assert list(found) == ["map-sst2"]
    assert section["title"] == "Where do the texts lie?"
    assert "in common" not in str(section)


def test_many_models_are_set_against_the_first(make_results):
    names = ("one", "two", "three", "four", "five", "six")
    _, found, _ = made(with_maps(make_results(names, **SMALL, compared=False)))
    assert len(found["map-sst2"]["data"]["panels"]) == maps.PANELS
    assert [name for name in found if name.startswith("changed")] == [
        f"changed-sst2-one-{other}" for other in names[1 : maps.PANELS]
    ]


def test_of_groups_the_first_seeds_are_shown(make_results):
    groups = {"mlm": ["m0", "m1", "m2"], "hybrid": ["h0", "h1", "h2"]}
    models = tuple(name for members in groups.values() for name in members)
    section, found, _ = made(with_maps(make_results(models, **SMALL, compared=False, groups=groups, intervals=True)))
    assert [panel["title"] for panel in found["map-sst2"]["data"]["panels"]] == ["m0", "h0"]
    assert "changed-sst2-m0-h0" in found
    assert "Of each group the first seed is shown." in section["lead"]


def test_a_folder_without_maps_has_no_section(make_results):
    assert maps.section(make_results(**SMALL).facts()) is None


def test_a_model_without_a_map_is_named(make_results):
    results = with_maps(make_results(**SMALL))
    for name in ("maps", "neighbours"):
        frame = getattr(results, name)
        setattr(results, name, frame[frame["model"] == "mlm"])
    results.neighbour_overlap, results.moved_pairs = results.neighbour_overlap.iloc[:0], results.moved_pairs.iloc[:0]
    results.run["maps"][0] |= {"left_out": {"hybrid": "12 of 40 texts gave NaN or infinity"}}
    section, found, _ = made(results)
    assert [panel["title"] for panel in found["map-sst2"]["data"]["panels"]] == ["A · mlm"]
    assert "hybrid is not complete here: 12 of 40 texts gave NaN or infinity." in str(section)


def test_classes_are_the_most_frequent_labels():
    labels = [f"label {i % 12}" for i in range(60)] + ["label 3"] * 9 + ["", "label 7"]
    found = maps._classes("label", labels)
    assert found["names"][:2] == ["label 3", "label 7"]
    assert found["names"][maps.TONES :] == ["others", "none"]
    assert found["tones"] == [*(f"c{i}" for i in range(8)), "c", "c"]
    values = [found["names"][int(value)] for value in found["values"].split(" ")]
    assert values[:12].count("others") == 4
    assert values[-2:] == ["none", "label 7"]
    assert maps._classes("label", ["a", "a", ""]) is None


def test_bands_of_lengths_hold_about_as_many_texts_each():
    found = maps._lengths(list(range(1, 101)))
    assert found["names"] == [f"{a}–{a + 19} characters" for a in range(1, 101, 20)]
    assert found["tones"] == ["l0", "l1", "l2", "l3", "l4"]
    assert found["values"].split(" ")[::20] == ["0", "1", "2", "3", "4"]
    assert maps._lengths([7, 7, 7]) is None
    few = maps._lengths([3, 3, 3, 3, 9])
    assert (few["names"], few["values"]) == (["3 characters", "9 characters"], "0 0 0 0 1")


@pytest.mark.parametrize(("share", "band"), [(0, 0), (0.1, 1), (0.2, 1), (0.3, 2), (0.5, 2), (0.8, 3), (1, 4)])
def test_bands_of_shares_of_neighbours(share, band):
    found = maps._shares("in common", [share], 10)
    assert found["names"] == ["0 of 10", "1–2 of 10", "3–5 of 10", "6–8 of 10", "9–10 of 10"]
    assert found["values"] == str(band)
    assert found["tones"] == ["l4", "l3", "l2", "l1", "l0"]
