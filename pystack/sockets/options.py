"""`setsockopt` and `getsockopt`: which option of the module `socket` is which of the engine's.

Values of options that Linux takes as structures are bytes in Linux's layout.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys
from operator import index
from typing import Any

from pystack._native import ffi, lib
from pystack._native.address import packed
from pystack.sockets import kept, raw_options
from pystack.sockets.arguments import to_int
from pystack.sockets.receiving import ReceivingSocket
from pystack.sockets.tcp_info import linux_tcp_info

__all__ = ["get_option", "set_option"]

IP, IPV6, TCP, SOL = (
    int(socket.IPPROTO_IP),
    int(socket.IPPROTO_IPV6),
    int(socket.IPPROTO_TCP),
    int(socket.SOL_SOCKET),
)


def _constant(name: str, linux: int) -> int:
    """A constant of the module socket; Linux's number where this system lacks it."""
    return int(getattr(socket, name, linux))


IP_PKTINFO = _constant("IP_PKTINFO", 8)
IP_RECVTTL = _constant("IP_RECVTTL", 12)
IP_RECVTOS = _constant("IP_RECVTOS", 13)
IP_ADD_SOURCE_MEMBERSHIP = _constant("IP_ADD_SOURCE_MEMBERSHIP", 39)
IP_DROP_SOURCE_MEMBERSHIP = _constant("IP_DROP_SOURCE_MEMBERSHIP", 40)
IP_RECVERR = _constant("IP_RECVERR", 11)
IPV6_RECVERR = _constant("IPV6_RECVERR", 25)
IPV6_RECVPKTINFO = _constant("IPV6_RECVPKTINFO", 49)
IPV6_RECVHOPLIMIT = _constant("IPV6_RECVHOPLIMIT", 51)
IPV6_RECVTCLASS = _constant("IPV6_RECVTCLASS", 66)
IP_RECVERR_RFC4884, IPV6_RECVERR_RFC4884 = 26, 31
IP_MTU_DISCOVER, IP_MTU = _constant("IP_MTU_DISCOVER", 10), _constant("IP_MTU", 14)
IPV6_MTU_DISCOVER, IPV6_MTU = _constant("IPV6_MTU_DISCOVER", 23), _constant("IPV6_MTU", 24)
IPV6_DONTFRAG = _constant("IPV6_DONTFRAG", 62)
IPV6_PATHMTU = _constant("IPV6_PATHMTU", 61)
IP_FREEBIND, IP_TRANSPARENT = 15, _constant("IP_TRANSPARENT", 19)
IP_ORIGDSTADDR, IP_MINTTL, IP_MULTICAST_ALL, IP_UNICAST_IF = 20, 21, 49, 50
IPV6_MULTICAST_ALL, IPV6_MINHOPCOUNT, IPV6_ORIGDSTADDR, IPV6_UNICAST_IF = 29, 73, 74, 76
IPV6_TRANSPARENT, IPV6_FREEBIND = 75, 78
IP_RECVORIGDSTADDR, IPV6_RECVORIGDSTADDR = IP_ORIGDSTADDR, IPV6_ORIGDSTADDR
IP_PROTOCOL, SOL_RAW = 52, 255
SO_RXQ_OVFL, SO_COOKIE, SO_BINDTOIFINDEX, UDP_CORK = 40, 57, 62, 1
SO_BINDTODEVICE = _constant("SO_BINDTODEVICE", 25)
TCP_INFO = _constant("TCP_INFO", 11)
TCP_CONGESTION = _constant("TCP_CONGESTION", 13)
TCP_INQ = _constant("TCP_INQ", 36)
TCP_FASTOPEN_CONNECT = _constant("TCP_FASTOPEN_CONNECT", 30)
UDP, UDP_SEGMENT, UDP_GRO = int(socket.IPPROTO_UDP), 103, 104
SO_MAX_PACING_RATE = 47
SO_LINGER = int(socket.SO_LINGER)
_FOR_EVER = (1 << 31) - 1
SO_RCVTIMEO, SO_SNDTIMEO = _constant("SO_RCVTIMEO", 20), _constant("SO_SNDTIMEO", 21)

