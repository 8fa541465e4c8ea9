"""The encoder of every N steps stays in a folder of its own, and the training is the same with and without."""

import json

import torch
from transformers import AutoModelForMaskedLM

from geomprobe.encoders.checkpoints import find_series
from geomprobe.pretrain.loop import train


def test_every_kept_checkpoint_is_a_model_and_changes_nothing(tiny, tmp_path):
    kept = train(tiny(objective="mlm", checkpoint_every=4, out=str(tmp_path / "kept")))
    plain = train(tiny(objective="mlm", out=str(tmp_path / "plain")))
    weights = [AutoModelForMaskedLM.from_pretrained(folder).state_dict() for folder in (kept, plain)]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
    last = AutoModelForMaskedLM.from_pretrained(kept / "checkpoint-12").state_dict()
    assert all(torch.equal(value, last[name]) for name, value in weights[0].items())
    first = AutoModelForMaskedLM.from_pretrained(kept / "checkpoint-4").state_dict()
    assert not all(torch.equal(value, last[name]) for name, value in first.items())
    (found,) = find_series([kept])
    assert [each.step for each in found.checkpoints] == [4, 8, 12]
    assert "checkpoint-*/" in (kept / ".gitignore").read_text()
    assert not list(plain.glob("checkpoint-*"))


def test_the_card_of_a_kept_checkpoint_says_its_step_and_the_step_of_its_losses(tiny):
    out = train(tiny(objective="mlm", checkpoint_every=3, save_every="12"))
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [4, 8, 12]
    cards = [(out / f"checkpoint-{step}" / "README.md").read_text(encoding="utf-8") for step in (3, 6, 12)]
    assert ["This is step" in card for card in cards] == [True, True, False]
    assert "| none yet |" in cards[0]
    assert "# run/checkpoint-6\n" in cards[1]
    assert "This is step 6 of 12." in cards[1]
    assert f"| MLM loss | {lines[0]['mlm']:.2f} |" in cards[1]
    assert "These losses are of step 4," in cards[1]
    assert "These losses are of" not in cards[0] + cards[2]
    assert f"| held-out MLM loss | {lines[2]['held_out_mlm']:.2f} |" in cards[2]
