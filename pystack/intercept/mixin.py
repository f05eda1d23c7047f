"""The part of a Stack that takes flows to other hosts."""

from __future__ import annotations

from pystack._native import StackHandle
from pystack.intercept.taker import Intercept

__all__ = ["StackIntercept"]


class StackIntercept:
    """Adds `intercept` to a Stack."""

    _handle: StackHandle

    def intercept(
        self,
        *,
        tcp: bool = True,
        udp: bool = True,
        icmp: bool = True,
        undecided: int = 4096,
        open: int = 65536,
        decide: float = 30.0,
    ) -> Intercept:
        """Takes each new flow to an address that is not the Stack's, before it is answered.

        ``for flow in stack.intercept(): flow.accept()``, or `async for`. Whatever an interface is
        given counts: all packets of a TUN, all frames to the MAC of a TAP. Addresses of the
        Stack's own, and the sockets bound to them, are not concerned, nor are groups, broadcasts
        and link-local IPv6. Answers need a route to the source. What is taken is not forwarded.

        Args:
            tcp: TCP connections, at their first SYN.
            udp: UDP datagrams from one address and port to another; the first 16 wait with their
                flow, 64 KB at most.
            icmp: Echo requests of ICMP and ICMPv6, each by itself.
            undecided: How many flows may wait for a decision; the oldest is dropped for a new one,
                and forgotten. As many that were dropped are remembered.
            open: How many sockets of accepted flows there may be; what comes meanwhile is not
                answered, and a SYN comes again.
            decide: Seconds after which a flow that nobody decided on is dropped and forgotten.

        Raises:
            ValueError: A number out of range, or no protocol.
            OSError: EOPNOTSUPP, the engine can't (lwip can); EADDRINUSE, one is open already;
                EREMOTE, it is another process's Stack; EBADF, the Stack is closed.
        """
        return Intercept(
            self._handle, tcp=tcp, udp=udp, icmp=icmp, undecided=undecided, open=open, decide=decide
        )