# Options whose value is an int both here and in the engine.
_INTEGERS: dict[tuple[int, int], int] = {
    (SOL, int(socket.SO_ERROR)): lib.PS_OPT_ERROR,
    (SOL, int(socket.SO_TYPE)): lib.PS_OPT_TYPE,
    (SOL, _constant("SO_PROTOCOL", 38)): lib.PS_OPT_PROTOCOL,
    (SOL, _constant("SO_DOMAIN", 39)): lib.PS_OPT_FAMILY,
    (SOL, _constant("SO_ACCEPTCONN", 30)): lib.PS_OPT_LISTENING,
    (SOL, int(socket.SO_REUSEADDR)): lib.PS_OPT_REUSEADDR,
    (SOL, _constant("SO_REUSEPORT", 15)): lib.PS_OPT_REUSEPORT,
    (SOL, int(socket.SO_BROADCAST)): lib.PS_OPT_BROADCAST,
    (SOL, int(socket.SO_KEEPALIVE)): lib.PS_OPT_KEEPALIVE,
    (SOL, int(socket.SO_SNDBUF)): lib.PS_OPT_SNDBUF,
    (SOL, int(socket.SO_RCVBUF)): lib.PS_OPT_RCVBUF,
    (SOL, int(socket.SO_RCVLOWAT)): lib.PS_OPT_RCVLOWAT,
    (SOL, int(socket.SO_OOBINLINE)): lib.PS_OPT_OOBINLINE,
    (SOL, int(socket.SO_DONTROUTE)): lib.PS_OPT_DONTROUTE,
    (SOL, _constant("SO_PRIORITY", 12)): lib.PS_OPT_PRIORITY,
    (TCP, int(socket.TCP_NODELAY)): lib.PS_OPT_TCP_NODELAY,
    (TCP, _constant("TCP_MAXSEG", 2)): lib.PS_OPT_TCP_MAXSEG,
    (TCP, _constant("TCP_KEEPIDLE", 4)): lib.PS_OPT_TCP_KEEPIDLE,
    (TCP, _constant("TCP_KEEPINTVL", 5)): lib.PS_OPT_TCP_KEEPINTVL,
    (TCP, _constant("TCP_KEEPCNT", 6)): lib.PS_OPT_TCP_KEEPCNT,
    (TCP, _constant("TCP_USER_TIMEOUT", 18)): lib.PS_OPT_TCP_USER_TIMEOUT,
    (TCP, _constant("TCP_QUICKACK", 12)): lib.PS_OPT_TCP_QUICKACK,
    (TCP, _constant("TCP_CORK", 3)): lib.PS_OPT_TCP_CORK,
    (TCP, _constant("TCP_DEFER_ACCEPT", 9)): lib.PS_OPT_TCP_DEFER_ACCEPT,
    (TCP, _constant("TCP_SYNCNT", 7)): lib.PS_OPT_TCP_SYNCNT,
    (TCP, _constant("TCP_LINGER2", 8)): lib.PS_OPT_TCP_LINGER2,
    (TCP, _constant("TCP_WINDOW_CLAMP", 10)): lib.PS_OPT_TCP_WINDOW_CLAMP,
    (TCP, _constant("TCP_FASTOPEN", 23)): lib.PS_OPT_TCP_FASTOPEN,
    (TCP, _constant("TCP_NOTSENT_LOWAT", 25)): lib.PS_OPT_TCP_NOTSENT_LOWAT,
    (UDP, UDP_SEGMENT): lib.PS_OPT_UDP_SEGMENT,
    (IP, int(socket.IP_TTL)): lib.PS_OPT_IP_TTL,
    (IP, int(socket.IP_TOS)): lib.PS_OPT_IP_TOS,
    (IP, int(socket.IP_HDRINCL)): lib.PS_OPT_IP_HDRINCL,
    (IP, int(socket.IP_MULTICAST_TTL)): lib.PS_OPT_IP_MULTICAST_TTL,
    (IP, int(socket.IP_MULTICAST_LOOP)): lib.PS_OPT_IP_MULTICAST_LOOP,
    (IPV6, int(socket.IPV6_V6ONLY)): lib.PS_OPT_IPV6_V6ONLY,
    (IPV6, int(socket.IPV6_UNICAST_HOPS)): lib.PS_OPT_IPV6_UNICAST_HOPS,
    (IPV6, int(socket.IPV6_MULTICAST_HOPS)): lib.PS_OPT_IPV6_MULTICAST_HOPS,
    (IPV6, int(socket.IPV6_MULTICAST_LOOP)): lib.PS_OPT_IPV6_MULTICAST_LOOP,
    (IPV6, int(socket.IPV6_MULTICAST_IF)): lib.PS_OPT_IPV6_MULTICAST_IF,
    (IPV6, _constant("IPV6_TCLASS", 67)): lib.PS_OPT_IPV6_TCLASS,
    (IPV6, _constant("IPV6_CHECKSUM", 7)): lib.PS_OPT_IPV6_CHECKSUM,
    (IP, IP_RECVERR): lib.PS_OPT_IP_RECVERR,
    (IP, IP_RECVERR_RFC4884): lib.PS_OPT_IP_RECVERR_RFC4884,
    (IPV6, IPV6_RECVERR): lib.PS_OPT_IPV6_RECVERR,
    (IPV6, IPV6_RECVERR_RFC4884): lib.PS_OPT_IPV6_RECVERR_RFC4884,
    (IP, IP_MTU_DISCOVER): lib.PS_OPT_IP_MTU_DISCOVER,
    (IP, IP_MTU): lib.PS_OPT_IP_MTU,
    (IPV6, IPV6_MTU_DISCOVER): lib.PS_OPT_IPV6_MTU_DISCOVER,
    (IPV6, IPV6_MTU): lib.PS_OPT_IPV6_MTU,
    (IPV6, IPV6_DONTFRAG): lib.PS_OPT_IPV6_DONTFRAG,
    (IP, IP_FREEBIND): lib.PS_OPT_FREEBIND,
    (IPV6, IPV6_FREEBIND): lib.PS_OPT_FREEBIND,
    (IP, IP_TRANSPARENT): lib.PS_OPT_TRANSPARENT,
    (IPV6, IPV6_TRANSPARENT): lib.PS_OPT_TRANSPARENT,
    (IP, IP_MINTTL): lib.PS_OPT_IP_MINTTL,
    (IPV6, IPV6_MINHOPCOUNT): lib.PS_OPT_IPV6_MINHOPCOUNT,
    (IP, IP_MULTICAST_ALL): lib.PS_OPT_IP_MULTICAST_ALL,
    (IPV6, IPV6_MULTICAST_ALL): lib.PS_OPT_IPV6_MULTICAST_ALL,
    (IP, IP_UNICAST_IF): lib.PS_OPT_IP_UNICAST_IF,
    (IPV6, IPV6_UNICAST_IF): lib.PS_OPT_IPV6_UNICAST_IF,
    (UDP, UDP_CORK): lib.PS_OPT_UDP_CORK,
    (UDP, UDP_GRO): lib.PS_OPT_UDP_GRO,
    (IP, IP_PROTOCOL): lib.PS_OPT_PROTOCOL,
    (SOL, SO_BINDTOIFINDEX): lib.PS_OPT_BINDTODEVICE,
}

