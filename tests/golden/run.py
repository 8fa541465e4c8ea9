"""Run golden cases into a folder, in a process of its own: `python tests/golden/run.py OUT [CASE…]`."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path

PINNED = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "OPENBLAS_CORETYPE": "Haswell",
    "MKL_CBWR": "COMPATIBLE",
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "PYTHONHASHSEED": "0",
    "COLUMNS": "120",
}
"""One thread, and the code paths that every x86-64 processor with AVX2 has: sums are added in the same order there."""
LIBRARIES = ("numpy", "scipy", "scikit-learn", "torch", "transformers", "tokenizers", "pandas", "pyarrow")


def run(out: Path, names: list[str] = [], **environment: str) -> None:  # noqa: B006
    """Run cases in a process with the pinned environment; raises CalledProcessError where one cannot be run."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("GEOMPROBE_", "WORLD_", "MKL_"))}
    with tempfile.TemporaryDirectory(prefix="golden-") as scratch:
        own = {"GEOMPROBE_CACHE": f"{scratch}/cache", "HOME": scratch, "MPLCONFIGDIR": f"{scratch}/matplotlib"}
        subprocess.run(
            [sys.executable, __file__, str(out.resolve()), *names],
            cwd=scratch,
            env=kept | PINNED | own | environment,
            check=True,
            stdout=sys.stderr,
        )


def fingerprint() -> dict[str, str]:
    """Return what decides the last bits: versions, processor, and the kernels that were chosen on it."""
    import numpy as np
    import scipy.linalg  # noqa: F401 (loads its BLAS)
    import torch
    from threadpoolctl import threadpool_info

    found = {name: metadata.version(name) for name in LIBRARIES}
    found["python"] = platform.python_version()
    found["libc"] = " ".join(platform.libc_ver())
    found["processor"] = processor()
    found["torch kernels"] = torch.backends.cpu.get_cpu_capability()
    blas = {f"{each['internal_api']} {each['version']} {each.get('architecture')}" for each in threadpool_info()
            if each["user_api"] == "blas"}  # fmt: skip
    found["blas kernels"] = ", ".join(sorted(blas))
    simd = np.show_config(mode="dicts")["SIMD Extensions"]  # type: ignore[call-overload, index]
    found["numpy kernels"] = " ".join(simd.get("found", []))
    return found


def processor() -> str:
    """Return the processor's vendor, family and model, which tell more than its name on a virtual machine."""
    try:
        lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    found = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    return " ".join(found.get(key, "?") for key in ("vendor_id", "cpu family", "model", "model name"))


def main() -> None:
    """Write the inputs, run the cases, write what they froze."""
    import warnings

    import torch

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    from cases import names, run_case
    from inputs import write_inputs

    out, scratch = Path(sys.argv[1]), Path.cwd()
    write_inputs(scratch / "inputs")
    os.chdir(scratch / "inputs")
    for name in sys.argv[2:] or names():
        start = time.process_time()
        folder = scratch / "out" / name
        folder.parent.mkdir(exist_ok=True)
        if name not in ("reread",):
            folder.mkdir()
        for file, text in run_case(name, folder).files().items():
            if text:
                (out / name / file).parent.mkdir(parents=True, exist_ok=True)
                (out / name / file).write_text(text, encoding="utf-8")
        print(f"{name}: {time.process_time() - start:.1f} s", file=sys.stderr, flush=True)
    (out / "environment.json").write_text(json.dumps(fingerprint(), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
