"""`pystack bench`: that it measures what it says, not how fast anything is."""

from __future__ import annotations

import json
import socket
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from namespace import needs_namespace
from rich.console import Console
from scapy.layers.l2 import Ether

from pystack.bench import WAYS, WORKLOADS, Result, Way, measure, of_engine
from pystack.bench.floods import HOSTS, Outcome, floods
from pystack.bench.hostile import FLOODS, ORDINARY, Flood
from pystack.bench.queues import queues
from pystack.bench.report import flood_table, plot, table
from pystack.bench.run import measure as run
from pystack.bench.scale import scale
from pystack.bench.worker import Here, Worker, WorkerError
from pystack.bench.workloads import Ends
from pystack.bench.worlds import worlds
from pystack.cli import cli

ONE_PROCESS = [one for one in WAYS if "one process" in one.name]


def complete(result: Result, ways: list[Way]) -> None:
    assert not result.failures
    for way in ways:
        for metric in result.metrics:
            values = result.values[way.name][metric.name]
            assert len(values) == result.rounds
            assert all(value > 0 for value in values), (way.name, metric.name)
            assert result.ratio(way, metric.name) is not None


@pytest.mark.slow
def test_every_workload_goes_through_in_one_process() -> None:
    steps: list[str] = []
    result = measure(ONE_PROCESS, list(WORKLOADS.values()), 1, 0.05, steps.append)
    complete(result, ONE_PROCESS)
    assert len(steps) == len(ONE_PROCESS) * len(WORKLOADS)
    for way in ONE_PROCESS:
        assert result.ratio(way, "bulk") == 1 or way.name != way.base


@pytest.mark.slow
@needs_namespace
def test_two_processes_and_a_network_between() -> None:
    ways = [one for one in WAYS if one.network in ("veth", "TAP")]
    result = measure(ways, [WORKLOADS["latency"], WORKLOADS["udp"]], 1, 0.05)
    assert not result.absent
    complete(result, ways)


@pytest.mark.slow
@needs_namespace
def test_two_processes_on_a_tap() -> None:
    figures = {one.name: one.value for one in queues(1, 0.3)}
    assert min(figures[name] for name in ("one_queue", "queues", "queues_own")) > 0


@pytest.mark.slow
def test_worlds() -> None:
    steps: list[str] = []
    figures = {one.name: one.value for one in worlds(0.6, steps.append)}
    assert len(steps) == 4
    assert min(figures["frames_65536"], figures["frames_1"]) > 0
    assert figures["router_frames"] > 100_000
    assert 0.4 < figures["router_time"] < 10  # at 20 Mbit/s
    assert min(figures[name] for name in ("router", "built", "closed", "day")) >= 0


@pytest.mark.parametrize("flood", [ORDINARY, *FLOODS], ids=lambda one: one.name)
def test_the_frames_of_a_flood_are_whole_and_differ(flood: Flood) -> None:
    frames = [flood.frame(number) for number in range(0, 70_000, 7)]
    assert len(set(frames)) == len(frames)
    for frame in frames[:: len(frames) // 10]:
        assert len(frame) <= 14 + 1500
        found = Ether(frame)
        for layer in ("IP", "TCP", "UDP", "ICMP", "ICMPv6ND_NS"):
            for name in ("chksum", "cksum"):
                if found.haslayer(layer) and hasattr(found[layer], name):
                    delattr(found[layer], name)
        fragment = "fragments" in flood.name  # it has no checksum yet
        assert fragment or bytes(Ether(bytes(found))) == frame


@pytest.mark.slow
@needs_namespace
def test_a_flood_is_endured() -> None:
    steps: list[str] = []
    outcomes = floods(1, 0.5, steps.append, [FLOODS[1]])
    assert len(steps) == len(outcomes) == 4
    for one in outcomes:
        assert not one.failures
        assert one.kept[0] >= 0
        assert one.tried >= 1
        assert one.frames_per_s[0] > 0
        assert one.cost_us[0] != 0
        assert (one.memory_bytes[0] > 0) == (one.host == HOSTS[0])
    shown = Console(record=True, width=120)
    shown.print(flood_table([*outcomes, Outcome("Stack, TAP", "none", ["it broke"])]))
    text = shown.export_text()
    assert "(1.00)" in text  # an ordinary frame, compared with itself
    assert "failed: none, Stack, TAP: it broke" in text


def test_floods_that_can_not_be_had_are_told_once() -> None:
    shown = Console(record=True, width=120)
    shown.print(flood_table([Outcome(host, "any", ["no TAP"]) for host in HOSTS]))
    assert shown.export_text().strip() == "not measured: floods: no TAP"


def explode(ends: Ends, address: Any, seconds: float) -> dict[str, float]:
    raise OSError(f"{ends.host}, {address}, {seconds}")


def test_what_fails_is_told_and_the_rest_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    with Worker() as worker:
        with pytest.raises(WorkerError, match="no end is open here"):
            worker.call(Here.open, "bulk")
        worker.process.kill()
        with pytest.raises(WorkerError, match="the process is gone"):
            worker.call(Here.open, "bulk")
    monkeypatch.setattr("pystack.bench.run._once", lambda *_: explode(Ends(None, "h"), 1, 2.0))
    with pytest.raises(OSError, match="h, 1"):  # what is no worker's failure is nobody's to hide
        run(ONE_PROCESS[:1], [WORKLOADS["bulk"]], 1, 0.05)


@pytest.mark.slow
def test_scale_grows_with_its_connections() -> None:
    figures = {one.name: one.value for one in scale(400)}
    assert figures["create"] > 0
    assert 10 < figures["stack"] < 10_000
    assert figures["growth"] > 0
    with pytest.raises(ValueError, match="connections, not 3"):
        scale(3)


@pytest.mark.slow
def test_the_command_writes_what_it_found(tmp_path: Path) -> None:
    found, drawn = tmp_path / "found.json", tmp_path / "plot.png"
    words = ["bench", "latency", "--rounds", "1", "--seconds", "0.05", "--way", "MTU 1500"]
    result = CliRunner().invoke(cli, [*words, "--json", str(found), "--plot", str(drawn)])
    assert result.exit_code == 0, result.output
    assert "MTU 1500" in result.output
    ways = {one["name"]: one for one in json.loads(found.read_text())["ways"]}
    assert len(ways) == 2  # and its base
    assert all(one["values"]["p50"][0] <= one["values"]["p99"][0] for one in ways.values())
    assert drawn.read_bytes().startswith(b"\x89PNG")
    wrongs = (["bench", "speed"], ["bench", "--way", "pigeon"], ["bench", "--congestion", "hope"])
    for wrong in wrongs:
        assert CliRunner().invoke(cli, wrong).exit_code == 2


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(socket, "TCP_CONGESTION"), reason="Linux has it")
def test_the_kernels_congestion_control_can_be_chosen() -> None:
    with socket.socket() as kernel:
        name = kernel.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16)
    chosen = "reno" if not name.startswith(b"reno") else name.rstrip(b"\0").decode()
    ends = Ends(socket, "127.0.0.1", chosen)
    with ends.listen() as listener, ends.connect(listener.getsockname()) as made:
        found = made.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16)
        assert found.rstrip(b"\0").decode() == chosen
    result = measure(ONE_PROCESS, [WORKLOADS["latency"]], 1, 0.05, congestion=chosen)
    assert f"({chosen})" in result.machine
    assert not result.failures