# Those of IP that Linux refuses without a byte: IP_TTL, IP_FREEBIND, IP_TRANSPARENT, IP_MINTTL,
# IP_MULTICAST_TTL, _LOOP and _ALL.
_NEVER_EMPTY = (2, 15, 19, 21, 33, 34, 49)
# Whose index of an interface is in network byte order.
_UNICAST_IF = (lib.PS_OPT_IP_UNICAST_IF, lib.PS_OPT_IPV6_UNICAST_IF)
# Other numbers of the same: with times of 64 bits, and beyond what others may set.
_SAME = {
    (SOL, 66): (SOL, SO_RCVTIMEO),
    (SOL, 67): (SOL, SO_SNDTIMEO),
    (SOL_RAW, 7): (IPV6, 7),  # IPV6_CHECKSUM
}
_FORCED = {(SOL, 32): (SOL, int(socket.SO_SNDBUF)), (SOL, 33): (SOL, int(socket.SO_RCVBUF))}
_BUFFER_SIZES = (lib.PS_OPT_SNDBUF, lib.PS_OPT_RCVBUF)

# Which ancillary data `recvmsg` gives; bits of OpenSocket.ancillary.
ANCILLARY = {
    (IP, IP_PKTINFO): 1,
    (IP, IP_RECVTTL): 2,
    (IP, IP_RECVTOS): 4,
    (IPV6, IPV6_RECVPKTINFO): 8,
    (IPV6, IPV6_RECVHOPLIMIT): 16,
    (IPV6, IPV6_RECVTCLASS): 32,
    (IP, IP_ORIGDSTADDR): 64,
    (IPV6, IPV6_ORIGDSTADDR): 128,
    (SOL, SO_RXQ_OVFL): 256,
    (TCP, TCP_INQ): 512,
}

