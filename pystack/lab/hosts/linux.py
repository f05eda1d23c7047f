"""The Host `linux`: the running kernel, in network namespaces that an agent makes.

The agent's wires are TAPs in its own namespace; their descriptors come to us over a UNIX
socket, and nothing of the machine's own network is touched.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

from pystack.lab.hosts.agent import AgentHost, FdWire, Wire
from pystack.lab.hosts.commands import Commands

__all__ = ["AGENTS", "REPEATABLE", "LinuxHost", "missing", "namespaces_missing"]

AGENTS = Path(__file__).resolve().parent.parent / "agent"
QUIT_S = 2.0

# What Linux limits by the rate at which it happens would make a verdict hang on the machine's
# speed and on the case before; and what it sends on its own, or inherits from the machine's own
# settings, would make two machines differ. All else is as Linux has it.
REPEATABLE = (
    ("net.ipv4.icmp_ratelimit", "0"),
    ("net.ipv4.icmp_ratemask", "0"),
    ("net.ipv4.icmp_msgs_per_sec", "1000000"),
    ("net.ipv4.icmp_msgs_burst", "1000000"),
    ("net.ipv6.icmp.ratelimit", "0"),
    ("net.ipv6.icmp.ratemask", "-"),
    ("net.ipv4.tcp_invalid_ratelimit", "0"),
    ("net.ipv4.tcp_challenge_ack_limit", "2147483647"),
    # That of RFC 5681, which every namespace may choose; the default is the machine's (BBR, say).
    ("net.ipv4.tcp_congestion_control", "reno"),
    ("net.ipv4.conf.all.rp_filter", "0"),
    ("net.ipv4.conf.all.arp_ignore", "0"),
    ("net.ipv4.conf.all.arp_announce", "0"),
    ("net.ipv4.conf.all.arp_accept", "0"),
    ("net.ipv4.conf.all.arp_filter", "0"),
    ("net.ipv4.conf.all.proxy_arp", "0"),
    ("net.ipv4.conf.all.secure_redirects", "1"),
    ("net.ipv4.conf.all.send_redirects", "1"),
    ("net.ipv4.conf.all.log_martians", "0"),
    ("net.ipv6.conf.all.accept_ra", "0"),
    ("net.ipv6.conf.all.router_solicitations", "0"),
    # The plan's addresses are there at once; a case that wants detection turns it on.
    ("net.ipv6.conf.all.accept_dad", "0"),
    ("net.ipv6.conf.all.dad_transmits", "0"),
    ("net.ipv6.conf.all.addr_gen_mode", "0"),
    ("net.ipv6.conf.all.use_tempaddr", "0"),
)


def missing() -> str | None:
    """What this Host needs and the machine lacks; None: nothing."""
    if not sys.platform.startswith("linux"):
        return "the running kernel is not Linux"
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        return "TAP devices: root, and the kernel's module tun (modprobe tun)"
    return namespaces_missing()


def namespaces_missing() -> str | None:
    """What creating network namespaces needs and the machine lacks; None: nothing."""
    if not sys.platform.startswith("linux"):
        return "network namespaces, which Linux alone has"
    if os.geteuid() == 0:
        return None
    for path in (
        "/proc/sys/kernel/unprivileged_userns_clone",
        "/proc/sys/user/max_user_namespaces",
    ):
        try:
            if Path(path).read_text().strip() == "0":
                return "root, or user namespaces for everybody (sysctl " + path[10:] + ")"
        except OSError:  # this kernel has no such limit
            continue
    return None


class LinuxHost(AgentHost):
    """The running kernel.

    Args:
        name: The Host's.
    """

    tunables = REPEATABLE

    def __init__(self, name: str = "linux") -> None:
        super().__init__(name)
        self._process: subprocess.Popen[bytes] | None = None
        self._streams: list[socket.socket] = []

    def _open(self, ports: int) -> Commands:
        pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM) for _ in range(2)]
        self._streams = [ours for ours, _ in pairs]
        theirs = [other.fileno() for _, other in pairs]
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-ESsB", str(AGENTS / "namespace.py"), *map(str, theirs)],
                pass_fds=theirs,
                stdin=subprocess.DEVNULL,
            )
        finally:
            for _, other in pairs:
                other.close()
        return Commands(self.name, self._streams[0].fileno())

    def _wired(self, ports: int) -> list[Wire]:
        # They were sent before the answer that we already have.
        _, descriptors, _, _ = socket.recv_fds(self._streams[1], 1, ports)
        return [FdWire(one) for one in descriptors]

    def _close(self) -> None:
        streams, self._streams = self._streams, []
        for stream in streams:
            stream.close()
        process, self._process = self._process, None
        if process is not None:
            try:
                process.wait(QUIT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
