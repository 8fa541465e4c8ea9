"""What other packages add by entry points: metrics, tasks and poolings. They are read once, at first use."""

from __future__ import annotations

import contextlib
import functools
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

from geomprobe.common.errors import GeomprobeError, InputError, UsageError, first_line, unknown_name

T = TypeVar("T")


@dataclass(frozen=True)
class Owner:
    """Who a thing comes from: a distribution and its version."""

    package: str
    version: str = ""

    def __str__(self) -> str:
        return f"{self.package} {self.version}".rstrip()


GEOMPROBE = Owner("geomprobe")


class Extensible(Mapping[str, T]):
    """Things by name: the built-in ones, those of other packages, those registered in this process.

    As a mapping it holds what can be used. A plug-in that cannot be used is left out, and a warning names it.

    Parameters
    ----------
    kind : {"metric", "task", "pooling"}
        Entry points are those of the group ``geomprobe.<kind>s``.
    built_in : mapping of str to T
    accept : callable (name, loaded, owner) -> T
        Makes the thing that is used from the object that an entry point loads; raises any error where it is wrong.
    reserved : iterable of str
        Names that geomprobe uses elsewhere: no plug-in can have one.
    """

    def __init__(
        self,
        kind: str,
        built_in: Mapping[str, T],
        accept: Callable[[str, Any, Owner], T],
        reserved: Iterable[str] = (),
    ):
        self.kind, self.built_in, self._accept = kind, dict(built_in), accept
        self._reserved = {*built_in, *reserved}
        self._registered: dict[str, tuple[T, Owner]] = {}
        self._loaded: dict[str, T | str] = {}  # a text says why it cannot be used

    @functools.cached_property
    def _points(self) -> dict[str, list[tuple[EntryPoint, Owner]]]:
        found: dict[str, list[tuple[EntryPoint, Owner]]] = {}
        for point in entry_points(group=f"geomprobe.{self.kind}s"):
            assert point.dist is not None
            found.setdefault(point.name, []).append((point, Owner(point.dist.name, point.dist.version)))
        return found

    @property
    def names(self) -> list[str]:
        """All names that are taken, also by plug-ins that cannot be used. No plug-in is loaded."""
        return list(dict.fromkeys([*self.built_in, *self._points, *self._registered]))

    def owner(self, name: str) -> Owner:
        """Who a name belongs to."""
        if name in self._registered:
            return self._registered[name][1]
        return GEOMPROBE if name in self._reserved or name not in self._points else self._points[name][0][1]

    @property
    def registered(self) -> list[str]:
        """Names of what was registered in this process, which others do not have."""
        return list(self._registered)

    def added(self, names: Iterable[str]) -> list[dict[str, str]]:
        """Kind, name, package and version of each plug-in among the names, JSON-ready."""
        owners = {name: self.owner(name) for name in names}
        return [{"kind": self.kind, "name": name} | asdict(by) for name, by in owners.items() if by != GEOMPROBE]

    def versions(self, names: Iterable[str]) -> list[str]:
        """Name, package and version of each plug-in among the names, as a part of the keys of what is kept."""
        return [" ".join(entry.values()) for entry in self.added(names)]

    def register(self, name: str, thing: T, owner: Owner, *, replace: bool = False) -> None:
        """Add a thing in this process; raises UsageError where its name is taken.

        With `replace` it takes the place of one that was registered in this process.
        """
        free = name not in self._reserved and name not in self.names
        taken = "" if free or (replace and name in self._registered) else f"{self.owner(name)} has one of this name"
        if reason := taken or _misnamed(self.kind, name):
            raise UsageError(f"The {self.kind} {name!r} of {owner.package} is refused: {reason}.", "Rename it.")
        self._registered[name] = thing, owner

    def choose(self, name: str) -> T:
        """Thing of a name; raises UsageError where it is unknown or its plug-in cannot be used, and says why."""
        if name in self:
            return self[name]
        if name in self._points:
            raise UsageError(self._problem(name), "geomprobe doctor lists all plug-ins. Upgrade or uninstall it.")
        raise unknown_name(self.kind, name, list(self))

    def plugins(self) -> list[tuple[str, Owner, str]]:
        """Name and owner of every plug-in, and why it cannot be used ("": it can). All plug-ins are loaded."""
        return [(name, owner, self._problem(name)) for name, points in self._points.items() for _, owner in points]

    def __getitem__(self, name: str) -> T:
        if name in self.built_in:
            return self.built_in[name]
        if name in self._registered:
            return self._registered[name][0]
        if name not in self._points or self._problem(name):
            raise KeyError(name)
        return self._loaded[name]  # type: ignore[return-value]

    def __iter__(self) -> Iterator[str]:
        for problem in filter(None, map(self._problem, self._points)):
            warnings.warn(problem, stacklevel=1)  # Python shows the same one once
        usable = [name for name in self._points if not self._problem(name)]
        return iter([*self.built_in, *usable, *self._registered])

    def __len__(self) -> int:
        return len(list(iter(self)))

    def _problem(self, name: str) -> str:
        """Why the plug-in of a name cannot be used, "" where it can; it is loaded the first time."""
        if name not in self._loaded:
            self._loaded[name] = self._load(name)
        found = self._loaded[name]
        return found if isinstance(found, str) else ""

    def _load(self, name: str) -> T | str:
        (point, owner), *others = self._points[name]
        refused = f"the {self.kind} {name!r} of {owner} ({point.group}: {point.value}) is refused: "
        if name in self._reserved or others:
            return f"{refused}{others[0][1] if others else GEOMPROBE} has one of this name"
        if reason := _misnamed(self.kind, name):
            return refused + reason
        try:
            with contextlib.redirect_stdout(sys.stderr):  # stdout is for results
                loaded = point.load()
            return self._accept(name, loaded, owner)
        except (Exception, SystemExit) as error:  # whatever another package does at its import
            return f"{refused}{type(error).__name__}: {first_line(error)}"


def _misnamed(kind: str, name: str) -> str:
    dots = "" if kind == "task" else "."  # a task with dots would be a file
    allowed = "letters, digits, _, - and dots" if dots else "letters, digits, _ and -"
    return "" if re.fullmatch(rf"\w[\w{dots}-]*", name) else f"a name is of {allowed}"


def guarded(function: Any, what: str, wrong: Callable[..., str]) -> Callable[..., Any]:
    """A function of another package, whose errors and wrong results are errors that name it.

    Parameters
    ----------
    function : callable
        Raises TypeError where it is none.
    what : str
        Name and owner.
    wrong : callable (result, *arguments) -> str
        What it gave instead of what it should; "" where nothing is wrong.
    """
    if not callable(function):
        raise TypeError(f"it is of type {type(function).__name__}, not a function")

    def call(*given: Any) -> Any:
        try:
            made = function(*given)
            if fault := wrong(made, *given):
                raise TypeError(f"it gave {fault}")
        except GeomprobeError:
            raise
        except Exception as error:  # whatever another package raises
            raise InputError(f"The {what} failed: {type(error).__name__}: {first_line(error)}") from None
        return made

    return call
