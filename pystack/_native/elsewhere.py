"""Where the compiled parts are that a source tree lacks: in the package that is installed.

In a checkout's folder Python finds the source tree first, also right after `pip install .` there.
Its Python then uses the extension that is installed, if that is of the same version and has the
calls that the tree's headers declare.
"""

from __future__ import annotations

import re
import sys
from importlib import import_module
from importlib.machinery import PathFinder
from importlib.metadata import distributions
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

__all__ = ["use_installed"]

_HERE = Path(__file__).resolve().parent  # pystack/_native
_TREE = _HERE.parents[1]
_BINDINGS = _TREE / "bindings"
_EXTENSION = "pystack._native._host"


def use_installed(search: list[str]) -> None:
    """Adds the folder of the extension that is installed to this package's path.

    Args:
        search: The package's `__path__`.

    Raises:
        ImportError: There is none, or of another version; the message says what to do.
    """
    folder = _find()
    _check_version(folder)
    search.append(str(folder))
    try:
        _check_declarations(folder, import_module(_EXTENSION).lib.PS_DECLARATIONS)
    except ImportError:
        sys.modules.pop(_EXTENSION, None)  # so that another attempt gets the message again
        raise


def _find() -> Path:
    for entry in sys.path:
        package = PathFinder.find_spec("pystack", [entry])
        for folder in (package and package.submodule_search_locations) or ():
            native = Path(folder).resolve() / "_native"
            if native != _HERE and PathFinder.find_spec(_EXTENSION, [str(native)]):
                return native
    raise ImportError(
        f"{_TREE} is pystack's source, without compiled parts, and no pystack is installed for "
        f"{sys.executable}: run `{sys.executable} -m pip install .` there, or build in place "
        "(pystack/manual/building.md)",
        name=_EXTENSION,
    ) from None


def _other(folder: Path, why: str) -> ImportError:
    return ImportError(
        f"{_TREE} is pystack's source, {why} installed in {folder.parents[1]}: run "
        f"`{sys.executable} -m pip install .` there again, or start Python elsewhere",
        name=_EXTENSION,
    )


def _check_version(folder: Path) -> None:
    project = _TREE / "pyproject.toml"
    ours = project.exists() and re.search(r'(?m)^version = "(.+)"', project.read_text("utf-8"))
    for installed in distributions(name="pystack-lwip", path=[str(folder.parents[1])]):
        if ours and installed.version != ours[1]:
            raise _other(folder, f"version {ours[1]}, and version {installed.version} is") from None


def _check_declarations(folder: Path, built: int) -> None:
    """Compares what the tree's headers declare with what the extension was made from."""
    spec = spec_from_file_location("pystack_declarations", _BINDINGS / "declarations.py")
    if not _BINDINGS.is_dir() or spec is None or spec.loader is None:
        return
    module = sys.modules[spec.name] = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        ours = module.fingerprint(module.of_extension(_BINDINGS)[0])
    finally:
        del sys.modules[spec.name]
    if ours != built:
        raise _other(
            folder, "whose headers declare other calls than those of the extension"
        ) from None
