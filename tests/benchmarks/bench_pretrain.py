"""Speed of the pretrainer.

    python tests/benchmarks/bench_pretrain.py --preset paper --out bench.json

measures tokens/s, the share of the matmul peak measured in the same run, data wait and peak memory, for `mlm` and
`hybrid`, uncompiled and compiled, and for `transformers.Trainer` doing MLM with the same model, batch and precision.
Every case runs in a process of its own. `--clock cpu` counts processor seconds instead of wall seconds, for a machine
that is busy with other things; use it with `--threads 1`, and say so beside the figures.

`--fill-cache` measures nothing: it compiles the compiled cases, all at the same time, into the cache of torch.compile
(TORCHINDUCTOR_CACHE_DIR), where the benchmark and trainings of these sizes find them. Of an objective with target
blocks (presets `blocks`, `paper-faithful`) that is one of four shapes; the others compile while it warms up.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from figures import machine
from loky import cpu_count

SELF = Path(__file__).resolve()
VOCABULARY = 30522


def synthetic_corpus(folder: Path) -> str:
    """Return a corpus folder of random ids in a vocabulary of BERT's size; speed does not depend on what is read."""
    import numpy as np
    from tokenizers import Tokenizer, models

    from geomprobe.common import hash_file, write_json
    from geomprobe.pretrain.corpus.shards import fingerprint
    from geomprobe.pretrain.corpus.tokenizer import SPECIAL_TOKENS, wrap_tokenizer

    vocabulary = {
        name: number for number, name in enumerate([*SPECIAL_TOKENS, *(f"w{i}" for i in range(VOCABULARY - 5))])
    }
    wrap_tokenizer(Tokenizer(models.WordPiece(vocab=vocabulary, unk_token="[UNK]"))).save_pretrained(folder)
    random_ = np.random.default_rng(0)
    chunk: dict[str, Any] = {"number": 0, "files": {}}
    counts = {"train": 2_000_000, "heldout": 50_000}
    for split, tokens in counts.items():
        for kind, array in (
            ("ids", random_.integers(5, VOCABULARY, tokens).astype(np.uint16)),
            ("starts", np.array([0], dtype=np.uint64)),
        ):
            file = folder / f"{split}-00000.{kind}.npy"
            np.save(file, array)
            chunk["files"][file.name] = hash_file(file)
        chunk[split] = {"tokens": tokens, "documents": 1}
    info = {"source": "random ids", "tokenizer": "random ids", "vocab_size": VOCABULARY, "duplicates": 0}
    info |= {"special": {"pad": 0, "cls": 2, "sep": 3, "mask": 4}, "unigram_entropy": math.log(VOCABULARY - 5)}
    info |= {"documents": dict.fromkeys(counts, 1), "tokens": counts, "chunks": [chunk]}
    write_json(folder / "corpus.json", info | {"fingerprint": fingerprint([chunk])})
    return str(folder)


