"""WireGuard's handshake, Noise_IKpsk2 (whitepaper, section 5.4), without time, peers or sockets."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from pystack.nic.wireguard.primitives import (
    TAG_BYTES,
    PrivateKey,
    digest,
    kdf,
    open_sealed,
    seal,
)

__all__ = [
    "COOKIE_REPLY", "DATA", "INITIATION", "INITIATION_BYTES", "RESPONSE", "RESPONSE_BYTES",
    "Begun", "Initiation", "begin", "finish", "read_initiation", "respond",
]  # fmt: skip

# The messages' types: a byte, and three that are zero.
INITIATION, RESPONSE, COOKIE_REPLY, DATA = 1, 2, 3, 4
MAC_BYTES = 16
# Both end with mac1 and mac2.
INITIATION_BYTES = 8 + 32 + (32 + TAG_BYTES) + (12 + TAG_BYTES) + 2 * MAC_BYTES
RESPONSE_BYTES = 12 + 32 + TAG_BYTES + 2 * MAC_BYTES

_CHAIN = digest(b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s")
_HASH = digest(_CHAIN, b"WireGuard v1 zx2c4 Jason@zx2c4.com")


@dataclass
class Begun:
    """A handshake under way, at either end.

    Attributes:
        index: The initiator's number for it.
        chain: Noise's chaining key.
        hashed: Noise's handshake hash.
        ephemeral: The initiator's ephemeral key pair, at the initiator.
        far_ephemeral: Its public half, at the responder.
    """

    index: int
    chain: bytes
    hashed: bytes
    ephemeral: PrivateKey | None = None
    far_ephemeral: bytes = b""


@dataclass
class Initiation:
    """An initiation that was read: who began it, when, and where it stands."""

    begun: Begun
    public: bytes
    timestamp: bytes


def begin(
    own: PrivateKey, peer: bytes, secret: bytes, ephemeral: bytes, index: int, timestamp: bytes
) -> tuple[bytes, Begun]:
    """The initiation, without its macs.

    Args:
        own: The initiator's keys.
        peer: The responder's public key.
        secret: What these two share.
        ephemeral: 32 random bytes.
        index: The initiator's number for the session.
        timestamp: TAI64N, later than all before.
    """
    pair = PrivateKey(ephemeral)
    hashed = digest(_HASH, peer)
    (chain,) = kdf(_CHAIN, pair.public, 1)
    hashed = digest(hashed, pair.public)
    chain, key = kdf(chain, pair.exchange(peer), 2)
    static = seal(key, own.public, hashed)
    hashed = digest(hashed, static)
    chain, key = kdf(chain, secret, 2)
    stamp = seal(key, timestamp, hashed)
    hashed = digest(hashed, stamp)
    message = struct.pack("<B3xI", INITIATION, index) + pair.public + static + stamp
    return message, Begun(index, chain, hashed, ephemeral=pair)


def read_initiation(own: PrivateKey, message: bytes) -> Initiation:
    """What an initiation says.

    Raises:
        InvalidTag: It is forged, or for another.
        ValueError: One of its keys gives no secret.
    """
    (index,) = struct.unpack_from("<4xI", message)
    ephemeral, static, stamp = message[8:40], message[40:88], message[88:116]
    hashed = digest(_HASH, own.public)
    (chain,) = kdf(_CHAIN, ephemeral, 1)
    hashed = digest(hashed, ephemeral)
    chain, key = kdf(chain, own.exchange(ephemeral), 2)
    public = open_sealed(key, static, hashed)
    hashed = digest(hashed, static)
    chain, key = kdf(chain, own.exchange(public), 2)
    timestamp = open_sealed(key, stamp, hashed)
    hashed = digest(hashed, stamp)
    return Initiation(Begun(index, chain, hashed, far_ephemeral=ephemeral), public, timestamp)


def respond(
    initiation: Initiation, preshared: bytes, ephemeral: bytes, index: int
) -> tuple[bytes, bytes, bytes]:
    """The response, without its macs; the key to send with, and the one to receive with.

    Raises:
        ValueError: The initiator's ephemeral key gives no secret.
    """
    begun, pair = initiation.begun, PrivateKey(ephemeral)
    (chain,) = kdf(begun.chain, pair.public, 1)
    hashed = digest(begun.hashed, pair.public)
    (chain,) = kdf(chain, pair.exchange(begun.far_ephemeral), 1)
    (chain,) = kdf(chain, pair.exchange(initiation.public), 1)
    chain, mixed, key = kdf(chain, preshared, 3)
    hashed = digest(hashed, mixed)
    empty = seal(key, b"", hashed)
    theirs, ours = kdf(chain, b"", 2)
    message = struct.pack("<B3xII", RESPONSE, index, begun.index) + pair.public + empty
    return message, ours, theirs


def finish(
    own: PrivateKey, begun: Begun, preshared: bytes, message: bytes
) -> tuple[int, bytes, bytes]:
    """Reads the response: the responder's index, the keys to send and to receive with.

    Raises:
        InvalidTag: It is forged, or the preshared keys differ.
        ValueError: Its key gives no secret.
    """
    assert begun.ephemeral is not None  # the initiator's
    (index,) = struct.unpack_from("<4xI", message)
    ephemeral, empty = message[12:44], message[44:60]
    (chain,) = kdf(begun.chain, ephemeral, 1)
    hashed = digest(begun.hashed, ephemeral)
    (chain,) = kdf(chain, begun.ephemeral.exchange(ephemeral), 1)
    (chain,) = kdf(chain, own.exchange(ephemeral), 1)
    chain, mixed, key = kdf(chain, preshared, 3)
    hashed = digest(hashed, mixed)
    open_sealed(key, empty, hashed)
    ours, theirs = kdf(chain, b"", 2)
    return index, ours, theirs
