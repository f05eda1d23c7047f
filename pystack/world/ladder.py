"""Drawings of a World: frames between hosts as a ladder, and hosts with their links."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape

from pystack.world.host import Host
from pystack.world.link import Link
from pystack.world.switch import Switch
from pystack.world.trace import Frame, Note, Record, SocketEvent, Trace

__all__ = ["diagram", "diagram_svg", "ladder", "ladder_svg"]

_TIME, _WIDTH = 13, 46
_SVG_COLUMN, _SVG_ROW, _SVG_TOP = 320, 26, 50


def _columns(trace: Trace, hosts: Sequence[str] | None) -> list[str]:
    found = dict.fromkeys(name for one in trace.frames for name in (one.sender, one.taker))
    return list(found) if hosts is None else list(hosts)


def _is_in(one: Record, columns: Sequence[str]) -> bool:
    if isinstance(one, SocketEvent):
        return one.host in columns
    return isinstance(one, Note) or {one.sender, one.taker} <= {*columns}


def _chosen(trace: Trace, columns: Sequence[str], last: int | None) -> list[Record]:
    kept = [one for one in trace if _is_in(one, columns)]
    return kept if last is None else kept[-last:] if last > 0 else []


class _Words:
    """Frames in words, with TCP's numbers counted from where they begin."""

    def __init__(self, trace: Trace) -> None:
        self._begins: dict[tuple[str, str, tuple[int, int]], int] = {}
        for one in trace.frames:
            packet = one.packet
            if packet.protocol == "tcp":
                key = (packet.source, packet.target, packet.ports)
                if "SYN" in packet.text:
                    self._begins[key] = packet.sequence
                self._begins.setdefault(key, packet.sequence)

    def of(self, one: Frame) -> str:
        packet = one.packet
        here = self._begins.get((packet.source, packet.target, packet.ports), 0)
        there = self._begins.get((packet.target, packet.source, packet.ports[::-1]), 0)
        return packet.told(here, there)


def _arrow(one: Frame, columns: Sequence[str], words: _Words) -> str:
    here, there = columns.index(one.sender), columns.index(one.taker)
    row = list(" " * (_WIDTH * (len(columns) - 1) + 1))
    for place in range(len(columns)):
        row[place * _WIDTH] = "|"
    low, high = sorted((here * _WIDTH, there * _WIDTH))
    inside = high - low - 1
    label = f" {words.of(one)} "[: inside - 4]
    left = (inside - len(label)) // 2
    line = list("-" * left + label + "-" * (inside - left - len(label)))
    place, head = (inside - 1, ">") if there > here else (0, "<")
    line[place] = "X" if one.dropped else head
    row[low + 1 : high] = line
    return "".join(row)


def _at_column(one: SocketEvent, columns: Sequence[str]) -> str:
    """An event beside its host's line, at whose place is a "*"."""
    row = list(" " * (_WIDTH * (len(columns) - 1) + 1))
    for place in range(len(columns)):
        row[place * _WIDTH] = "|"
    here = columns.index(one.host) * _WIDTH
    is_last = here > 0 and here == len(row) - 1
    label, row[here] = one.told[: _WIDTH - 4], "*"
    start = here - len(label) - 1 if is_last else here + 2
    row[start : start + len(label)] = label
    return "".join(row).rstrip()


def ladder(trace: Trace, hosts: Sequence[str] | None = None, last: int | None = None) -> str:
    """The frames as arrows between columns, events of sockets beside theirs, a line each.

    An X in the place of an arrow's head: it never arrives, and the end of the line says why. Else
    there is how long it travelled, where that is more than nothing.

    Args:
        trace: Of a World.
        hosts: The columns; frames of others are left out. None: all, in order of appearance.
        last: Only the last so many.
    """
    columns = _columns(trace, hosts)
    head = " " * _TIME + "".join(name.ljust(_WIDTH) for name in columns)
    lines, words = [head.rstrip()], _Words(trace)
    for one in _chosen(trace, columns, last):
        if isinstance(one, Note):
            lines.append(f"{one.at:11.6f}  ~~ {one.text}")
            continue
        if isinstance(one, SocketEvent):
            lines.append(f"{one.at:11.6f}  {_at_column(one, columns)}")
            continue
        took = max(one.arrivals, default=one.at) - one.at
        told = [one.what_happened] if one.what_happened else []
        told += [f"+{took * 1e3:g} ms"] if took > 0 else []
        lines.append(f"{one.at:11.6f}  {_arrow(one, columns, words)}  {', '.join(told)}".rstrip())
    return "\n".join(lines)