# What all engines do: RFC 5681. TCP_CA_NAME_MAX bytes hold a name, and IFNAMSIZ an interface's.
_CONGESTION = b"reno"
_NAME_SIZE = 16

# SO_TIMESTAMP and SO_TIMESTAMPNS, in both numbers that Linux has for each: their data is alike
# where a long has 64 bits. One of them is on, or none.
SO_TIMESTAMP, SO_TIMESTAMPNS, SO_TIMESTAMP_NEW, SO_TIMESTAMPNS_NEW = 29, 35, 63, 64
_STAMPED, _NANOSECONDS, _NEW = 0x1000, 0x2000, 0x4000
TIMESTAMP_BITS = _STAMPED | _NANOSECONDS | _NEW
TIMESTAMPS = {
    SO_TIMESTAMP: _STAMPED,
    SO_TIMESTAMPNS: _STAMPED | _NANOSECONDS,
    SO_TIMESTAMP_NEW: _STAMPED | _NEW,
    SO_TIMESTAMPNS_NEW: _STAMPED | _NANOSECONDS | _NEW,
}

_MEMBERSHIPS = {
    (IP, int(socket.IP_ADD_MEMBERSHIP)): True,
    (IP, int(socket.IP_DROP_MEMBERSHIP)): False,
    (IP, IP_ADD_SOURCE_MEMBERSHIP): True,
    (IP, IP_DROP_SOURCE_MEMBERSHIP): False,
    (IPV6, int(socket.IPV6_JOIN_GROUP)): True,
    (IPV6, int(socket.IPV6_LEAVE_GROUP)): False,
}

_OF_ANY_SOURCE = ((IP, int(socket.IP_ADD_MEMBERSHIP)), (IP, int(socket.IP_DROP_MEMBERSHIP)))

_INT = struct.Struct("i")
_TIMEVAL = struct.Struct("ll")
_COOKIE = struct.Struct("Q")
_RATE, _UNLIMITED = struct.Struct("N"), (1 << 8 * struct.calcsize("N")) - 1
_MTUINFO = struct.Struct("28xI")


def _error(code: int) -> OSError:
    return OSError(code, os.strerror(code))


def _check_level(sock: ReceivingSocket, level: int, reading: bool) -> None:
    """Whether the socket is open, and has options of this level at all."""
    if sock._ps_number < 0:
        raise _error(errno.EBADF)
    is_v6 = sock._ps_family == socket.AF_INET6
    known = (
        level == SOL
        or (level == IP and not (is_v6 and sock._ps_type == socket.SOCK_RAW))
        or (level == IPV6 and is_v6)
        or (level == SOL_RAW and sock._ps_type == socket.SOCK_RAW)
        or (level == UDP and sock._ps_type == socket.SOCK_DGRAM)
        or (level == TCP and sock._ps_type == socket.SOCK_STREAM)
    )
    if not known:
        raise _error(errno.EOPNOTSUPP if reading and not is_v6 else errno.ENOPROTOOPT)


