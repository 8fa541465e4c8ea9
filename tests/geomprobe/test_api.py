"""The names of the package: functions whatever was imported before, and nothing heavy before they are asked for."""

from __future__ import annotations

import subprocess
import sys

import pytest

import geomprobe as gp

FUNCTIONS = ["load_encoder", "embed", "measure", "Moments", "compare", "analyze", "read_results", "write_report"]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_names_are_functions_after_every_module_was_imported(name):
    import geomprobe.analysis.analyze
    import geomprobe.comparison.table
    import geomprobe.embedding.embed
    import geomprobe.metrics  # noqa: F401

    assert callable(getattr(gp, name))
    assert name in dir(gp)


def test_unknown_name():
    with pytest.raises(AttributeError, match="meassure"):
        gp.meassure  # noqa: B018


def test_import_is_light():
    code = "import geomprobe, sys; print(sorted({'numpy', 'torch', 'pandas', 'sklearn', 'typer'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("arguments", [["--help"], ["pretrain", "--help"], ["analyze", "--help"], ["--version"]])
def test_the_command_line_imports_nothing_heavy(arguments):
    """Help answers at once because it imports little; how long it takes, tests/benchmarks/bench_commands.py says."""
    heavy = {"numpy", "torch", "pandas", "matplotlib", "scipy", "sklearn", "transformers", "pyarrow", "datasets"}
    code = (
        f"import atexit, sys; atexit.register(lambda: print('heavy:', sorted({heavy} & set(sys.modules))));"
        "from geomprobe.__main__ import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "heavy: []"
