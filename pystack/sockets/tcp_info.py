"""`TCP_INFO` in Linux's layout: the `struct tcp_info` of linux/tcp.h up to tcpi_total_rto_time.

What a Stack doesn't do is said as Linux says it of a connection that doesn't either: nothing is
paced (all ones), there is no ECN, no rehashing, and no rate is measured (0).
"""

from __future__ import annotations

import struct

from pystack._native import StackHandle, ffi, lib

__all__ = ["linux_tcp_info"]

# Two bitfields stand in the last bytes of the first eight; 64-bit words where Linux has them.
_LAYOUT = struct.Struct("=8B24I4Q6IQ3Q2I2Q6I2HI")
_NOT_PACED = (1 << 64) - 1
_NO_THRESHOLD = 0x7FFFFFFF
_UNKNOWN = 0xFFFFFFFF
_RATE, _CE, _REHASHED, _FACKETS, _SERIES_MS = 0, 0, 0, 0, 0


def _segments(size: int, mss: int) -> int:
    return min(size // mss, _NO_THRESHOLD) if size != _UNKNOWN else _NO_THRESHOLD


def linux_tcp_info(handle: StackHandle, number: int) -> bytes:
    """The bytes of `getsockopt(IPPROTO_TCP, TCP_INFO, 248)`.

    Raises:
        OSError: ENOPROTOOPT, not a TCP socket; EBADF.
    """
    info = ffi.new("struct ps_tcp_info *")
    handle.check(lib.ps_tcp_info(handle.pointer, number, info))
    mss = max(info.send_mss, 1)
    scales = (info.send_wscale & 15) | (info.receive_wscale & 15) << 4
    return _LAYOUT.pack(
        info.state, info.congestion_state, info.retransmits, info.probes, info.backoff,
        info.options, scales, 0,
        info.rto_us, info.ato_us, info.send_mss, info.receive_mss,
        info.unacked_segments, info.sacked_segments, info.lost_segments, info.again_segments,
        _FACKETS, info.data_sent_ms, 0, info.data_received_ms, info.ack_received_ms,
        info.pmtu, info.receive_threshold, info.rtt_us, info.rttvar_us,
        _segments(info.send_ssthresh, mss), max(_segments(info.send_cwnd_bytes, mss), 1),
        info.receive_mss, info.reordering,
        info.receive_rtt_us, info.receive_space, info.total_retransmits,
        _NOT_PACED, _NOT_PACED, info.bytes_acked, info.bytes_received,
        info.segments_out, info.segments_in, info.not_sent_bytes, info.min_rtt_us or _UNKNOWN,
        info.data_segments_in, info.data_segments_out,
        _RATE, info.busy_us, info.window_limited_us, info.buffer_limited_us,
        info.delivered, _CE, info.bytes_sent, info.bytes_again,
        info.came_twice, info.overtaken, info.out_of_order, info.send_window,
        info.receive_window, _REHASHED,
        min(info.timeouts, 0xFFFF), min(info.timeout_series, 0xFFFF), _SERIES_MS,
    )  # fmt: skip
