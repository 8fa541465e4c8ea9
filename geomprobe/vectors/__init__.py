"""Vectors in memory or in files as one thing: the rows of a matrix, checked once and read in blocks."""

from geomprobe.vectors.files import joined, open_vectors, read_files
from geomprobe.vectors.in_memory import as_matrix
from geomprobe.vectors.products import GRAM_ROWS, TILE, full_precision, gram, unit_rows
from geomprobe.vectors.shards import Shards
from geomprobe.vectors.vector_file import ReadOptions, VectorFile
from geomprobe.vectors.vector_source import NonFiniteError, VectorSource, block_rows

__all__ = [
    "GRAM_ROWS",
    "TILE",
    "NonFiniteError",
    "ReadOptions",
    "Shards",
    "VectorFile",
    "VectorSource",
    "as_matrix",
    "block_rows",
    "full_precision",
    "gram",
    "joined",
    "open_vectors",
    "read_files",
    "unit_rows",
]
