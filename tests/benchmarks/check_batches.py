"""Does a device draw the batches of the host bit for bit, a GPU without waiting, and what does a batch take?

python tests/benchmarks/check_batches.py [DEVICE]
"""

import sys
import time

import torch
from random_corpus import random_corpus

from geomprobe.pretrain.config import load_config
from geomprobe.pretrain.data import BatchSource
from geomprobe.pretrain.device_batches import DeviceBatchSource

STEPS = 20


def batches_agree(device: str) -> dict[str, bool | float]:
    """Whether all batches on the device are those of the host, and the milliseconds of a batch of each way."""
    place, corpus = torch.device(device), random_corpus(20_000_000)
    found: dict[str, bool | float] = {"agrees": True}
    for preset, rows in (("small", 32), ("blocks", 32), ("paper", 512)):
        for objective in ("mlm", "hybrid"):
            config = load_config(preset, {"objective": objective, "batch_rows": rows})
            host, drawing = BatchSource(config, corpus), DeviceBatchSource(config, corpus, place)
            sources: dict[str, BatchSource] = {"host": host, "device": drawing}
            if place.type == "cuda":
                sources["compiled"] = DeviceBatchSource(config, corpus, place, compiled=True)
            equal = all(name == "host" or source.reproduces(host) for name, source in sources.items())
            times = {name: milliseconds(source, place) for name, source in sources.items()}
            for step in range(5):
                pairs = zip(drawing.batch(step, 0), host.batch(step, 0, device=place), strict=True)
                equal &= all(a is b is None or torch.equal(a, b) for a, b in pairs)
            clock, said = "wall" if place.type == "cuda" else "CPU", ", ".join(f"{k} {v:.2f}" for k, v in times.items())
            print(f"{preset}, {rows} rows, {objective}: equal {equal}; ms of {clock} time a batch: {said}")
            found |= {f"ms_{preset}_{objective}_{name}": value for name, value in times.items()}
            found["agrees"] &= equal
    return found


def milliseconds(source: BatchSource, device: torch.device) -> float:
    """Return the milliseconds that a batch takes, the order of the rows left out; on a GPU a wait is an error."""
    source.batch(0, 0, device=device)
    gpu = device.type == "cuda"
    clock = time.perf_counter if gpu else time.process_time
    if gpu:
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("error" if isinstance(source, DeviceBatchSource) else "default")
    begun = clock()
    try:
        for step in range(1, STEPS + 1):
            source.batch(step, 0, device=device)
    finally:
        if gpu:
            torch.cuda.set_sync_debug_mode("default")
            torch.cuda.synchronize()
    return 1e3 * (clock() - begun) / STEPS


if __name__ == "__main__":
    sys.exit(not batches_agree(sys.argv[1] if len(sys.argv) > 1 else "cuda")["agrees"])
