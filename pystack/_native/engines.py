"""Where the compiled engines are: in the package, or built here and kept in the cache."""

from __future__ import annotations

import errno
import hashlib
import os
import platform
import re
from functools import cache
from pathlib import Path

import pystack._native._host as _host  # noqa: PLR0402 - not by the package, which imports this
from pystack._native.values import near, text

__all__ = [
    "BUILT_HERE",
    "ENGINES",
    "PACKAGE",
    "SUFFIXES",
    "built_libraries",
    "built_path",
    "cache_folder",
    "default_engine",
    "engine_path",
    "source_folder",
    "source_key",
]

# Of the package that was built: a source tree may use another's compiled parts (elsewhere.py).
PACKAGE = Path(_host.__file__).resolve().parents[1]
ENGINES = PACKAGE / "_native" / "engines"

# The variable that names more folders to look in, before the cache; separated as in PATH.
FOLDERS_VARIABLE = "PYSTACK_ENGINES"

# The variable that names the default engine.
DEFAULT_VARIABLE = "PYSTACK_ENGINE"

# Engines that aren't shipped as binaries, and what builds each.
BUILT_HERE = {
    "gvisor": "pystack engine build gvisor",
    "linux": "pystack engine build linux",
}
# Several releases of these can be built side by side, each a separate engine such as
# "linux-6.12"; the bare name is the newest of them.
_BY_SERIES = {"linux"}
_SERIES = re.compile(r"(?P<engine>[a-z]+)-(?P<series>\d+\.\d+)")

SUFFIXES = (".so", ".dylib", ".dll")


def cache_folder() -> Path:
    """Where pystack keeps what it can fetch or build again."""
    # It imports compression and randomness, which lwIP alone needn't wait for.
    from platformdirs import user_cache_path  # noqa: PLC0415

    return Path(user_cache_path("pystack", appauthor=False))


def _parts(name: str) -> tuple[str, str | None]:
    """An engine's name without the series of its release, and that; None: it names none."""
    found = _SERIES.fullmatch(text(name, "an engine", "lwip"))
    if found and found["engine"] in _BY_SERIES:
        return found["engine"], found["series"]
    return name, None


def source_folder(name: str) -> Path:
    """Our own source of an engine that is built on the user's machine, with its headers."""
    return ENGINES / f"{_parts(name)[0]}-src"


@cache
def source_key(name: str, *folders: str) -> str:
    """A hash of that source; a library built from another is ignored. Read once a process.

    Args:
        name: The engine.
        folders: Only of what lies in these.
    """
    digest = hashlib.sha256()
    root = source_folder(name)
    for start in [root / folder for folder in folders] or [root]:
        for path in sorted(start.rglob("*")):
            if path.is_file():
                digest.update(f"{path.relative_to(root)}\0{path.stat().st_size}\0".encode())
                digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _tail(name: str, machine: str | None = None) -> str:
    return f"-{source_key(name)}-{machine or platform.machine().lower()}.so"


def built_path(name: str, machine: str | None = None) -> Path:
    """Where the library of an engine belongs that was built on this machine, built or not.

    Args:
        name: The engine.
        machine: Which it was built for, if not for this one.
    """
    return cache_folder() / "engines" / f"{name}{_tail(name, machine)}"


def built_libraries(engine: str) -> dict[str, Path]:
    """The libraries of an engine that were built from our present source, by their names.

    Those of several releases come in the order of these, the newest last.
    """
    tail = _tail(engine)
    found = {
        path.name.removesuffix(tail): path
        for path in (cache_folder() / "engines").glob(f"{engine}*{tail}")
    }

    def age(name: str) -> list[int]:
        series = _parts(name)[1]
        return [] if series is None else [int(number) for number in series.split(".")]

    mine = [name for name in found if _parts(name)[0] == engine]
    return {name: found[name] for name in sorted(mine, key=age)}


def default_engine() -> str:
    """The engine of a Stack that names none."""
    return os.environ.get(DEFAULT_VARIABLE) or "lwip"


def engine_path(name: str) -> Path:
    """The file of a compiled engine.

    Raises:
        ValueError: There is no such engine.
        OSError: ENOENT, build it first; the message says how.
    """
    extra = os.environ.get(FOLDERS_VARIABLE, "").split(os.pathsep)
    for folder in [ENGINES, *(Path(each) for each in extra if each)]:
        for suffix in SUFFIXES:
            path = folder / f"{name}{suffix}"
            if path.exists():
                return path
    engine, series = _parts(name)
    if engine in BUILT_HERE and source_folder(engine).is_dir():
        built = built_libraries(engine)
        if built and series is None:
            return list(built.values())[-1]
        if name in built:
            return built[name]
        how = BUILT_HERE[engine] + (f" --version {series}" if series else "")
        raise OSError(
            errno.ENOENT, f"the engine {name!r} has not been built on this machine: {how}"
        )
    known = {path.stem for path in ENGINES.glob("*.*") if path.suffix in SUFFIXES} | {
        each for each in BUILT_HERE if source_folder(each).is_dir()
    }
    raise ValueError(
        f"no engine {name!r} in this build of pystack; there is {', '.join(sorted(known))}"
        f"{near(name, known)}"
    )