def set_option(
    sock: ReceivingSocket, level: int, name: int, value: Any, length: int | None
) -> None:
    """See `Socket.setsockopt`."""
    key = (to_int(level), to_int(name))
    if not _is_the_engines(sock, key):
        _check_level(sock, key[0], reading=False)
        key = _SAME.get(key) or _FORCED.get(key) or key
    elif value is not None and length is None:
        raw_options.set_option(sock, key, _bytes_of(value))
        return
    if type(value) is int and length is None and key in _INTEGERS and not _is_kept(sock, key):
        _set_integer(sock, _INTEGERS[key], _within_int(value))
        return
    if value is None:
        if length is None:
            raise TypeError("setsockopt() with None as value takes an option length")
        if (key == (SOL, SO_BINDTODEVICE) or key[0] == IP) and length == 0:
            set_option(sock, *key, b"", None)
            return
        least = 1 if key[0] == IP else _INT.size
        raise _error(errno.EFAULT if _optlen(length) >= least else errno.EINVAL)
    if length is not None:
        raise TypeError("an option length goes with None as value only")
    data = _bytes_of(value)
    if not data and key[0] == IP and key[1] in _NEVER_EMPTY:
        raise _error(errno.EINVAL)
    if key == (SOL, SO_LINGER):
        _set_linger(sock, data)
    elif key in ((SOL, SO_RCVTIMEO), (SOL, SO_SNDTIMEO)):
        _set_limit(sock, key[1], data)
    elif _is_paced(sock, key):
        sock._ps_open.kept[key] = _rate(data)
    elif _is_kept(sock, key):
        value = _integer(data, key[0])
        if key == (TCP, TCP_FASTOPEN_CONNECT) and value in (0, 1):
            _check_closed(sock)
        kept.keep(sock._ps_open, key, value)
    elif key == (SOL, SO_BINDTODEVICE):
        _set(sock, lib.PS_OPT_BINDTODEVICE, _index_of(sock, data.partition(b"\0")[0]))
    elif key == (IP, int(socket.IP_MULTICAST_IF)):
        _set(sock, lib.PS_OPT_IP_MULTICAST_IF, _multicast_interface(sock, data))
    elif key in _MEMBERSHIPS:
        if sock._ps_type == socket.SOCK_STREAM and key in _OF_ANY_SOURCE:
            raise _error(errno.EPROTO)
        _membership(sock, key, data)
    elif key == (TCP, TCP_CONGESTION):
        if data[: _NAME_SIZE - 1].partition(b"\0")[0] != _CONGESTION:
            raise _error(errno.ENOENT if data else errno.EINVAL)
    elif key in ANCILLARY:
        if key == (TCP, TCP_INQ) and _integer(data, key[0]) not in (0, 1):
            raise _error(errno.EINVAL)
        bit = ANCILLARY[key]
        opened = sock._ps_open
        opened.ancillary = (
            opened.ancillary | bit if _integer(data, key[0]) else opened.ancillary & ~bit
        )
    elif key[0] == SOL and key[1] in TIMESTAMPS:
        asked = sock._ps_open.ancillary & ~TIMESTAMP_BITS
        sock._ps_open.ancillary = asked | TIMESTAMPS[key[1]] if _integer(data, key[0]) else asked
    elif key in _INTEGERS:
        _set_integer(sock, _INTEGERS[key], _integer(data, key[0]))
    else:
        raise _error(errno.ENOPROTOOPT)


def _is_the_engines(sock: ReceivingSocket, key: tuple[int, int]) -> bool:
    """Whether the engine takes it as it is, in Linux's own layout.

    Not what the host does for any engine, and what comes with the data.
    """
    if sock._ps_number < 0 or not sock._ps_handle.takes_any_option(sock._ps_number):
        return False
    key = _SAME.get(key, key)
    return not (
        key in ((SOL, SO_LINGER), (SOL, SO_RCVTIMEO), (SOL, SO_SNDTIMEO))
        or key in _MEMBERSHIPS
        or key in ANCILLARY
        or (key[0] == SOL and key[1] in TIMESTAMPS)
    )


