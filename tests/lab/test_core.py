"""The lab's own parts: matchers, the tester, mutants, the runner, expectations."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from lab_report import report_with_failures, some_report
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Raw
from scapy.utils import rdpcap

import pystack
from pystack.lab import case as case_module
from pystack.lab.case import PATIENCE_S, Case, LoadError, case, catalogue, group, load_file
from pystack.lab.confirm import confirm, doubtful
from pystack.lab.expected import Expectation, surprise
from pystack.lab.hosts import hosts, register_host
from pystack.lab.hosts.stack import StackHost
from pystack.lab.ladder import pcap
from pystack.lab.mutant import Mutant, MutantHost
from pystack.lab.packets import arp, at_least, between, icmp, ipv4, layer, payload, tcp, udp
from pystack.lab.plan import Topology, link_local
from pystack.lab.report import Made, Report, from_json, to_json
from pystack.lab.report.junit import junit
from pystack.lab.report.table import markdown
from pystack.lab.run import Job, Result, run_case, run_job, run_jobs
from pystack.lab.tcp import STATES, connect, in_state
from pystack.lab.tester import Tester, multicast_mac, solicited_node
from pystack.lab.verdict import CaseFailed, Inconclusive, Level, Unable, Verdict

SEGMENT = Ether() / IP(src="192.0.2.2", dst="192.0.2.1") / TCP(sport=80, flags="SA", ack=7)


@pytest.fixture
def lab() -> Any:
    host = StackHost("lwip")
    plan = Topology.HOST.plan()
    host.start(plan)
    yield Tester(host, plan)
    host.stop()


# --- matchers --------------------


def test_a_field_that_is_left_out_may_be_anything() -> None:
    assert tcp()(SEGMENT)
    assert tcp(flags="SA")(SEGMENT)
    assert tcp(flags="SA", ack=7)(SEGMENT)
    assert not tcp(flags="SA", ack=8)(SEGMENT)
    assert not udp()(SEGMENT)


def test_matchers_compose() -> None:
    both = ipv4(src="192.0.2.2") / tcp(ack=between(1, 9))
    assert both(SEGMENT)
    assert not (ipv4(src="192.0.2.3") / tcp())(SEGMENT)
    assert (udp() | tcp())(SEGMENT)
    assert not (udp() | arp())(SEGMENT)
    assert tcp(ack={6, 7})(SEGMENT)
    assert not tcp(ack=at_least(8))(SEGMENT)
    assert str(both) == "IP(src=192.0.2.2) / TCP(ack=1 to 9)"
    assert tcp(ack=8).misses(SEGMENT) == "TCP.ack is 7, not 8"


def test_a_field_that_there_is_not_is_an_error() -> None:
    with pytest.raises(TypeError, match="acknowledgement"):
        tcp(acknowledgement=1)
    with pytest.raises(TypeError, match="has no field"):
        layer(UDP, seq=1)


def test_payload_is_what_follows_all_headers() -> None:
    frame = Ether() / IP() / UDP() / Raw(b"abc")
    assert payload(b"abc")(frame)
    assert not payload(b"ab")(frame)


# --- addresses --------------------


def test_addresses_that_follow_from_others() -> None:
    assert link_local("02:00:5e:00:53:02") == "fe80::5eff:fe00:5302"
    assert multicast_mac("224.128.1.2") == "01:00:5e:00:01:02"
    assert multicast_mac("ff02::1:ff00:2") == "33:33:ff:00:00:02"
    assert solicited_node("2001:db8::1:2:3") == "ff02::1:ff02:3"


# --- the tester --------------------


def test_an_expectation_says_what_came_instead(lab: Tester) -> None:
    lab.send(lab.arp_request())
    with pytest.raises(CaseFailed) as failure:
        lab.expect(arp(op=2, psrc="192.0.2.99"), 100)
    assert "ARP.psrc is 192.0.2.2, not 192.0.2.99" in str(failure.value)
    assert failure.value.expected == "ARP(op=2, psrc=192.0.2.99) within 100 ms"
    assert lab.now == pytest.approx(0.1)


def test_what_must_not_come(lab: Tester) -> None:
    lab.send(lab.arp_request())
    with pytest.raises(CaseFailed, match=r"no ARP\(op=2\)"):
        lab.expect_nothing(arp(op=2))
    lab.send(lab.arp_request())
    with pytest.raises(CaseFailed):
        lab.expect(icmp(), but_not=arp())
    lab.expect_nothing(arp(), 50)


def test_the_tester_answers_for_its_addresses_and_can_be_silent(lab: Tester) -> None:
    lab.host.ping(lab.tester4)
    assert lab.expect(icmp(type=8))[IP].dst == lab.tester4
    lab.host.flush_neighbours()
    with lab.silent():
        lab.host.ping(lab.tester4)
        lab.expect(arp(op=1, pdst=lab.tester4))
        lab.expect_nothing(icmp(type=8), 300)
    lab.own("192.0.2.77", "02:00:5e:00:53:77")
    lab.host.ping("192.0.2.77")
    assert lab.expect(icmp(type=8))[Ether].dst == "02:00:5e:00:53:77"


def test_frames_of_one_wire_do_not_hide_those_of_the_other() -> None:
    host, plan = StackHost("lwip"), Topology.ROUTER.plan()
    host.start(plan)
    try:
        lab = Tester(host, plan)
        lab.send(ARP(op=1, hwsrc=lab.other.tester_mac, psrc=lab.other.tester4,
                     pdst=lab.other.host4), port=1)  # fmt: skip
        lab.send(lab.arp_request())
        lab.expect(arp(op=2, psrc=lab.host4))
        lab.expect(arp(op=2, psrc=lab.other.host4), port=1)
    finally:
        host.stop()


def test_a_preamble_that_fails_is_no_verdict(lab: Tester) -> None:
    with pytest.raises(Inconclusive, match="first: "):
        with lab.preamble("first"):
            lab.expect(icmp(), 10)
    with pytest.raises(Inconclusive):
        lab.need(False, "something")


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("state", STATES)
def test_every_state_of_tcp_can_be_held(lab: Tester, state: str, family: int) -> None:
    connection = in_state(lab, state, family=family)
    shown = {one.state.name.replace("_", "-") for one in lab.host.stack.connections()}  # type: ignore[attr-defined]
    assert (state in shown) or (state == "CLOSED" and not shown)
    if state == "ESTABLISHED":
        connection.still_works()
    with pytest.raises(ValueError, match="no state"):
        in_state(lab, "CLOSED-ISH")


def test_a_connection_ends_with_an_error_for_the_program(lab: Tester) -> None:
    connection = connect(lab)
    connection.send("RA")
    connection.expect_error(ConnectionResetError)


# --- ladders --------------------


def test_a_ladder_is_a_capture(lab: Tester, tmp_path: Path) -> None:
    lab.send(lab.echo())
    lab.expect(icmp(type=0))
    path = tmp_path / "case.pcap"
    path.write_bytes(pcap(lab.ladder.events))
    kinds = [one.summary().split(" / ")[-2] for one in rdpcap(str(path)) if one.haslayer(ICMP)]
    assert kinds == ["ICMP 192.0.2.1 > 192.0.2.2 echo-request 0",
                     "ICMP 192.0.2.2 > 192.0.2.1 echo-reply 0"]  # fmt: skip
    assert any("echo-reply" in line for line in lab.ladder.lines())


# --- mutants --------------------


def run_function(function: Any, host: Any, **changes: Any) -> Result:
    """A case made of a function, on a Host."""
    fields: dict[str, Any] = {
        "id": "TEST-1.1", "title": "a test", "rfc": "RFC 1", "section": "1",
        "level": Level.MUST, "function": function, "mutant": None, "aliases": (),
        "topology": Topology.HOST, "seconds": 1.0,
    }  # fmt: skip
    fields.update(changes)
    try:
        return run_case(host, Case(**fields))
    finally:
        host.stop()


def asks(lab: Tester) -> None:
    lab.send(lab.arp_request())
    lab.expect(arp(op=2, psrc=lab.host4))


def test_a_mutant_changes_drops_adds_and_hides() -> None:
    def wrong(frame: Any) -> Any:
        if frame.haslayer(ARP):
            frame[ARP].psrc = "192.0.2.9"
        return frame

    def answer(frame: Any) -> Any:
        return [Ether() / ARP(op=2, psrc="192.0.2.2")] if frame.haslayer(ARP) else None

    verdicts = [
        run_function(asks, MutantHost(StackHost("lwip"), mutant)).verdict
        for mutant in (
            Mutant("is right"),
            Mutant("gives a wrong address", outgoing=wrong),
            Mutant("says nothing", outgoing=lambda frame: None),
            Mutant("is deaf", incoming=lambda frame: None),
            Mutant("is deaf and babbles", incoming=lambda frame: (), answer=answer),
        )
    ]
    good, bad = Verdict.PASS, Verdict.FAIL
    assert verdicts == [good, bad, bad, bad, good]


# --- verdicts --------------------


def test_how_a_case_can_end() -> None:
    def unable(lab: Tester) -> None:
        raise Unable("no such thing")

    def crash(lab: Tester) -> None:
        lab.host.stack.fail("on purpose")  # type: ignore[attr-defined]

    def crash_later(lab: Tester) -> None:
        try:
            lab.host.stack.fail("on purpose")  # type: ignore[attr-defined]
        except Exception:
            lab.run(10)

    def refused(lab: Tester) -> None:
        lab.socket(2, 1).bind(("192.0.2.200", 1))

    def inconclusive(lab: Tester) -> None:
        lab.need(False, "never mind")

    def mistaken(lab: Tester) -> None:
        lab.udp(dport=9999)  # type: ignore[call-arg]

    host = StackHost("lwip")
    assert run_function(asks, host).verdict is Verdict.PASS
    assert run_function(unable, host).verdict is Verdict.NOT_APPLICABLE
    assert run_function(inconclusive, host).verdict is Verdict.INCONCLUSIVE
    assert run_function(crash_later, host).verdict is Verdict.CRASH
    result = run_function(refused, host)
    assert result.verdict is Verdict.FAIL
    assert "bind" in result.reason
    result = run_function(mistaken, host)
    assert result.verdict is Verdict.FAIL
    line = mistaken.__code__.co_firstlineno + 1
    assert result.reason.startswith("the case raised TypeError: ")
    assert result.reason.endswith(f"({__file__}:{line})")
    result = run_function(crash, host)
    assert result.verdict is Verdict.CRASH, result
    assert run_function(asks, host).verdict is Verdict.PASS, "it was started again"


class Real(StackHost):
    """Says that its clock is real."""

    virtual = False


def test_a_failure_on_a_real_clock_has_to_come_again() -> None:
    times: list[int] = []

    def flaky(lab: Tester) -> None:
        times.append(1)
        lab.check(len(times) != 1, "luck", "none")

    result = run_function(flaky, Real("real"))
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "not the same twice" in result.reason
    assert len(times) == 2

    def broken(lab: Tester) -> None:
        times.append(1)
        lab.check(False, "this", "that")

    times.clear()
    assert run_function(broken, Real("real")).verdict is Verdict.FAIL
    assert len(times) == 3


def test_a_long_case_needs_patience_where_the_clock_is_real() -> None:
    result = run_function(asks, Real("real"), seconds=1000.0)
    assert result.verdict is Verdict.NOT_APPLICABLE
    assert "1000 s" in result.reason
    assert run_function(asks, StackHost("lwip"), seconds=1000.0).verdict is Verdict.PASS


# --- the registry, jobs, reports --------------------


OWN = '''
from pystack.lab.case import case
from pystack.lab.hosts import register_host
from pystack.lab.hosts.stack import StackHost
from pystack.lab.packets import arp

@case("OWN-1.1", "Somebody's own requirement", rfc="RFC 826", section="none")
def own(lab):
    """Ask.

    1. The tester asks.
    """
    lab.send(lab.arp_request())
    lab.expect(arp(op=2))

register_host("own", "somebody's own", lambda: StackHost("own"), virtual=True)
'''


def test_cases_and_hosts_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "own.py"
    path.write_text(OWN)
    results = run_job(Job("own", ("OWN-1.1", "ARP-3.1"), (path,)))
    assert [one.verdict for one in results] == [Verdict.PASS] * 2
    assert {one.host for one in results} == {"own"}


def test_ids_are_checked() -> None:
    def good(lab: Tester) -> None:
        """It has a docstring."""

    def bare(lab: Tester) -> None:
        pass

    catalogue()  # which has ARP-3.1
    words = {"rfc": "RFC 1", "section": "1"}
    with pytest.raises(ValueError, match="AREA-group"):
        case("arp-1", "x", **words)(good)
    with pytest.raises(ValueError, match="docstring"):
        case("TEST-9.1", "x", **words)(bare)
    with pytest.raises(ValueError, match="taken"):
        case("ARP-3.1", "x", **words)(good)
    with pytest.raises(LoadError, match="no-such"):
        load_file(Path("no-such.py"))


@pytest.fixture
def scratch() -> Iterator[None]:
    """Cases that a test registers are gone after it."""
    catalogue()  # or its modules, imported in the test, would be there, and their cases gone
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(case_module, "_cases", dict(case_module._cases))
        yield


def of(id: str) -> Case:
    return next(one for one in catalogue() if one.id == id)


def test_a_group_says_once_what_its_cases_share(scratch: None) -> None:
    member = group("TEST-8", rfc="RFC 1", section="2", topology=Topology.BARE)

    @member("TEST-8.1", "x")
    @member("TEST-8.2", "y", section="3", level=Level.MAY)
    def nothing(lab: Tester) -> None:
        """Nothing."""

    first, second = of("TEST-8.1"), of("TEST-8.2")
    assert (first.rfc, first.section, first.topology) == ("RFC 1", "2", Topology.BARE)
    assert (second.rfc, second.section, second.level) == ("RFC 1", "3", Level.MAY)
    assert first.function is second.function is nothing
    with pytest.raises(ValueError, match=r"TEST-80\.1 is none of the group TEST-8"):
        member("TEST-80.1", "z")
    with pytest.raises(ValueError, match=r"OTHER-1\.1 is none"):
        group("TEST")("OTHER-1.1", "z")
    with pytest.raises(ValueError, match="AREA-number, not 'TEST-'"):
        group("TEST-")
    with pytest.raises(TypeError, match="section"):
        group("TEST", rfc="RFC 1")("TEST-1.1", "no section")


def test_one_function_tries_both_families(scratch: None) -> None:
    seen: list[int] = []

    @case("TEST-8.1", "x", rfc="RFC 1", section="1", family=4)
    @case("TEST-8.2", "x over IPv6", rfc="RFC 1", section="1", family=6)
    def twice(lab: Tester, family: int) -> None:
        """Ask."""
        seen.append(family)

    host = StackHost("lwip")
    for one in (of("TEST-8.2"), of("TEST-8.1")):
        assert run_case(host, one).verdict is Verdict.PASS
        assert f"Addresses       IPv{one.family}" in one.page()
    host.stop()
    assert seen == [6, 4]


def test_levels_and_topologies_have_names(scratch: None) -> None:
    def nothing(lab: Tester) -> None:
        """Nothing."""

    words: dict[str, Any] = {"rfc": "RFC 1", "section": "1"}
    case("TEST-8.1", "x", level="SHOULD", topology="ROUTER", **words)(nothing)
    one = of("TEST-8.1")
    assert (one.level, one.topology) == (Level.SHOULD, Topology.ROUTER)
    assert "Classification  SHOULD" in one.page()
    with pytest.raises(ValueError, match=r"TEST-8\.2: level='should' is none of MUST, SHOULD, MAY"):
        case("TEST-8.2", "x", level="should", **words)
    with pytest.raises(ValueError, match="topology='NET' is none of HOST, ROUTER, BARE"):
        case("TEST-8.2", "x", topology="NET", **words)


def test_seconds_within_everybodys_patience_are_refused() -> None:
    for seconds in (1, PATIENCE_S):
        with pytest.raises(ValueError, match="says nothing"):
            case("TEST-8.1", "x", rfc="RFC 1", section="1", seconds=seconds)
    assert [one.id for one in catalogue() if 0 < one.seconds <= PATIENCE_S] == []


def test_a_report_survives_json() -> None:
    report = some_report()
    again = from_json(json.loads(json.dumps(to_json(report))), catalogue())
    assert again.hosts == report.hosts
    assert again.absent == report.absent
    assert again.made is None
    for one in report.results:
        found = again.result(one.case, one.host)
        assert found is not None
        assert found.verdict is one.verdict
        assert [event.frame for event in found.ladder] == [event.frame for event in one.ladder]
        assert all(event.text for event in found.ladder)
    with pytest.raises(ValueError, match="no report"):
        from_json({"format": 0}, [])


def test_a_report_says_where_it_comes_from_and_what_was_expected() -> None:
    known = [Expectation("strange", "9*", "ARP-3.1", "it is written so")]
    report = report_with_failures()
    data = to_json(report, known)
    assert from_json(data, catalogue()).made == report.made
    told = {
        (row["case"], row["host"]): (row["expected"], row["surprise"]) for row in data["results"]
    }
    assert told["ARP-3.1", "lwip"] == (None, None)
    assert told["ARP-3.1", "strange"] == ("it is written so", None)
    assert told["ARP-3.2", "strange"] == (None, "fail: ARP-3.2 went wrong")
    made = Made.here()
    assert datetime.fromisoformat(made.at).tzinfo is not None
    assert made.version == pystack.__version__
    assert platform.release() in made.machine


def test_differing_leaves_out_what_one_host_cannot_be_asked() -> None:
    report = report_with_failures()
    lacking = replace(report.results[-1], verdict=Verdict.NOT_APPLICABLE)
    report = replace(report, results=[*report.results[:-1], lacking])
    ids = [one.id for one in report.cases]
    (other,) = [one for one in ids if one != lacking.case]
    assert [one.id for one in report.differing("lwip", "strange")] == [other]
    both = report.differing("lwip", "strange", not_applicable=True)
    assert [one.id for one in both] == ids
    assert report.differing("lwip", "gone") == []


def test_a_case_names_its_file_and_line() -> None:
    (one,) = [each for each in catalogue() if each.id == "ARP-3.1"]
    path, line = one.source
    assert path.name == "arp.py"
    assert "ARP-3.1" in "".join(path.read_text().splitlines(True)[line - 1 : line + 8])
    assert f"Source          {path}:{line}" in one.page().splitlines()


def test_a_table_in_markdown() -> None:
    report = some_report()
    lines = markdown(report).splitlines()
    assert lines[0] == "|  | cases | lwip |"
    assert "| ARP | 2 | 2/2 |" in lines
    assert all(line.count("|") == 4 for line in lines)


def test_a_job_that_breaks_is_an_error_not_a_verdict() -> None:
    def make() -> Any:
        raise OSError("no such machine")

    register_host("broken", "can't be made", make, virtual=True)
    try:
        with ThreadPoolExecutor(1) as executor, pytest.raises(OSError, match="no such machine"):
            run_jobs([[Job("broken", ("ARP-3.1",))]], executor)
    finally:
        hosts()  # a copy: the registry itself has to forget
        from pystack.lab import hosts as registry

        del registry._kinds["broken"]


def result(verdict: Verdict, release: str = "2.2.1") -> Result:
    return Result("ARP-3.1", "lwip", release, verdict, "because")


def test_expected_failures_have_to_keep_failing() -> None:
    known = [Expectation("lwip", "2.2.*", "ARP-3.1", "a reason")]
    assert surprise(result(Verdict.FAIL), known) is None
    assert surprise(result(Verdict.CRASH), []) is not None
    assert surprise(result(Verdict.FAIL), []) is not None
    assert surprise(result(Verdict.FAIL, "2.1.3"), known) is not None
    assert "expected to fail" in (surprise(result(Verdict.PASS), known) or "")
    assert surprise(result(Verdict.NOT_APPLICABLE), known) is None


def moody(verdict: Verdict, case: str = "ARP-3.1", reason: str = "") -> Result:
    return Result(case, "moody", "1", verdict, reason)


@pytest.fixture
def moody_host() -> Iterator[None]:
    from pystack.lab import hosts as registry

    register_host("moody", "said to have a real clock", lambda: StackHost("moody"))
    yield
    del registry._kinds["moody"]


@pytest.mark.usefixtures("moody_host")
def test_what_is_doubtful() -> None:
    known = [Expectation("moody", "1", "ARP-3.2", "a reason")]
    anchor = moody(Verdict.FAIL, "ARP-3.2")
    assert doubtful([anchor], known) == []
    assert doubtful([anchor, moody(Verdict.PASS)], known) == []
    assert doubtful([anchor, moody(Verdict.INCONCLUSIVE)], known) == []
    for verdict in (Verdict.FAIL, Verdict.CRASH):
        assert doubtful([anchor, moody(verdict)], known) == [moody(verdict)]
    assert doubtful([moody(Verdict.PASS, "ARP-3.2")], known) == [moody(Verdict.PASS, "ARP-3.2")]
    # Nothing is declared of it, and a clock of ours makes no mistakes.
    assert doubtful([moody(Verdict.FAIL)], known) == []
    row = Expectation("lwip", "2.2.1", "ARP-3.1", "a reason")
    assert doubtful([result(Verdict.PASS)], [row]) == []


@pytest.mark.usefixtures("moody_host")
@pytest.mark.parametrize(
    ("first", "settled"),
    [
        (Verdict.FAIL, Verdict.INCONCLUSIVE),
        (Verdict.CRASH, Verdict.INCONCLUSIVE),
        (Verdict.PASS, Verdict.PASS),
    ],
)
def test_a_second_try_alone_settles_it(first: Verdict, settled: Verdict) -> None:
    # Alone, this Host passes.
    others = [moody(Verdict.FAIL, "ARP-3.2"), result(Verdict.PASS)]
    doubt = moody(first, reason="came late")
    told: list[Result] = []
    with ThreadPoolExecutor(1) as executor:
        found = confirm([*others, doubt], [doubt], executor, told.append)
    assert found[:2] == others
    assert found[2].verdict is settled
    assert [one.verdict for one in told] == [Verdict.PASS]
    if settled is Verdict.INCONCLUSIVE:
        assert "came late" in found[2].reason


def test_junit_calls_only_surprises_failures() -> None:
    cases = [one for one in catalogue() if one.id == "ARP-3.1"]
    report = Report(cases, ["lwip"], [result(Verdict.FAIL)])
    assert b'failures="1"' in junit(report, [])
    declared = junit(report, [Expectation("lwip", "*", "ARP-3.1", "a reason")])
    assert b'failures="0"' in declared
    assert b'skipped="1"' in declared