def measure_case(args: argparse.Namespace) -> dict[str, Any]:
    """Return the speed of one case, measured in this process."""
    import torch

    from geomprobe.pretrain import budget
    from geomprobe.pretrain.corpus import open_corpus
    from geomprobe.pretrain.device import keep_memory, peak_memory

    keep_memory()
    if args.threads:
        torch.set_num_threads(args.threads)
    clock = time.process_time if args.clock == "cpu" else time.perf_counter
    corpus, config = open_corpus(args.corpus), case_config(args)
    device = torch.device(config.device)
    step = trainer_steps(config, corpus, device) if args.case == "mlm-trainer" else own_steps(config, corpus, device)
    begun = time.perf_counter()
    for _ in range(args.warmup):
        next(step)
    warm = time.perf_counter() - begun
    peak = matmul_peak(device, torch.bfloat16 if config.precision == "bf16" else torch.float32, clock)
    seconds = []
    for _ in range(args.steps):
        synchronize(device)
        begun = clock()
        waited = next(step)
        synchronize(device)
        seconds.append((clock() - begun, waited))
    middle, waited = sorted(seconds)[len(seconds) // 2]
    tokens = config.batch_rows * config.row_length
    flops = budget.step_flops(config, corpus.vocab_size)["total"]
    return {
        "case": args.case,
        "tokens_per_s": tokens / middle,
        "step_s": middle,
        "fastest_step_s": min(seconds)[0],
        "flops_per_step": flops,
        "peak_flops": peak,
        "share_of_peak": flops / middle / peak,
        "data_wait": waited / middle,
        "peak_memory_gb": (peak_memory() or math.nan) / 1e9,
        "warm_up_s": warm,
        "precision": config.precision,
        "rows": config.batch_rows,
    }


def compile_case(args: argparse.Namespace) -> str:
    """Compile a case in this process; say how long it took, and what the cache already held."""
    import torch
    from torch._dynamo.utils import counters

    from geomprobe.pretrain.corpus import open_corpus
    from geomprobe.pretrain.data import BatchSource
    from geomprobe.pretrain.device import compile_forward
    from geomprobe.pretrain.objectives import build_objective

    begun = time.perf_counter()
    corpus, config = open_corpus(args.corpus), case_config(args)
    device = torch.device(config.device)
    objective = build_objective(config, corpus).to(device)
    warnings: list[str] = []
    batch = BatchSource(config, corpus).batch(0, 0, device=device)
    compile_forward(config, objective, warnings.append, batch)
    if warnings:
        raise SystemExit(warnings[0])
    seen = {name: counters["inductor"][f"fxgraph_cache_{name}"] for name in ("hit", "miss")}
    return f"{time.perf_counter() - begun:.0f} s, graphs found {seen['hit']}, compiled {seen['miss']}"


def case_config(args: argparse.Namespace) -> Any:
    """Return the settled configuration of a case."""
    from geomprobe.pretrain.config import load_config
    from geomprobe.pretrain.device import settle
    from geomprobe.pretrain.distributed import Processes

    objective, _, how = args.case.partition("-")
    flags = {"objective": "mlm" if how == "trainer" else objective, "compile": "yes" if how == "compiled" else "no"}
    flags |= {"batch_rows": args.rows or None, "corpus": args.corpus, "device": args.device}
    flags |= {"precision": args.precision}
    return settle(load_config(args.preset, flags), Processes())


def matmul_peak(device: Any, dtype: Any, clock: Callable[[], float]) -> float:
    """Return the machine's matmul peak in FLOP/s: the best square product, median of 5.

    Of 1,024 to 4,096; on a GPU also 8,192, for one of 4,096 takes it 0.2 ms and the launch counts.
    """
    import torch

    best = 0.0
    for n in (1024, 2048, 4096, *([8192] if device.type == "cuda" else [])):
        a, b = (torch.randn(n, n, device=device).to(dtype) for _ in range(2))
        a @ b
        seconds = []
        for _ in range(5):
            synchronize(device)
            begun = clock()
            a @ b
            synchronize(device)
            seconds.append(clock() - begun)
        best = max(best, 2 * n**3 / sorted(seconds)[2])
    return best


def synchronize(device: Any) -> None:
    """Wait for a GPU."""
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize()


def own_steps(config: Any, corpus: Any, device: Any) -> Any:
    """Yield after every step of the package's own loop the seconds that it waited for data."""
    from geomprobe.pretrain.device import compile_forward
    from geomprobe.pretrain.device_batches import batch_source
    from geomprobe.pretrain.distributed import Processes
    from geomprobe.pretrain.loop import waited
    from geomprobe.pretrain.objectives import build_objective
    from geomprobe.pretrain.optimizer import make_optimizer
    from geomprobe.pretrain.progress import Averages
    from geomprobe.pretrain.step import Step, find_recorder

    objective = build_objective(config, corpus).to(device)
    optimizer = make_optimizer(config, objective, device)
    data = batch_source(config, corpus, device, lambda text: print(text, file=sys.stderr))
    warnings: list[str] = []
    forward = compile_forward(config, objective, warnings.append, data.batch(0, 0, device=device))
    if warnings:
        raise SystemExit(warnings[0])
    recorder = find_recorder(config, objective, forward, device)
    warn = partial(print, file=sys.stderr)
    take = Step(config, objective, forward, optimizer, 10**6, device, recorder, warn)
    mean = Averages()
    with data.ahead(0, 10**9, Processes(), device) as batches:
        for step in itertools.count():
            mean.waited = 0.0
            rows = partial(data.batch, step, 0, device=device)
            take(step % 10**6, waited(batches, config.accumulation, mean), rows)
            yield mean.waited


def trainer_steps(config: Any, corpus: Any, device: Any) -> Any:
    """Yield after every step that `transformers.Trainer` takes, with its own collator and the same model and rows."""
    import threading

    import numpy as np
    import torch
    from transformers import DataCollatorForLanguageModeling, Trainer, TrainerCallback, TrainingArguments

    from geomprobe.pretrain.corpus.tokenizer import load_tokenizer
    from geomprobe.pretrain.encoder import build_encoder

    go, done = threading.Semaphore(0), threading.Semaphore(0)

    class Pace(TrainerCallback):
        def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
            go.acquire()

        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            done.release()

    class Data(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return corpus.n_rows("train", config.row_length)

        def __getitem__(self, index: int) -> dict[str, Any]:
            return {"input_ids": torch.from_numpy(corpus.rows("train", np.array([index]), config.row_length)[0])}

    arguments = TrainingArguments(
        output_dir=tempfile.mkdtemp(),
        per_device_train_batch_size=config.batch_rows,
        max_steps=10**6,
        bf16=config.precision == "bf16",
        use_cpu=device.type == "cpu",
        report_to=[],
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
    )
    collator = DataCollatorForLanguageModeling(load_tokenizer(str(corpus.path)), mlm_probability=config.mask_fraction)
    model = build_encoder(config, corpus.vocab_size, corpus.special)
    trainer = Trainer(model, arguments, data_collator=collator, train_dataset=Data(), callbacks=[Pace()])
    errors: list[BaseException] = []

    def work() -> None:
        try:
            trainer.train()
        except BaseException as error:
            errors.append(error)
        done.release()

    threading.Thread(target=work, daemon=True).start()
    while True:
        go.release()
        done.acquire()
        if errors:
            raise errors[0]
        yield 0.0


CASES = ["mlm-eager", "mlm-compiled", "hybrid-eager", "hybrid-compiled", "mlm-trainer"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="paper")
    parser.add_argument("--cases", nargs="+", default=CASES, choices=CASES)
    parser.add_argument("--rows", type=int, default=0, help="rows in a batch; 0 takes the preset's")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--warmup", type=int, default=12, help="steps before timing")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto", choices=["auto", "bf16", "fp32"])
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--fill-cache", action="store_true", help="only compile, all cases at the same time")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    parser.add_argument("--only-compile", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--corpus", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.case:
        try:
            print(compile_case(args) if args.only_compile else json.dumps(measure_case(args)), flush=True)
        except BaseException as error:
            reason = str(error).strip().partition("\n")[0]
            print(f"{type(error).__name__}: {reason}", file=sys.stderr, flush=True)
        os._exit(0)  # the trainer's thread waits for its next step
    from geomprobe.common import write_json

    with tempfile.TemporaryDirectory() as folder:
        args.corpus = synthetic_corpus(Path(folder))
        if args.fill_cache:
            sys.exit(not fill_cache(args))
        results: list[dict[str, Any]] = []
        for case in args.cases:
            results.append(run_case(args, case))
            show(results[-1])
            if args.out:  # after each case, so that a run cut short leaves what it measured
                write_json(args.out, document(args, results))
    for name, ratio in ratios(results).items():
        print(f"{name}: {ratio:.2f}")
    sys.exit(any("failed" in line for line in results))


def case_command(args: argparse.Namespace, case: str) -> list[str]:
    """Return the command that measures one case in a process of its own."""
    command = [sys.executable, str(SELF), "--case", case]
    for name in ("preset", "rows", "steps", "warmup", "threads", "device", "precision", "clock", "corpus"):
        command += [f"--{name}", str(getattr(args, name))]
    return command


def fill_cache(args: argparse.Namespace) -> bool:
    """Compile the compiled cases, each in a process of its own; return whether all did."""
    cases = [case for case in args.cases if case.endswith("-compiled")]
    # Each would otherwise start as many compiling processes as there are cores; the cache's keys leave them out.
    threads = max(2, 2 * cpu_count() // max(1, len(cases)))
    running = [
        subprocess.Popen(
            [*case_command(args, case), "--only-compile"],
            env={**os.environ, "TORCHINDUCTOR_COMPILE_THREADS": str(threads)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for case in cases
    ]
    good = True
    for case, process in zip(cases, running, strict=True):
        out, error = process.communicate()
        good &= bool(out.strip())
        print(f"{case:16}: {(out.strip() or error.strip() or 'no output').splitlines()[-1]}", flush=True)
    return good


def run_case(args: argparse.Namespace, case: str) -> dict[str, Any]:
    """Measure one case in a process of its own; without accelerate the Trainer is left out."""
    if case == "mlm-trainer" and not find_spec("accelerate"):
        return {"case": case, "left out": "transformers.Trainer needs accelerate, which is not installed"}
    done = subprocess.run(case_command(args, case), capture_output=True, text=True)
    with contextlib.suppress(json.JSONDecodeError, IndexError):
        return json.loads(done.stdout.strip().splitlines()[-1])
    return {"case": case, "failed": (done.stderr.strip().splitlines() or ["no output"])[-1]}


def show(line: dict[str, Any]) -> None:
    """Print a line about one case."""
    for what in ("failed", "left out"):
        if what in line:
            print(f"{line['case']:16} {what}: {line[what]}", flush=True)
            return
    print(
        f"{line['case']:16} {line['tokens_per_s']:12,.0f} tokens/s  {line['share_of_peak']:6.1%} of "
        f"{line['peak_flops'] / 1e12:.2f} TFLOP/s  data wait {line['data_wait']:.1%}  {line['peak_memory_gb']:.2f} GB",
        flush=True,
    )


def ratios(results: list[dict[str, Any]]) -> dict[str, float]:
    """Return what a step costs beside another, each kind at its best."""
    done = {line["case"]: line["step_s"] for line in results if "step_s" in line}
    best = {}
    for kind in ("mlm", "hybrid"):
        found = [done[case] for case in (f"{kind}-eager", f"{kind}-compiled") if case in done]
        if found:
            best[kind] = min(found)
    out = {}
    if len(best) == 2:
        out["hybrid step / mlm step"] = best["hybrid"] / best["mlm"]
    if "mlm" in best and "mlm-trainer" in done:
        out["mlm / transformers.Trainer"] = done["mlm-trainer"] / best["mlm"]
    return out


def document(args: argparse.Namespace, results: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the results with all that they depend on."""
    import torch

    return {
        "command": " ".join(sys.argv),
        "clock": args.clock,
        "machine": machine(args.device),
        "threads": args.threads or torch.get_num_threads(),
        "results": results,
        "ratios": ratios(results),
    }


if __name__ == "__main__":
    main()