def _bytes_of(value: Any) -> bytes:
    """An option's value as setsockopt(2) takes it."""
    if hasattr(value, "__index__"):
        return _INT.pack(_within_int(int(value.__index__())))
    with memoryview(value) as view:
        if not view.c_contiguous:
            raise BufferError("memoryview: underlying buffer is not C-contiguous")
        return view.tobytes()


def _has_timestamps(asked: int, name: int) -> bool:
    if name == SO_TIMESTAMP_NEW:  # Linux says so of the other new one, too
        return asked & _NEW != 0
    return asked & TIMESTAMP_BITS == TIMESTAMPS[name]


def _within_int(number: int) -> int:
    if not -(1 << 31) <= number < 1 << 31:
        # CPython takes it for a buffer then.
        raise TypeError("a bytes-like object is required, not 'int'")
    return number


def _is_paced(sock: ReceivingSocket, key: tuple[int, int]) -> bool:
    """SO_MAX_PACING_RATE of datagrams: on Linux it is the queueing discipline fq that obeys it."""
    return key == (SOL, SO_MAX_PACING_RATE) and sock._ps_type != socket.SOCK_STREAM


def _signed(number: int) -> int:
    return int(_INT.unpack(struct.pack("I", number))[0])


def _rate(data: bytes) -> int:
    """Bytes a second, in a long or an int, where -1 is no limit."""
    if len(data) >= _RATE.size:
        return int(_RATE.unpack_from(data)[0])
    number = _integer(data, SOL)
    return _UNLIMITED if number == -1 else number & 0xFFFFFFFF


def _check_closed(sock: ReceivingSocket) -> None:
    """What may be set before a connection alone."""
    info = ffi.new("struct ps_tcp_info *")
    sock._ps_handle.check(lib.ps_tcp_info(sock._ps_handle.pointer, sock._ps_number, info))
    if info.state != lib.PS_TCP_CLOSED:
        raise _error(errno.EINVAL)


def _is_kept(sock: ReceivingSocket, key: tuple[int, int]) -> bool:
    return kept.get(sock._ps_open, key) is not None


def _set_integer(sock: ReceivingSocket, option: int, number: int) -> None:
    if option in _UNICAST_IF:
        number = socket.ntohl(number & 0xFFFFFFFF)
    elif option == lib.PS_OPT_BINDTODEVICE and number < 0:
        raise _error(errno.EINVAL)
    if option in _BUFFER_SIZES and sys.platform == "linux":
        # socket(7): the kernel doubles the value for its own accounts, and reads it back
        # doubled. Programs compare what they set with what they get.
        number = min(number, 0x3FFFFFFF) * 2 if number >= 0 else 0x7FFFFFFF
    _set(sock, option, number)


