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


def main() -> None:
    device = torch.device(sys.argv[1] if len(sys.argv) > 1 else "cuda")
    corpus = random_corpus(20_000_000)
    good = True
    for preset, rows in (("small", 32), ("blocks", 32), ("paper", 512)):
        for objective in ("mlm", "hybrid"):
            config = load_config(preset, {"objective": objective, "batch_rows": rows})
            host, drawing = BatchSource(config, corpus), DeviceBatchSource(config, corpus, device)
            sources = [("host", host), ("device", drawing)]
            if device.type == "cuda":
                sources.append(("compiled", DeviceBatchSource(config, corpus, device, compiled=True)))
            equal, times = True, []
            for name, source in sources:
                equal &= name == "host" or source.reproduces(host)
                times.append(f"{name} {milliseconds(source, device):.2f}")
            for step in range(5):
                pairs = zip(drawing.batch(step, 0), host.batch(step, 0, device=device), strict=True)
                equal &= all(a is b is None or torch.equal(a, b) for a, b in pairs)
            clock = "wall" if device.type == "cuda" else "CPU"
            print(f"{preset}, {rows} rows, {objective}: equal {equal}; ms of {clock} time a batch: {', '.join(times)}")
            good &= equal
    sys.exit(not good)


def milliseconds(source: BatchSource, device: torch.device) -> float:
    """Return the milliseconds that a batch takes, the order of the rows left out; on a GPU a wait is an error."""
    source.batch(0, 0, device=device)
    gpu = device.type == "cuda"
    clock = time.perf_counter if gpu else time.process_time
    if gpu:
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("error" if isinstance(source, DeviceBatchSource) else "default")
    begun = clock()
    for step in range(1, STEPS + 1):
        source.batch(step, 0, device=device)
    if gpu:
        torch.cuda.set_sync_debug_mode("default")
        torch.cuda.synchronize()
    return 1e3 * (clock() - begun) / STEPS


if __name__ == "__main__":
    main()
