"""The device of a run: which one, in which precision, compiled or not."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Callable
from dataclasses import replace

import torch

from geomprobe.common import UsageError, cache_dir, first_line
from geomprobe.pretrain.config import PretrainConfig
from geomprobe.pretrain.distributed import Processes
from geomprobe.pretrain.objectives.base import Batch, Objective


def settle(config: PretrainConfig, processes: Processes) -> PretrainConfig:
    """Configuration with every "auto" decided, so that run.json says what was done."""
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    device = next(name for name in available if available[name]) if config.device == "auto" else config.device
    if not available[device]:
        raise UsageError(f"This machine has no {device} device.", "Use --device cpu")
    if config.batch_rows % (config.accumulation * processes.world):
        raise UsageError(
            f"batch_rows={config.batch_rows} cannot be shared by {processes.world} processes.", "Use a multiple."
        )
    precision = config.precision
    if precision == "auto":
        precision = "bf16" if bf16_is_faster(device) else "fp32"
    compile_ = config.compile if config.compile != "auto" else "yes" if device == "cuda" else "no"
    return replace(config, device=device, precision=precision, compile=compile_)


def keep_memory() -> None:
    """Make glibc keep freed blocks: each large tensor is otherwise mapped and zeroed anew, a quarter of a step."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # another C library
            libc = ctypes.CDLL("libc.so.6")
            libc.mallopt(-4, 0)  # M_MMAP_MAX
            libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD


def bf16_is_faster(device: str) -> bool:
    """Whether the device multiplies bf16 matrices faster than float32 ones; decided by its kind, not by a clock.

    AMD's processors run the AVX-512 instruction at twice the rate of float32, Intel's at half of it (measured, see
    docs/explanation/benchmarks.md); Intel's gain comes from AMX. A rule, so that all ranks and a resumed run agree.
    """
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device != "cpu":
        return False
    has = {name: getattr(torch.cpu, f"_is_{name}_supported", bool)() for name in ("amx_tile", "avx512_bf16")}
    return has["amx_tile"] or (has["avx512_bf16"] and "AuthenticAMD" in processor_description())


def processor_description() -> str:
    """Linux's description of the first processors, "" elsewhere."""
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as file:
        return file.read(4096)
    return ""


def autocast(config: PretrainConfig, device: torch.device) -> torch.autocast:
    """Autocast context of a run; weights and optimizer stay in float32."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=config.precision == "bf16")


def compile_forward(
    config: PretrainConfig, objective: Objective, warn: Callable[[str], None], batch: Batch
) -> torch.nn.Module:
    """Compile the objective in place where that was chosen and works; without a compiler it runs as it is.

    On a CPU attention becomes plain matrix products, which the compiler fuses; the fused kernel's backward is slower.
    """
    if config.compile != "yes":
        return objective
    if config.device == "cpu":
        for body in filter(None, (objective.model, objective.target, objective.predictor and objective.predictor.body)):
            body.config._attn_implementation = "eager"
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache_dir() / "compiled"))  # the next run finds its kernels
    objective.compile(fullgraph=True, dynamic=False)
    try:
        with autocast(config, batch.ids.device):
            objective(batch)["loss"].backward()
    except Exception as error:  # what a compiler can raise has no common class
        warn(f"compilation failed, running uncompiled: {first_line(error)}")
        objective._compiled_call_impl = None
    objective.zero_grad(set_to_none=True)
    return objective


def peak_memory() -> float | None:
    """Largest memory of the process so far in bytes, the GPU's where there is one; None where unknown."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    try:
        import resource
    except ImportError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
