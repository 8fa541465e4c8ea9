"""Execute the notebooks of this folder and store their outputs: python docs/notebooks/execute.py [NAME.ipynb ...]

A notebook runs in a folder of its own, with the cache in it, and finds the kept results in ../gallery.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from unittest.mock import patch

import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).resolve().parent
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def executed(path: Path) -> nbformat.NotebookNode:
    """A notebook with fresh outputs, without what differs from run to run: times, versions, ids."""
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "notebooks"
        place.mkdir()
        (place.parent / "gallery").symlink_to(HERE.parent / "gallery")
        environment = {
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
            "GEOMPROBE_CACHE": str(Path(folder) / "cache"),
            "IPYTHONDIR": str(Path(folder) / "ipython"),
            "HF_HUB_OFFLINE": "1",
            "PYTHONWARNINGS": "ignore:IProgress",  # tqdm asks for widgets, and names a path
            "TQDM_DISABLE": "1",
            "JUPYTER_PREFER_ENV_PATH": "1",
        }
        with patch.dict(os.environ, environment):
            client = NotebookClient(
                notebook, kernel_name="python3", resources={"metadata": {"path": str(place)}},
                timeout=600, record_timing=False, coalesce_streams=True,
            )  # fmt: skip
            client.execute()
    notebook.metadata = METADATA
    for number, cell in enumerate(notebook.cells):
        cell.id, cell.metadata = f"cell-{number}", {}
    return notebook


if __name__ == "__main__":
    for path in [HERE / name for name in sys.argv[1:]] or sorted(HERE.glob("*.ipynb")):
        nbformat.write(executed(path), path)
        print(path.name)