def test_a_plot_of_nothing_is_drawn_too(tmp_path: Path) -> None:
    plot(Result(ONE_PROCESS, [WORKLOADS["bulk"]], 1, 1.0), tmp_path / "empty.svg")
    assert (tmp_path / "empty.svg").stat().st_size > 0


def three_rounds() -> Result:
    """Ways with made-up figures: one is a tenth to ten times its base."""
    result = Result(ONE_PROCESS, [WORKLOADS["latency"], WORKLOADS["connections"]], 3, 1.0)
    for way in ONE_PROCESS:
        factors = [1.0, 1.0, 1.0] if way.name == way.base else [0.1, 2.0, 10.0]
        result.values[way.name] = {
            "p50": [10 * one for one in factors], "p99": [1000 * one for one in factors],
            "turns": [5000, 999, 4000], "connections": factors, "opened": [100, 200, 300],
        }  # fmt: skip
    return result


def test_a_figure_of_too_few_samples_is_doubted() -> None:
    result = three_rounds()
    (doubt,) = result.doubts  # 999 are enough for a median
    assert doubt.startswith("round trip p99, µs: fewer than 1000 samples in a round (--seconds): ")
    assert all(f"{way.name}: 999" in doubt for way in ONE_PROCESS)
    assert result.as_json()["doubts"] == [doubt]
    result.rounds = 2
    assert result.doubts[0].startswith("2 of at least 3 rounds")
    assert Result(ONE_PROCESS, [WORKLOADS["bulk"]], 1, 1.0).doubts == []


@pytest.mark.parametrize(("width", "heads"), [(80, 3), (200, 1)])
def test_the_table_fits_the_terminal(width: int, heads: int) -> None:
    out = StringIO()
    result = three_rounds()
    Console(file=out, width=width).print(table(result, width))
    text = out.getvalue()
    assert text.count("from, to") == heads
    assert "…" not in text
    rows = [line for line in text.splitlines() if "Stack to Stack, MTU 1500" in line]
    assert "(2.00)" in rows[0]
    if heads > 1:  # the spread has room there
        words = rows[0].replace("│", " ").split()
        assert words[-4:] == ["20.0", "1.0", "100.0", "(2.00)"]


@pytest.mark.slow
def test_the_plot_is_logarithmic_and_shows_the_spread(tmp_path: Path) -> None:
    pyplot = pytest.importorskip("matplotlib.pyplot")
    closed: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pyplot, "close", closed.append)
        plot(three_rounds(), tmp_path / "plot.svg")
    panel = closed[0].axes[0]
    assert panel.get_xscale() == "log"
    spread = [line.get_xdata() for line in panel.lines if line.get_marker() == "|"]
    assert [list(one) for one in spread] == [[0.1, 10.0]] * (len(ONE_PROCESS) - 1)
    assert [bar.get_x() + bar.get_width() for bar in panel.patches] == [2.0] * len(spread)
    pyplot.close(closed[0])


@pytest.mark.slow
def test_another_engine_goes_the_same_ways_in_the_same_run() -> None:
    ways = [one for one in of_engine("lwip") if "one process" in one.name]
    assert [one.name for one in ways] == [
        f"{one.name} (lwip)" for one in ONE_PROCESS if one.name != one.base
    ]
    base = next(one for one in ONE_PROCESS if one.name == one.base)
    result = measure([base, *ways], [WORKLOADS["latency"]], 1, 0.05)
    complete(result, ways)
    absent = measure([base, *of_engine("none")[-1:]], [WORKLOADS["latency"]], 1, 0.05).absent
    assert "none" in absent["wire, MTU 1500 (none)"]


def test_ways_are_refused_where_they_mean_nothing() -> None:
    wrong = CliRunner().invoke(cli, ["bench", "http", "--way", "TAP"])
    assert wrong.exit_code == 2
    assert "http has its own ways" in wrong.output
