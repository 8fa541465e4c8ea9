"""The mergeable state that most metrics are functions of: moments of a cloud of vectors and of their directions."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from geomprobe.common import InputError, atomic_path, hash_bytes, machine_bytes, refuse_beyond_memory
from geomprobe.vectors import NonFiniteError, VectorSource, full_precision, gram

SKETCH_SIZE = 2**16
LARGEST = 1e70  # beyond it fourth powers leave the range of float64
_ARRAYS = ("mean", "scatter", "cubic", "sphere_mean", "sphere_scatter", "minimum", "maximum")
_OTHERS = ("scalars", "counts", "hashes", "copies")
_SCALARS = ("quartic", "norm_sum", "norm_scatter", "eps", "work_eps")


class Moments:
    """Moments of N vectors in D dimensions, to be updated block by block and merged.

    Write y = x − mean and z = x/‖x‖; all sums run over the rows. Blocks are multiplied in the precision of the input,
    at least float32, around a mean of their own, and accumulated in float64; states merge by the rule of
    Chan, Golub & LeVeque (1983), so that neither order nor an unlucky first block matters.

    Parameters
    ----------
    precision : {"input", "float64"}
        "float64" multiplies in float64 whatever the input's precision is.
    directions : bool
        Whether to keep the moments of the directions, which cost as much as the moments of the vectors; without them
        n_directions stays 0 and sphere_mean and sphere_scatter stay empty.

    Attributes
    ----------
    n, d : int
        Rows seen and their dimension (0 before the first row).
    mean : float64 ndarray of shape (d,)
    scatter : float64 ndarray of shape (d, d)
        Σ y yᵀ.
    cubic : float64 ndarray of shape (d,)
        Σ ‖y‖² y.
    quartic : float
        Σ ‖y‖⁴.
    n_directions : int
        Rows that are not zero, for only these have a direction.
    sphere_mean, sphere_scatter : float64 ndarray of shape (d,) and (d, d)
        z̄, the mean direction, and Σ (z − z̄)(z − z̄)ᵀ.
    norm_sum, norm_scatter : float
        Σ ‖x‖ and Σ (‖x‖ − mean ‖x‖)².
    minimum, maximum : float64 ndarray of shape (d,)
        Extremes of each coordinate.
    eps, work_eps : float
        Rounding unit of the coarsest input and of the coarsest precision that was multiplied in.

    Notes
    -----
    Memory O(D²), time O(ND²). Rows with NaN or infinity are refused by `NonFiniteError` (a ValueError) with their
    numbers, and leave the state as it was.

    Examples
    --------
    >>> import numpy as np
    >>> import geomprobe as gp
    >>> Z = np.random.default_rng(0).normal(size=(500, 8))
    >>> state = gp.Moments().update(Z[:200]).merge(gp.Moments().update(Z[200:]))
    >>> state
    Moments(n=500, d=8)
    >>> bool(np.allclose(state.mean, Z.mean(axis=0)))
    True
    """

    def __init__(self, precision: str = "input", directions: bool = True):
        if precision not in ("input", "float64"):
            raise ValueError(f"precision must be 'input' or 'float64', not {precision!r}")
        self.precision, self.directions = precision, directions
        self.n = self.d = self.n_directions = 0
        self.mean = self.cubic = self.sphere_mean = self.minimum = self.maximum = np.zeros(0)
        self.scatter = self.sphere_scatter = np.zeros((0, 0))
        self.quartic = self.norm_sum = self.norm_scatter = 0.0
        self.eps = self.work_eps = float(np.finfo(np.float64).eps)
        self._hashes = np.zeros(0, np.uint64)
        self._copies = np.zeros(0, np.int64)

    def __repr__(self) -> str:
        return f"Moments(n={self.n}, d={self.d})"

    @property
    def covariance(self) -> np.ndarray:
        """The covariance matrix Σ with 1/N, float64 of shape (d, d)."""
        return self.scatter / self.n

    @property
    def second_moment(self) -> np.ndarray:
        """(1/N) Σ x xᵀ, uncentred, float64 of shape (d, d)."""
        return self.covariance + np.outer(self.mean, self.mean)

    @property
    def duplicate_share(self) -> float:
        """Share of rows that repeat an earlier row, by a 64-bit hash.

        Exact up to 65,536 different rows; beyond, estimated from the rows with the smallest hashes, which are a
        uniform sample of the different rows.
        """
        return float(1 - len(self._copies) / self._copies.sum()) if len(self._copies) else 0.0

    def update(self, block: Any) -> Moments:
        """Add rows and return self.

        Parameters
        ----------
        block : array-like of shape (rows, d)
            numpy or torch, any float type, any device; integers are read as float64.

        Raises
        ------
        InputError
            Where the state of so many dimensions needs more memory than there is (see `state_bytes`).
        ValueError
            Where rows are not finite (with their numbers, counted from the first row that the state ever saw), the
            dimension differs from earlier rows, or magnitudes lie beyond 1e70 (or all below 1e-70).
        """
        rows = block if isinstance(block, VectorSource) else VectorSource(block)
        if self.n and rows.d != self.d:
            raise ValueError(f"rows have {rows.d} dimensions, earlier rows had {self.d}")
        if not self.n:
            check_memory(rows.d, self.directions)
        fresh = Moments(self.precision, self.directions)
        with full_precision():
            for start, part in rows.blocks():
                part = part.double() if self.precision == "float64" else part
                fresh._absorb(_block_moments(part, self.n + start, rows.eps, self.directions))
        self._absorb(fresh)
        return self

    def merge(self, other: Moments) -> Moments:
        """State of both sets of rows together; neither operand changes."""
        if self.n and other.n and self.d != other.d:
            raise ValueError(f"states have {self.d} and {other.d} dimensions")
        if self.n and other.n and self.directions != other.directions:
            raise ValueError("only one of the states holds moments of the directions")
        merged = Moments(self.precision, self.directions)
        merged._absorb(self)
        merged._absorb(other)
        return merged

    def _absorb(self, other: Moments) -> None:
        """Add another state in place (Chan's rule; the third and fourth moments are shifted to the common mean)."""
        if other.n == 0:
            return
        if self.n == 0:
            copied = {name: v.copy() if isinstance(v, np.ndarray) else v for name, v in vars(other).items()}
            self.__dict__ = copied | {"precision": self.precision}
            return
        n = self.n + other.n
        delta = other.mean - self.mean
        cubic_a, quartic_a = _shifted(self, -delta * (other.n / n))
        cubic_b, quartic_b = _shifted(other, delta * (self.n / n))
        self.cubic, self.quartic = cubic_a + cubic_b, quartic_a + quartic_b
        self.mean = _merge_scatter((self.scatter, self.mean, self.n), (other.scatter, other.mean, other.n))
        if other.n_directions:
            self.sphere_mean = _merge_scatter(
                (self.sphere_scatter, self.sphere_mean, self.n_directions),
                (other.sphere_scatter, other.sphere_mean, other.n_directions),
            )
        norm_delta = other.norm_sum / other.n - self.norm_sum / self.n
        self.norm_scatter += other.norm_scatter + norm_delta**2 * (self.n * other.n / n)
        self.norm_sum += other.norm_sum
        self.n = n
        self.n_directions += other.n_directions
        self.minimum = np.minimum(self.minimum, other.minimum)
        self.maximum = np.maximum(self.maximum, other.maximum)
        self.eps, self.work_eps = max(self.eps, other.eps), max(self.work_eps, other.work_eps)
        self._hashes, self._copies = _merge_sketches(self._hashes, self._copies, other._hashes, other._copies)

    def save(self, path: str | os.PathLike) -> None:
        """Write the state atomically as safetensors, with the hash of its content."""
        from safetensors.numpy import save_file

        arrays = {name: np.ascontiguousarray(getattr(self, name)) for name in _ARRAYS}
        arrays["scalars"] = np.array([getattr(self, name) for name in _SCALARS])
        arrays["counts"] = np.array([self.n, self.d, self.n_directions], np.int64)
        arrays["hashes"], arrays["copies"] = self._hashes, self._copies
        meta = {"format": "geomprobe.moments", "version": "1", "precision": self.precision}
        with atomic_path(path) as temporary:
            save_file(arrays, temporary, meta | {"sha256": _content_hash(arrays, self.precision)})

    @classmethod
    def load(cls, path: str | os.PathLike) -> Moments:
        """Read a state written by `save`; raises InputError where the file is missing, damaged or something else."""
        from safetensors import safe_open

        try:
            with safe_open(path, framework="numpy") as file:
                meta = file.metadata() or {}
                if (meta.get("format"), meta.get("version")) != ("geomprobe.moments", "1"):
                    hint = "Moments().update(...).save(path) writes such a file."
                    raise InputError(f"{path} holds no moments.", hint)
                arrays = {name: file.get_tensor(name) for name in (*_ARRAYS, *_OTHERS)}
            state = cls(meta["precision"])
            # files of the first versions have no hash
            if meta.get("sha256", digest := _content_hash(arrays, state.precision)) != digest:
                raise ValueError("its content is not what was written")
            scalars = zip(_SCALARS, map(float, arrays["scalars"]), strict=True)
            vars(state).update({name: arrays[name] for name in _ARRAYS} | dict(scalars))
            state.n, state.d, state.n_directions = (int(count) for count in arrays["counts"])
            state.directions = len(state.sphere_mean) == state.d
            state._hashes, state._copies = arrays["hashes"], arrays["copies"]
            _check_state(state)
        except InputError:
            raise
        except Exception as error:  # a missing file, a cut file, a wrong header: for the reader they mean one thing
            hint = "Write it again with --save-moments."
            raise InputError(f"{path} cannot be read as moments: {error}", hint) from None
        return state


def _content_hash(arrays: Mapping[str, np.ndarray], precision: str) -> str:
    parts: list[str | memoryview] = [precision]
    for name, array in sorted(arrays.items()):
        parts += [f"{name} {array.dtype} {array.shape}", np.ascontiguousarray(array).reshape(-1).view(np.uint8).data]
    return hash_bytes(*parts)


def _check_state(state: Moments) -> None:
    """Raise ValueError for arrays and counts that no rows can give."""
    of_directions = state.d if state.directions else 0
    for name in _ARRAYS:
        d = of_directions if name.startswith("sphere") else state.d
        array, shape = getattr(state, name), (d, d) if name.endswith("scatter") else (d,)
        if array.dtype != np.float64 or array.shape != shape:
            raise ValueError(f"{name} is {array.dtype} of shape {array.shape}, expected float64 of shape {shape}")
        if not np.isfinite(array).all():
            raise ValueError(f"{name} holds NaN or infinity")
    if not all(math.isfinite(getattr(state, name)) for name in _SCALARS):
        raise ValueError(f"{', '.join(_SCALARS)} must be finite")
    if not 0 <= state.n_directions <= state.n or (state.n == 0) != (state.d == 0):
        raise ValueError(f"counts of {state.n} rows, {state.d} dimensions, {state.n_directions} directions")
    hashes, copies = state._hashes, state._copies
    if hashes.dtype != np.uint64 or copies.dtype != np.int64 or not len(hashes) == len(copies) <= SKETCH_SIZE:
        raise ValueError("the hashes of its rows have another type or length")
    if (hashes[1:] <= hashes[:-1]).any() or (copies < 1).any() or not min(state.n, 1) <= copies.sum() <= state.n:
        raise ValueError("the hashes of its rows are not in order, or do not count its rows")


def state_bytes(d: int, directions: bool = True) -> int:
    """Bytes that a state of d dimensions needs at least: its d × d matrices and the matrices of a block."""
    return 2 * 8 * d**2 * (2 if directions else 1)


def check_memory(d: int, directions: bool = True, limit: int | None = None) -> None:
    """Raise InputError where a state of d dimensions needs more than `limit` bytes (default: what the machine has)."""
    limit = machine_bytes() if limit is None else limit
    fits = math.isqrt((limit or 0) // state_bytes(1, directions))
    hint = f"Measure fewer dimensions, at most {fits:,}: every metric is taken from the D × D moments."
    refuse_beyond_memory(state_bytes(d, directions), f"The moments of {d:,} dimensions", hint, limit)


def _shifted(state: Moments, shift: np.ndarray) -> tuple[np.ndarray, float]:
    """Return Σ‖y+e‖²(y+e) and Σ‖y+e‖⁴ for the shift e, given Σy = 0."""
    pulled = state.scatter @ shift
    trace, square = float(np.trace(state.scatter)), float(shift @ shift)
    cubic = state.cubic + trace * shift + 2 * pulled + state.n * square * shift
    quartic = (
        state.quartic
        + 4 * float(shift @ pulled)
        + state.n * square**2
        + 4 * float(shift @ state.cubic)
        + 2 * square * trace
    )
    return cubic, quartic


def _block_moments(x: torch.Tensor, first_row: int, eps: float, directions: bool) -> Moments:
    """State of one block of shape (rows, d), float32 or float64; the block is not written to."""
    low, high = x.amin(0), x.amax(0)
    largest = float(torch.maximum(-low.min(), high.max()))
    if not np.isfinite(largest) or not bool(torch.isfinite(low).all()):
        bad = torch.nonzero(~torch.isfinite(x).all(1)).flatten()
        raise NonFiniteError([first_row + int(row) for row in bad])
    if largest > LARGEST or 0 < largest < 1 / LARGEST:
        raise ValueError(f"magnitudes of {largest:.0e} are out of range (1e-70 to 1e70): rescale the vectors")
    # Squares of float32 overflow at 1e19: compute in units of a power of two, which rounds nothing.
    unit = 2.0 ** np.floor(np.log2(largest)) if largest and not 1e-6 < largest < 1e6 else 1.0
    hashes = row_hashes(x)
    x = x if unit == 1.0 else x / unit
    n, d = x.shape

    y, pilot, around_pilot, shift = _around_mean(x)
    square = torch.linalg.vector_norm(y, dim=1) ** 2
    cubic = (square @ y).double().cpu().numpy()
    quartic = float(square.double() @ square.double())
    length, trace = float(shift @ shift), float(np.trace(around_pilot))
    pulled = around_pilot @ shift

    norms = torch.linalg.vector_norm(x, dim=1)
    state = Moments(directions=directions)
    state.n, state.d = n, d
    state.mean = unit * (pilot - shift)
    state.scatter = unit**2 * (around_pilot - n * np.outer(shift, shift))
    # Σ‖y+e‖²(y+e) and Σ‖y+e‖⁴ for the shift e from pilot to mean, expanded with Σy = −n·e
    state.cubic = unit**3 * (cubic + 2 * pulled + trace * shift - 2 * n * length * shift)
    state.quartic = unit**4 * (
        quartic + 4 * float(shift @ pulled) - 3 * n * length**2 + 4 * float(shift @ cubic) + 2 * length * trace
    )
    if directions:
        has_direction = norms > 0
        state.n_directions = count = int(has_direction.sum())
        state.sphere_mean, state.sphere_scatter = np.zeros(d), np.zeros((d, d))
        if count:
            z = torch.div(x, norms[:, None], out=y)
            _, pilot, around_pilot, shift = _around_mean(z if count == n else z[has_direction])
            state.sphere_mean = pilot - shift
            state.sphere_scatter = around_pilot - count * np.outer(shift, shift)
    norms = norms.double()
    state.norm_sum = unit * float(norms.sum())
    state.norm_scatter = unit**2 * float(((norms - norms.mean()) ** 2).sum())
    state.minimum, state.maximum = low.double().cpu().numpy(), high.double().cpu().numpy()
    state.eps, state.work_eps = eps, float(torch.finfo(x.dtype).eps)
    state._hashes, state._copies = _sketch(*np.unique(hashes, return_counts=True))
    return state


def _around_mean(x: torch.Tensor) -> tuple[torch.Tensor, np.ndarray, np.ndarray, np.ndarray]:
    """Y = x − pilot, the pilot (about the mean), Σ y yᵀ, and the shift from the mean to the pilot.

    The mean is pilot − shift. Starting from a row rather than from zero makes equal rows give exactly zero.
    """
    y = x - x[0]
    pilot = x[0] + y.mean(0)
    torch.sub(x, pilot, out=y)
    shift = -y.sum(0).double() / len(x)  # small against the spread, so its rounding is, too
    return y, pilot.double().cpu().numpy(), gram(y).cpu().numpy(), shift.cpu().numpy()


def _merge_scatter(a: tuple[np.ndarray, np.ndarray, int], b: tuple[np.ndarray, np.ndarray, int]) -> np.ndarray:
    """Add the scatter of b (scatter, mean, rows) to a's in place by Chan's rule, and return the common mean."""
    (scatter_a, mean_a, n_a), (scatter_b, mean_b, n_b) = a, b
    delta = mean_b - mean_a
    scatter_a += scatter_b
    scatter_a += np.outer(delta * (n_a * n_b / (n_a + n_b)), delta)
    return mean_a + delta * (n_b / (n_a + n_b))


def row_hashes(x: torch.Tensor) -> np.ndarray:
    """A 64-bit hash of each row of a float32 or float64 block, uint64 of shape (rows,)."""
    array = np.ascontiguousarray(x.cpu().numpy())
    if array.itemsize == 4 and array.shape[1] % 2:
        array = np.pad(array, ((0, 0), (0, 1)))
    words = array.view(np.uint64)
    weights = np.random.default_rng(words.shape[1]).integers(0, 2**63, words.shape[1], dtype=np.uint64) * 2 + 1
    mixed = np.empty(len(words), np.uint64)
    step = max(1, 2**16 // words.shape[1])
    for start in range(0, len(words), step):  # in pieces that stay in cache
        part = words[start : start + step] >> np.uint64(32)
        part ^= words[start : start + step]
        part *= weights
        part.sum(1, dtype=np.uint64, out=mixed[start : start + step])
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):  # splitmix64
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return mixed ^ (mixed >> np.uint64(31))


def _sketch(hashes: np.ndarray, copies: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return hashes[:SKETCH_SIZE], copies[:SKETCH_SIZE].astype(np.int64)


def _merge_sketches(
    hashes_a: np.ndarray, copies_a: np.ndarray, hashes_b: np.ndarray, copies_b: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Smallest different hashes of two sketches (each sorted) with how often each occurred."""
    if len(hashes_a) == SKETCH_SIZE:
        keep = hashes_b <= hashes_a[-1]
        hashes_b, copies_b = hashes_b[keep], copies_b[keep]
        if not len(hashes_b):
            return hashes_a, copies_a
    hashes, where = np.unique(np.concatenate([hashes_a, hashes_b]), return_inverse=True)
    copies = np.bincount(where, np.concatenate([copies_a, copies_b])).astype(np.int64)
    return _sketch(hashes, copies)
