"""Where the compiled engines are: in the package, or built here and kept in the cache."""

from __future__ import annotations

import errno
import hashlib
import os
import platform
from pathlib import Path

from platformdirs import user_cache_path

__all__ = ["BUILT_HERE", "ENGINES", "built_path", "cache_folder", "engine_path", "source_folder"]

ENGINES = Path(__file__).parent / "engines"

# The variable that names more folders to look in, before the cache; separated as in PATH.
FOLDERS_VARIABLE = "PYSTACK_ENGINES"

# Engines that aren't shipped as binaries, and what builds each.
BUILT_HERE = {"gvisor": "pystack lab setup gvisor"}

_SUFFIXES = (".so", ".dylib", ".dll")


def cache_folder() -> Path:
    """Where pystack keeps what it can bring or build again."""
    return Path(user_cache_path("pystack", appauthor=False))


def source_folder(name: str) -> Path:
    """Our own source of an engine that is built on the user's machine, with its headers."""
    return ENGINES / f"{name}-src"


def source_key(name: str) -> str:
    """A hash of that source: a library built from another is not looked at."""
    digest = hashlib.sha256()
    for path in sorted(source_folder(name).iterdir()):
        digest.update(f"{path.name}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def built_path(name: str) -> Path:
    """Where the library of an engine belongs that was built on this machine, built or not."""
    machine = platform.machine().lower()
    return cache_folder() / "engines" / f"{name}-{source_key(name)}-{machine}.so"


def engine_path(name: str) -> Path:
    """The file of a compiled engine.

    Raises:
        ValueError: There is no such engine.
        OSError: ENOENT, it has to be built first; the message says how.
    """
    extra = os.environ.get(FOLDERS_VARIABLE, "").split(os.pathsep)
    for folder in [ENGINES, *(Path(each) for each in extra if each)]:
        for suffix in _SUFFIXES:
            path = folder / f"{name}{suffix}"
            if path.exists():
                return path
    if name in BUILT_HERE and source_folder(name).is_dir():
        path = built_path(name)
        if path.exists():
            return path
        raise OSError(
            errno.ENOENT,
            f"the engine {name!r} has not been built on this machine: {BUILT_HERE[name]}",
        )
    known = {path.stem for path in ENGINES.glob("*.*") if path.suffix in _SUFFIXES} | {
        each for each in BUILT_HERE if source_folder(each).is_dir()
    }
    raise ValueError(
        f"no engine {name!r} in this build of pystack; there is {', '.join(sorted(known))}"
    )