def get_option(sock: ReceivingSocket, level: int, name: int, length: int) -> Any:
    """See `Socket.getsockopt`."""
    key = (to_int(level), to_int(name))
    if not 0 <= to_int(length) <= 1024:
        raise OSError("getsockopt buflen out of range")
    if _is_the_engines(sock, key):
        return raw_options.get_option(sock, key, length)
    _check_level(sock, key[0], reading=True)
    key = _SAME.get(key, key)
    if (number := kept.get(sock._ps_open, key)) is not None:
        data = _INT.pack(number)
    elif _is_paced(sock, key):
        rate = sock._ps_open.kept.get(key, _UNLIMITED)
        wide = length >= _RATE.size
        data = _RATE.pack(rate) if wide else _INT.pack(_signed(min(rate, 0xFFFFFFFF)))
    elif key == (SOL, SO_COOKIE):
        if length < _COOKIE.size:
            raise _error(errno.EINVAL)
        data = _COOKIE.pack(sock._ps_number + 1)
    elif key == (SOL, SO_LINGER):
        seconds = _get(sock, lib.PS_OPT_LINGER)
        data = struct.pack("ii", seconds >= 0, max(seconds, 0))
    elif key in ((SOL, SO_RCVTIMEO), (SOL, SO_SNDTIMEO)):
        opened = sock._ps_open
        limit = opened.receive_timeout if key[1] == SO_RCVTIMEO else opened.send_timeout
        data = _TIMEVAL.pack(*divmod(round((limit or 0) * 1e6), 1_000_000))
    elif key == (SOL, SO_BINDTODEVICE):
        bound = _get(sock, lib.PS_OPT_BINDTODEVICE)
        if bound and length < _NAME_SIZE:  # as Linux: room for any name, whatever this one's length
            raise _error(errno.EINVAL)
        data = _name_of(sock, bound)
    elif key == (IP, int(socket.IP_MULTICAST_IF)):
        data = _address_of(sock, _get(sock, lib.PS_OPT_IP_MULTICAST_IF))
    elif key == (IPV6, IPV6_PATHMTU):  # struct ip6_mtuinfo, whose address Linux leaves empty
        if length < _MTUINFO.size:
            raise _error(errno.EINVAL)
        data = _MTUINFO.pack(_get(sock, lib.PS_OPT_IPV6_MTU))
    elif key == (TCP, TCP_CONGESTION):
        data = _CONGESTION.ljust(_NAME_SIZE, b"\0")
    elif key == (TCP, TCP_INFO):
        data = linux_tcp_info(sock._ps_handle, sock._ps_number)
    elif key in ANCILLARY:
        data = _INT.pack(bool(sock._ps_open.ancillary & ANCILLARY[key]))
    elif key[0] == SOL and key[1] in TIMESTAMPS:
        data = _INT.pack(_has_timestamps(sock._ps_open.ancillary, key[1]))
    elif key in _INTEGERS:
        option = _INTEGERS[key]
        number = _get(sock, option)
        if option == lib.PS_OPT_FAMILY:
            number = sock._ps_open.family
        elif option == lib.PS_OPT_TYPE:
            number = sock._ps_open.type
        elif option in _UNICAST_IF:
            number = socket.htonl(number)
        data = _INT.pack(number)
    else:
        raise _error(errno.ENOPROTOOPT)
    if length:
        return data[:length]
    return _INT.unpack(data[: _INT.size])[0] if len(data) >= _INT.size else 0


def _set_limit(sock: ReceivingSocket, name: int, data: bytes) -> None:
    """How long a call may wait on a socket without a timeout: a struct timeval, 0: for ever."""
    if len(data) < _TIMEVAL.size:
        raise _error(errno.EINVAL)
    seconds, microseconds = _TIMEVAL.unpack(data[: _TIMEVAL.size])
    if not 0 <= microseconds < 1_000_000:
        raise _error(errno.EDOM)
    # Less than nothing is as good as over (socket(7)).
    limit = max(seconds + microseconds / 1e6, 1e-6) if seconds or microseconds else None
    if name == SO_RCVTIMEO:
        sock._ps_open.receive_timeout = limit
    else:
        sock._ps_open.send_timeout = limit


def _optlen(length: Any) -> int:
    """What C's int holds of it: CPython lets what is too large pass."""
    return (index(length) + (1 << 31) & 0xFFFFFFFF) - (1 << 31)


def _integer(data: bytes, level: int) -> int:
    """The int of a value; ip(7): one of IP may be a byte, and without one it is 0."""
    if len(data) >= _INT.size:
        return int(_INT.unpack_from(data)[0])
    if level != IP:
        raise _error(errno.EINVAL)
    return data[0] if data else 0


def _set(sock: ReceivingSocket, option: int, value: int) -> None:
    handle = sock._ps_handle
    handle.check(lib.ps_option_set(handle.pointer, sock._ps_number, option, value))


def _get(sock: ReceivingSocket, option: int) -> int:
    handle = sock._ps_handle
    value = ffi.new("int64_t *")
    handle.check(lib.ps_option_get(handle.pointer, sock._ps_number, option, value))
    return int(value[0])