def _svg(width: float, height: float, parts: Iterable[str]) -> str:
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
            'font-family="monospace" font-size="12">',
            *parts,
            "</svg>\n",
        ]
    )


def _line(x1: float, y1: float, x2: float, y2: float, colour: str = "black") -> str:
    return f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}" stroke="{colour}"/>'


def _text(x: float, y: float, text: str, anchor: str = "middle", colour: str = "black") -> str:
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" fill="{colour}">{escape(text)}</text>'


def ladder_svg(trace: Trace, hosts: Sequence[str] | None = None, last: int | None = None) -> str:
    """As `ladder`, as an SVG: what is lost is red."""
    columns = _columns(trace, hosts)
    rows, words = _chosen(trace, columns, last), _Words(trace)
    x_of = {name: 110 + number * _SVG_COLUMN for number, name in enumerate(columns)}
    height = _SVG_TOP + _SVG_ROW * (len(rows) + 1)
    width = 110 + _SVG_COLUMN * max(1, len(columns) - 1) + 180
    parts = [_text(x, 20, name) for name, x in x_of.items()]
    parts += [_line(x, 30, x, height, "grey") for x in x_of.values()]
    for number, one in enumerate(rows):
        y = _SVG_TOP + number * _SVG_ROW
        parts.append(_text(100, y + 4, f"{one.at:.6f}", "end"))
        if isinstance(one, Note):
            parts.append(_text(120, y + 4, one.text, "start", "blue"))
            continue
        if isinstance(one, SocketEvent):
            x, is_last = x_of[one.host], one.host == columns[-1]
            anchor, aside = ("end", -8) if is_last else ("start", 8)
            parts.append(f'<circle cx="{x:g}" cy="{y:g}" r="3" fill="green"/>')
            parts.append(_text(x + aside, y + 4, one.told, anchor, "green"))
            continue
        start, end = float(x_of[one.sender]), float(x_of[one.taker])
        colour = "red" if one.dropped else "black"
        if one.dropped:
            end = start + (end - start) * 3 / 4
        down = y + (8 if one.arrivals and max(one.arrivals) > one.at else 0)
        back = -7 if end > start else 7
        parts.append(_line(start, y, end, down, colour))
        parts += [_line(end, down, end + back, down + side, colour) for side in (-4, 4)]
        told = f" ({one.what_happened})" if one.what_happened else ""
        middle = (start + x_of[one.taker]) / 2
        parts.append(_text(middle, y - 3, words.of(one) + told, colour=colour))
    return _svg(width, height, parts)


def _conditions(link: Link) -> str:
    there, back = (str(link.conditions(one)) for one in link.ends)
    return there if there == back else f"{there} / {back}"


def diagram(hosts: Iterable[Host | Switch], links: Iterable[Link]) -> str:
    """Each link in a line, and then the hosts without one."""
    lines, linked = [], set()
    for link in links:
        left, right = (one.name for one in link.ends)
        linked |= {one.machine.name for one in link.ends}
        lines.append(f"{left} ---[ {_conditions(link)} ]--- {right}")
    return "\n".join(lines + [one.name for one in hosts if one.name not in linked])


def diagram_svg(hosts: Iterable[Host | Switch], links: Iterable[Link]) -> str:
    """The hosts in a circle, and their links."""
    names = [one.name for one in hosts]
    radius = max(120.0, 45.0 * len(names) / math.pi)
    middle = radius + 90
    place = {
        name: (
            middle - radius * math.cos(2 * math.pi * number / len(names)),
            middle - radius * math.sin(2 * math.pi * number / len(names)),
        )
        for number, name in enumerate(names)
    }
    parts = []
    for link in links:
        (x1, y1), (x2, y2) = (place[one.machine.name] for one in link.ends)
        parts.append(_line(x1, y1, x2, y2))
        parts.append(_text((x1 + x2) / 2, (y1 + y2) / 2 - 5, _conditions(link), colour="grey"))
    for name, (x, y) in place.items():
        half = 4 * len(name) + 10
        parts.append(
            f'<rect x="{x - half:g}" y="{y - 14:g}" width="{2 * half}" height="28" rx="6" '
            'fill="white" stroke="black"/>'
        )
        parts.append(_text(x, y + 4, name))
    return _svg(2 * middle, 2 * middle, parts)
