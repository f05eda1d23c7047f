"""mac1, mac2 and cookies: who has to prove an address first (sections 5.4.4 and 5.4.7)."""

from __future__ import annotations

import hmac
import struct
from collections import OrderedDict
from collections.abc import Callable

from pystack.nic.wireguard.noise import COOKIE_REPLY, MAC_BYTES
from pystack.nic.wireguard.primitives import (
    InvalidTag,
    digest,
    keyed_digest,
    open_x,
    seal_x,
)

__all__ = ["COOKIE_REPLY_BYTES", "CookieJar", "Gatekeeper", "Load"]

COOKIE_REPLY_BYTES = 8 + 24 + 16 + 16
COOKIE_US = 120_000_000
# A cookie is used for a little less long than it is good.
_LATENCY_US = 5_000_000
_NOTHING = bytes(MAC_BYTES)

# More handshakes than so many in a second are a load, for a second at least.
_LOAD_PER_SECOND = 100
_SECOND_US = 1_000_000
# Under load each address that has proved itself may begin so many a second, and a few at once.
_PER_ADDRESS, _BURST = 20, 5
_MOST_ADDRESSES = 4096


class CookieJar:
    """The sender's side: macs for one peer's messages, and the cookie that it gave us."""

    def __init__(self, public: bytes) -> None:
        self._mac1 = digest(b"mac1----", public)
        self._sealing = digest(b"cookie--", public)
        self._cookie, self._until_us = b"", 0
        self._last_mac1 = b""

    def sign(self, message: bytes, now_us: int) -> bytes:
        """The message with its macs."""
        self._last_mac1 = keyed_digest(self._mac1, message)
        message += self._last_mac1
        if not self._cookie or now_us >= self._until_us:
            return message + _NOTHING
        return message + keyed_digest(self._cookie, message)

    def take(self, reply: bytes, now_us: int) -> bool:
        """Keeps the cookie of a reply; whether it is one to our last message."""
        if not self._last_mac1:
            return False
        try:
            self._cookie = open_x(self._sealing, reply[8:32], reply[32:], self._last_mac1)
        except InvalidTag:
            return False
        self._until_us = now_us + COOKIE_US - _LATENCY_US
        self._last_mac1 = b""  # one cookie a message
        return True


class Gatekeeper:
    """The receiver's side: checks macs, and gives cookies.

    Args:
        public: Our public key.
        random: Random bytes.
    """

    def __init__(self, public: bytes, random: Callable[[int], bytes]) -> None:
        self._mac1 = digest(b"mac1----", public)
        self._sealing = digest(b"cookie--", public)
        self._random = random
        self._secret, self._until_us = b"", 0

    def is_for_us(self, message: bytes) -> bool:
        """Whether mac1 is right."""
        mac = keyed_digest(self._mac1, message[: -2 * MAC_BYTES])
        return hmac.compare_digest(mac, message[-2 * MAC_BYTES : -MAC_BYTES])

    def _cookie(self, source: bytes, now_us: int) -> bytes:
        if not self._secret or now_us >= self._until_us:
            self._secret, self._until_us = self._random(32), now_us + COOKIE_US
        return keyed_digest(self._secret, source)

    def has_cookie(self, message: bytes, source: bytes, now_us: int) -> bool:
        """Whether mac2 is right: its sender receives what is sent to that address."""
        mac = keyed_digest(self._cookie(source, now_us), message[:-MAC_BYTES])
        return hmac.compare_digest(mac, message[-MAC_BYTES:])

    def reply(self, message: bytes, source: bytes, now_us: int) -> bytes:
        """A cookie for a message's sender."""
        nonce = self._random(24)
        mac1 = message[-2 * MAC_BYTES : -MAC_BYTES]
        sealed = seal_x(self._sealing, nonce, self._cookie(source, now_us), mac1)
        return struct.pack("<B3x", COOKIE_REPLY) + message[4:8] + nonce + sealed


class Load:
    """Whether there are too many handshakes, and who may still begin one."""

    def __init__(self) -> None:
        self._since_us, self._count, self._until_us = 0, 0, 0
        self._buckets: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def add(self, now_us: int) -> bool:
        """Counts a message of a handshake; whether it comes under load."""
        if now_us - self._since_us >= _SECOND_US:
            self._since_us, self._count = now_us, 0
        self._count += 1
        if self._count > _LOAD_PER_SECOND:
            self._until_us = now_us + _SECOND_US
        return now_us < self._until_us

    def allows(self, address: str, now_us: int) -> bool:
        """Whether an address may begin another handshake; those known longest are forgotten."""
        tokens, last_us = self._buckets.pop(address, (float(_BURST), now_us))
        tokens = min(_BURST, tokens + (now_us - last_us) * _PER_ADDRESS / _SECOND_US)
        self._buckets[address] = (max(tokens - 1, 0.0) if tokens >= 1 else tokens, now_us)
        if len(self._buckets) > _MOST_ADDRESSES:
            self._buckets.popitem(last=False)
        return tokens >= 1