def _set_linger(sock: ReceivingSocket, data: bytes) -> None:
    if len(data) < 8:
        raise _error(errno.EINVAL)
    on, seconds = struct.unpack("ii", data[:8])
    # Linux takes them as unsigned: less than 0 is for ever.
    _set(sock, lib.PS_OPT_LINGER, (seconds if seconds >= 0 else _FOR_EVER) if on else -1)


# --- interfaces ------------------------------------------------------------------------------


def _interfaces(sock: ReceivingSocket) -> Any:
    handle = sock._ps_handle
    return handle.listing(
        "struct ps_interface", lambda out, room: lib.ps_interfaces(handle.pointer, out, room)
    )


def _addresses(sock: ReceivingSocket) -> Any:
    handle = sock._ps_handle
    return handle.listing(
        "struct ps_interface_address",
        lambda out, room: lib.ps_addresses(handle.pointer, out, room),
    )


def _index_of(sock: ReceivingSocket, name: bytes) -> int:
    if not name:
        return 0
    for interface in _interfaces(sock):
        if ffi.string(interface.name) == name:
            return int(interface.index)
    raise _error(errno.ENODEV)


def _name_of(sock: ReceivingSocket, index: int) -> bytes:
    for interface in _interfaces(sock):
        if interface.index == index:
            return bytes(ffi.string(interface.name)) + b"\0"
    if index:
        raise _error(errno.ENODEV)
    return b""


def _index_with(sock: ReceivingSocket, address: bytes) -> int:
    """The interface that has an IPv4 address; 0 for the unspecified one."""
    if address == bytes(4):
        return 0
    for entry in _addresses(sock):
        if packed(entry.address) == address:
            return int(entry.interface)
    raise _error(errno.EADDRNOTAVAIL)


def _address_of(sock: ReceivingSocket, index: int) -> bytes:
    for entry in _addresses(sock):
        if index and entry.interface == index and entry.address.family == lib.PS_INET:
            return packed(entry.address)
    return bytes(4)


def _multicast_interface(sock: ReceivingSocket, data: bytes) -> int:
    """ip(7): an `in_addr`, an `ip_mreq` or an `ip_mreqn`, whose index wins."""
    if len(data) >= 12:
        index = int(_INT.unpack(data[8:12])[0])
        return index or _index_with(sock, data[4:8])
    if len(data) >= 8:
        return _index_with(sock, data[4:8])
    if len(data) < 4:
        raise _error(errno.EINVAL)
    return _index_with(sock, data[:4])


def _membership(sock: ReceivingSocket, key: tuple[int, int], data: bytes) -> None:
    out = ffi.new("struct ps_membership *")
    if key[0] == IPV6:  # struct ipv6_mreq
        if len(data) < 20:
            raise _error(errno.EINVAL)
        out.group.family = lib.PS_INET6
        ffi.memmove(out.group.bytes, data[:16], 16)
        out.interface = struct.unpack("I", data[16:20])[0]
    else:  # struct ip_mreq, ip_mreqn or ip_mreq_source
        with_source = key[1] in (IP_ADD_SOURCE_MEMBERSHIP, IP_DROP_SOURCE_MEMBERSHIP)
        if len(data) < (12 if with_source else 8):
            raise _error(errno.EINVAL)
        out.group.family = lib.PS_INET
        ffi.memmove(out.group.bytes, data[:4], 4)
        if with_source:
            out.source.family = lib.PS_INET
            ffi.memmove(out.source.bytes, data[8:12], 4)
        index = 0 if with_source or len(data) < 12 else _INT.unpack(data[8:12])[0]
        try:
            out.interface = (index & 0xFFFFFFFF) or _index_with(sock, data[4:8])
        except OSError as error:  # as the kernel says it here
            raise _error(errno.ENODEV if _MEMBERSHIPS[key] else errno.EADDRNOTAVAIL) from error
    handle = sock._ps_handle
    handle.check(lib.ps_membership(handle.pointer, sock._ps_number, _MEMBERSHIPS[key], out))
