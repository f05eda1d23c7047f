"""The part of a socket that is written in C (bindings/python/transfer.c).

It is a separate module in the same library as `_host`, whose functions it calls.
"""

from __future__ import annotations

from importlib.machinery import ExtensionFileLoader
from importlib.util import module_from_spec, spec_from_loader
from typing import TYPE_CHECKING

from pystack._native._host import __file__ as library

__all__ = ["Transfer"]


def _load() -> type:
    name = "pystack._native._transfer"
    loader = ExtensionFileLoader(name, library)
    spec = spec_from_loader(name, loader)
    if spec is None:
        raise ImportError(f"{library} has no {name}")
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module.Transfer  # type: ignore[no-any-return]


if TYPE_CHECKING:
    from pystack._native._transfer import Transfer
else:
    Transfer = _load()
