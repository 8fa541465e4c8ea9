"""The encoder of every N steps stays in a folder of its own, and the training is the same with and without."""

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
