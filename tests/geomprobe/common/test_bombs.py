"""Small files that unpack to more than the memory are refused by name, whatever reads them."""

from __future__ import annotations

import bz2
import gzip
import lzma

import pyarrow as pa
import pytest

from geomprobe.common import InputError
from geomprobe.common import files as common_files
from geomprobe.tasks.files import content
from geomprobe.tasks.files.tables import read_table

PACKED = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": lambda data: pa.Codec("zstd").compress(data, asbytes=True),
}


@pytest.mark.parametrize("ending", ["csv", *PACKED])
def test_a_task_file_beyond_the_memory(ending, tmp_path, monkeypatch):
    table = b"text,label\n" + b"a cat,1\n" * 200
    path = tmp_path / f"t.csv.{ending}"
    path.write_bytes(PACKED.get(ending, bytes)(table))
    assert content.read_content(path) == (table, None)
    monkeypatch.setattr(content, "machine_bytes", lambda: content.COPIES * (len(table) - 1))
    with pytest.raises(InputError, match=r"t\.csv\..* too much for this machine"):
        read_table(path)


def test_a_line_beyond_the_memory(tmp_path, monkeypatch):
    from geomprobe.pretrain.corpus.sources import open_source
    from geomprobe.vectors import read_files
    from geomprobe.vectors.vector_file import ReadOptions

    monkeypatch.setattr(common_files, "LONGEST_LINE", 1000)
    fine, long = (tmp_path / name for name in ("fine.txt.gz", "long.txt.gz"))
    fine.write_bytes(gzip.compress(b"0.5 1.5 2.5\n" * 500))
    long.write_bytes(gzip.compress(b"0.5 1.5 2.5\n" * 5 + b"1" * 5000))
    read_files([fine], ReadOptions())
    assert len(list(open_source(str(fine), "lines").read(0))) == 500
    with pytest.raises(InputError, match="line 6, is longer than 1,000 characters"):
        read_files([long], ReadOptions())
    with pytest.raises(InputError, match="line 6, is longer than 1,000 characters"):
        list(open_source(str(long), "lines").read(0))
