"""The types of options' values: an impossible value is refused before anything runs."""

from __future__ import annotations

import ipaddress
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from pystack._native.engines import engine_path
from pystack.interface import gateways, with_prefix
from pystack.nic.capture import capture_format
from pystack.nic.parse import opener

__all__ = [
    "ADDRESS",
    "CAPTURE",
    "ENGINE",
    "GATEWAY",
    "NAMESERVER",
    "NIC",
    "NOT_NEGATIVE",
    "OUTPUT",
    "PER_CENT",
    "UPSTREAM",
    "Number",
]


class _Text(click.types.StringParamType):
    """A text as it was given, which a function has understood; its ValueError says why not."""

    def __init__(self, name: str, understand: Callable[[str], object]) -> None:
        self.name = name
        self._understand = understand

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = str(super().convert(value, param, ctx))
        try:
            self._understand(text)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return text


class _Output(click.Path):
    """A file to write."""

    def __init__(self, understand: Callable[[Path], object] = lambda _path: None) -> None:
        super().__init__(dir_okay=False, writable=True, path_type=Path)
        self._understand = understand

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        try:
            self._understand(path)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if not path.exists() and not path.parent.is_dir():
            self.fail(f"{path}: there is no folder {path.parent}", param, ctx)
        if not path.exists() and not os.access(path.parent, os.W_OK):
            self.fail(f"{path}: {path.parent} is not this user's to write in", param, ctx)
        return path


class Number(click.FloatRange):
    """A number in a range, perhaps infinite; not "nan", which every range lets pass."""

    wanted = "a number"

    def may_be(self, number: float) -> bool:
        """Whether a number in the range is one."""
        return not math.isnan(number)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """See `click.ParamType.convert`."""
        number = super().convert(value, param, ctx)
        if not self.may_be(number):
            self.fail(f"{value} is not {self.wanted}", param, ctx)
        return number


class _Finite(Number):
    wanted = "a finite number"

    def may_be(self, number: float) -> bool:
        return math.isfinite(number)


def _address(text: str) -> None:
    try:
        ipaddress.ip_interface(text)
    except ValueError:
        raise ValueError(
            f"{text!r} is not an address with its prefix length, such as 10.0.0.2/24 or fd00::2/64"
        ) from None
    with_prefix(text)


def _nameserver(text: str) -> None:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        raise ValueError(f"name server {text!r} is not an IP address, such as 10.0.0.1") from None


def _upstream(text: str) -> None:
    from pystack.embed.proxy import parse_upstream  # noqa: PLC0415 - two commands need asyncio

    parse_upstream(text)


ADDRESS = _Text("address", _address)
CAPTURE = _Output(capture_format)
ENGINE = _Text("engine", engine_path)
GATEWAY = _Text("address", gateways)
NAMESERVER = _Text("address", _nameserver)
NIC = _Text("wire", opener)
NOT_NEGATIVE = _Finite(0)
OUTPUT = _Output()
PER_CENT = _Finite(0, 100)
UPSTREAM = _Text("upstream", _upstream)
