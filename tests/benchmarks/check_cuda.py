"""Does the pretrainer do on a GPU what it does on a CPU? Losses, gradients and a short run, compared."""

import sys
import tempfile
from dataclasses import replace

import torch

from pretrain import trainer
from pretrain.budget import read_run
from pretrain.config import load_config
from pretrain.corpus import open_corpus


def main() -> None:
    corpus = open_corpus(sys.argv[1])
    failures = 0
    for objective in ("mlm", "jepa", "hybrid"):
        config = load_config("demo", {"objective": objective, "corpus": sys.argv[1], "precision": "fp32"})
        results = []
        for name in ("cpu", "cuda"):
            device = torch.device(name)
            made = trainer.build_objective(replace(config, device=name), corpus).to(device)
            losses = made(trainer.Rows(config, corpus).batch(0, 0, device=device))
            losses["loss"].backward()
            norm = torch.stack([p.grad.norm().cpu() for p in made.parameters() if p.grad is not None]).norm()
            results.append([losses[key].item() for key in sorted(losses)] + [norm.item()])
        worst = max(abs(a - b) / max(abs(a), 1e-9) for a, b in zip(*results, strict=True))
        failures += worst > 1e-3
        print(f"{objective}: largest relative difference of losses and gradient norm between CPU and CUDA {worst:.1e}")
    for compile_ in ("no", "yes"):
        with tempfile.TemporaryDirectory() as folder:
            flags = {
                "objective": "hybrid",
                "corpus": sys.argv[1],
                "device": "cuda",
                "compile": compile_,
                "out": f"{folder}/run",
            }
            records: list[dict] = []
            out = trainer.train(load_config("demo", flags | {"budget": "60-steps"}), progress=records.append)
            final = read_run(out)["final"]
            found = [record["warning"] for record in records if "warning" in record]
            failures += bool(found)
            print(f"hybrid, 60 steps, compile={compile_}: held-out MLM loss {final['held_out_mlm']:.4f}", *found)
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
