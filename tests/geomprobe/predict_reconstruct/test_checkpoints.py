"""The audit of checkpoints: every claim has its columns, single choices move what they can, the report is one file."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from typer.testing import CliRunner

import geomprobe as gp
from geomprobe.cli.main import app
from geomprobe.common import UsageError, write_json
from geomprobe.embedding.store import Store
from geomprobe.inference import intervals
from geomprobe.predict_reconstruct.claims import CLAIMS, overall, status
from geomprobe.predict_reconstruct.protocol import SWITCHES, Switch
from geomprobe.reports.document.schema import document_schema
from geomprobe.results import read_results

WORDS = ["the", "cat", "dog", "mat", "tree", "bird", "big", "small", "red", "saw", "who"]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """A file of 48 sentence pairs with labels that the first word gives away, and a train split beside it."""
    folder = tmp_path_factory.mktemp("data") / "glue" / "mrpc"
    folder.mkdir(parents=True)
    import pandas as pd

    rng = np.random.default_rng(0)
    for split, n in (("train", 60), ("validation", 48)):
        texts = [[" ".join(rng.choice(WORDS, 6)) for _ in range(n)] for _ in range(2)]
        labels = np.arange(n) % 2
        frame = pd.DataFrame({"sentence1": texts[0], "sentence2": texts[1], "label": labels, "idx": np.arange(n)})
        frame.to_parquet(folder / f"{split}.parquet")
    return folder.parents[1]


@pytest.fixture(scope="module")
def checkpoints(model_folder, tmp_path_factory):
    """Three seeds of two groups: the tiny BERT with a little noise on its weights."""
    import torch
    import transformers

    made = []
    for seed in range(6):
        folder = tmp_path_factory.mktemp("seeds") / f"seed-{seed}"
        model = transformers.AutoModel.from_pretrained(model_folder("bert"))
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=generator) * (0.02 + 0.2 * (seed >= 3)))
        model.save_pretrained(folder)
        transformers.AutoTokenizer.from_pretrained(model_folder("bert")).save_pretrained(folder)
        made.append(str(folder))
    return made


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """A folder that several audits of the same checkpoints share, so that no cell is measured twice."""
    return tmp_path_factory.mktemp("audited") / "audit"


def run(*arguments):
    done = CliRunner().invoke(app, ["audit", *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("GEOMPROBE_CACHE", str(tmp_path_factory.getbasetemp() / "audit-cache"))


@pytest.mark.parametrize(
    "sides",
    ["ab", ["a"], {"x": ["a"]}, {"x": "ab", "y": ["c"]}, {"x": ["a", "./a"], "y": ["b"]}, {"x": [], "y": ["a"]}],
)
def test_other_than_two_sides_are_refused(sides):
    with pytest.raises(UsageError):
        gp.audit(sides, ["mrpc"])


def test_two_checkpoints(checkpoints, pairs, out, monkeypatch):
    command = (checkpoints[0], checkpoints[3], "--task", "mrpc", "--data", str(pairs), "--out", str(out))
    document = json.loads(run(*command, "--json").stdout)
    assert (document["command"], document["exit_code"]) == ("audit", 0)
    assert [claim["name"] for claim in document["claims"]] == [claim.name for claim in CLAIMS]
    assert json.loads((out / "audit.json").read_text())["claims"] == document["claims"]
    uniformity, spectrum = document["claims"][0]["tasks"][0], document["claims"][1]["tasks"][0]
    assert uniformity["published"]["diff"] == pytest.approx(-0.1342 + 0.0531)
    assert {s["name"] for s in uniformity["switches"]} == {"pairs=separate", "padding=hidden", "centre=yes"}
    assert {s["name"] for s in spectrum["switches"]} == {"pairs=separate", "padding=hidden"}
    for one in uniformity["switches"]:
        assert one["moved"] == pytest.approx(one["diff"] - uniformity["paper"]["diff"])
        assert one["ci_low"] < one["diff"] < one["ci_high"]
        assert one["moved_low"] < one["moved"] < one["moved_high"]
    moved = {s["name"]: abs(s["moved"]) for s in uniformity["switches"]}
    largest = uniformity["largest"]
    assert largest["name"] == max(moved, key=moved.get)
    by = next(s for s in uniformity["switches"] if s["name"] == largest["name"])
    assert (largest["moved"], largest["moved_low"]) == (by["moved"], by["moved_low"])
    assert uniformity["objective"] is None
    assert uniformity["beside"]["view"] == "centred"
    frame = read_results(out / "strict").comparisons  # the corrected column is that of compare
    row = frame[(frame["metric"] == "effective_rank") & (frame["view"] == "raw") & (frame["pooling"] == "max")].iloc[0]
    line = spectrum["checkpoint"]
    assert (line["diff"], line["ci_low"], line["verdict"]) == (row["diff"], row["ci_low"], row["verdict"])
    for family, part in frame.groupby("family"):  # the difference of skills is a claim of its family
        expected = intervals.holm(part["p"].to_numpy(float, na_value=np.nan))
        assert np.allclose(part["p_holm"].to_numpy(float, na_value=np.nan), expected, equal_nan=True), family
    gap = frame[frame["metric"] == "semantic_lexical_skill_gap"]
    assert set(gap["family"]) == {"lexical"}
    assert set(gap["definition"]) <= {f"semantic_skill − lexical_{one}_skill" for one in ("word_content", "top_word")}
    balance = document["claims"][3]["tasks"][0]["checkpoint"]
    assert balance["verdict"] == gap[gap["pooling"] == "mean"].iloc[0]["verdict"]
    switched = {s["name"]: s["metric"] for s in document["claims"][2]["tasks"][0]["switches"]}
    words = {name for name, metric in switched.items() if metric.startswith("lexical_top_word")}
    assert words == {"token_target=word"}
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is in the test extra")
    jsonschema.validate(json.loads((out / "report.json").read_text(encoding="utf-8")), document_schema())
    lines = (out / "claims.md").read_text(encoding="utf-8").splitlines()
    assert sum(line.startswith("- ") for line in lines) == 5
    assert sum(line.startswith("| ") for line in lines) == 6
    page = (out / "report.html").read_text(encoding="utf-8")
    for claim in CLAIMS:
        assert claim.statement in page
    assert not re.search(r'(src|href)="https?:', page)
    assert (out / "report.pdf").read_bytes().startswith(b"%PDF")

    done = CliRunner().invoke(app, ["report", str(out), "--html"], catch_exceptions=False)
    assert done.exit_code == 0  # again, from audit.json alone
    assert (out / "report.html").read_text(encoding="utf-8") == page

    monkeypatch.setenv("GEOMPROBE_CACHE", str(out / "other"))
    again = json.loads(run(*command, "--json").stdout)
    assert not list(Store().folder.rglob("vectors.npy"))  # nothing was embedded
    assert again["claims"] == document["claims"]
    by_function = gp.audit(checkpoints[::3], ["mrpc"], data_dir=pairs, out=out)  # finished cells are found again
    assert json.loads(json.dumps(by_function["claims"])) == document["claims"]


def test_groups_have_both_levels(checkpoints, pairs, out):
    groups = [f"mlm={','.join(checkpoints[:3])}", f"hybrid={','.join(checkpoints[3:])}"]
    done = run("--group", groups[0], "--group", groups[1], "--task", "mrpc", "--data", str(pairs), "--out", str(out))
    document = json.loads((out / "audit.json").read_text())
    assert document["level"] == "objective"
    for claim in document["claims"]:
        assert set(claim["verdicts"]) == {"checkpoint", "objective"}
        assert claim["verdicts"]["objective"]["sentence"] in " ".join(done.stdout.split("\n"))
    line = document["claims"][0]["tasks"][0]
    assert len(line["switches"]) == 3
    assert line["objective"]["ci_low"] < line["objective"]["diff"] < line["objective"]["ci_high"]
    assert len(line["checkpoints"]) == 3
    assert line["paper"]["method"].startswith("seeds and rows")
    for switch in line["switches"]:
        assert switch["moved_method"].startswith("seeds and rows")
        assert switch["moved_low"] < switch["moved"] < switch["moved_high"]
        of_seeds = [one["moved"] for one in switch["moved_checkpoints"]]
        assert len(of_seeds) == 3
        assert np.mean(of_seeds) == pytest.approx(switch["moved"])


def test_a_choice_that_changes_nothing_moves_exactly_0(checkpoints, pairs, out, monkeypatch):
    from geomprobe.predict_reconstruct import checkpoints as audit

    same = Switch("padding", "visible", ("geometry", "task", "token"), "nothing")
    monkeypatch.setattr(audit, "SWITCHES", (same,))
    run(checkpoints[0], checkpoints[3], "--task", "mrpc", "--data", str(pairs), "--out", str(out))
    for claim in json.loads((out / "audit.json").read_text())["claims"]:
        (line,) = claim["tasks"]
        (switch,) = line["switches"]
        assert switch["moved"] == switch["moved_low"] == switch["moved_high"] == 0
        assert line["largest"] is None


def test_compare_by_the_paper_protocol(checkpoints, pairs, tmp_path):
    words = ["compare", checkpoints[0], checkpoints[3], "--task", "mrpc", "--data", str(pairs), "--out", str(tmp_path)]
    words += ["--protocol", "paper", "--set", "protocol.max_iter=20", "--json"]
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    results = read_results(tmp_path)
    assert results.run["protocol"] == "paper, max_iter=20"
    assert set(results.comparisons["definition"]) == {"paper"}
    uniformity = results.comparisons[results.comparisons["metric"] == "uniformity"].iloc[0]
    assert uniformity["ci_low"] < uniformity["diff"] < uniformity["ci_high"]
    assert results.definitions["alignment"]["formula"].startswith("unweighted mean over classes")
    assert "protocol paper, max_iter=20" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_what_a_claim_needs_to_hold():
    assert status("lower", "lower") == "as claimed"
    assert status("higher", "lower") == "the opposite"
    assert status("lower, but equivalent within the margin", "lower") == "no difference"
    assert status("no difference", "equal") == "as claimed"
    assert status("no clear difference", "equal") == "cannot tell"
    assert status("too few seeds, no verdict", "higher") == "no verdict"
    assert overall(["as claimed", "as claimed"]) == "holds"
    assert overall(["as claimed", "cannot tell"]) == "holds in part"
    assert overall(["as claimed", "the opposite"]) == "mixed"
    assert overall(["no difference", "the opposite"]) == "contradicted"
    assert overall(["no difference", "cannot tell"]) == "not shown"
    assert overall(["no verdict"]) == "no verdict"


def test_published_constants_are_those_of_the_file(data_dir):
    from geomprobe.predict_reconstruct import claims
    from geomprobe.predict_reconstruct.published import read_published

    cells = read_published(data_dir / "paper" / "results_summary.json")
    for values, pooling, name, places in (
        (claims.UNIFORMITY, "mean", "uniformity", 4),
        (claims.EFFECTIVE_RANK, "max", "effective_rank", 1),
        (claims.TOKEN_PROBE, "mean", "token_probe_accuracy", 4),
        (claims.TASK_PROBE, "mean", "semantic_probe_accuracy", 4),
    ):
        for task, (hybrid, mlm) in values.items():
            for model, value in (("hybrid", hybrid), ("mlm", mlm)):
                assert value == pytest.approx(cells[task, model, pooling].numbers[name], abs=0.51 * 10**-places)


def test_choices_are_asked_only_where_they_can_move_anything(data_dir):
    from geomprobe.tasks import load_task

    sst2, mnli = (load_task(name, data_dir=data_dir) for name in ("sst2", "mnli"))
    assert {s.choice for s in SWITCHES if not s.applies(sst2)} == {"rows", "pairs", "uniformity_rows"}
    assert all(s.applies(mnli) for s in SWITCHES)
    assert {s.choice for s in SWITCHES if not s.applies(mnli, limit=500)} == {"rows", "uniformity_rows"}


def test_analyses_of_other_rows_share_clusters(data_dir):
    from geomprobe.predict_reconstruct.checkpoints import clusters_of
    from geomprobe.tasks import load_task

    mnli = load_task("mnli", data_dir=data_dir)
    shared = clusters_of(mnli, None, 0)
    published, separate = shared[2000, "joined"], shared[2000, "separate"]
    for one in (published, separate):  # their rows are some of all rows, and tied as there
        assert len(set(one.common)) == len(one.common) < one.size
    assert set(published.common) == set(separate.common)
    assert set(shared[None, "joined"].common) == set(range(published.size))


@pytest.mark.parametrize("arguments", [[], ["one"], ["a", "b", "--published", "x.json"], ["--group", "a=b"]])
def test_usage(arguments):
    done = CliRunner().invoke(app, ["audit", *arguments])
    assert done.exit_code == 2 or type(done.exception).__name__ == "UsageError"


def test_several_processes_are_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    done = CliRunner().invoke(app, ["audit", "one", "two"])
    assert done.exit_code == 2 or type(done.exception).__name__ == "UsageError"
    assert "torchrun" in f"{done.output} {getattr(done.exception, 'hint', '')}"


def test_names_are_plain_text_in_markdown():
    from geomprobe.reports.pages.claims import claims_page

    sides = {"a|b\n# <i>": [], "m_1": []}
    one = {"task": "sst2", "published": None, "paper": None, "checkpoint": None, "largest": None}
    claims = [{"name": "uniformity", "tasks": [one], "verdicts": {"checkpoint": {"sentence": "s"}}}]
    page = claims_page({"sides": sides, "claims": claims, "level": "checkpoint", "grouped": False})
    assert r"A is a\|b # \<i\>, B is m\_1." in page.splitlines()[2]


def test_an_audit_of_an_earlier_version_is_refused_in_words(tmp_path):
    from geomprobe.common import InputError
    from geomprobe.reports import build_view

    (tmp_path / "audit.json").write_text('{"kind": "audit", "claims": []}')
    with pytest.raises(InputError, match="another version") as refused:
        build_view(tmp_path)
    assert "Run the audit again" in refused.value.hint


def test_a_damaged_audit_is_refused(tmp_path):
    from geomprobe.common import InputError
    from geomprobe.reports import build_view

    (tmp_path / "audit.json").write_text("{")
    with pytest.raises(InputError):
        build_view(tmp_path)
    write_json(tmp_path / "audit.json", {})
    with pytest.raises(InputError):
        build_view(tmp_path)
