"""The modules that are in the same library as `_host`, whose functions they call.

Those are written for Python's own API (bindings/python), not for cffi.
"""

from __future__ import annotations

from importlib.machinery import ExtensionFileLoader
from importlib.util import module_from_spec, spec_from_loader
from types import ModuleType

from pystack._native._host import __file__ as library

__all__ = ["load"]


def load(name: str) -> ModuleType:
    """One of them.

    Raises:
        ImportError: There is none of this name.
    """
    loader = ExtensionFileLoader(name, library)
    spec = spec_from_loader(name, loader)
    if spec is None:
        raise ImportError(f"{library} has no {name}")
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module
