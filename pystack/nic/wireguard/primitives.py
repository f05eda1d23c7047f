"""The cryptography that WireGuard names: X25519, ChaCha20-Poly1305, BLAKE2s, HKDF, XChaCha20.

All of it is the package `cryptography`'s and hashlib's; only how they are put together is here.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import struct

try:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
except ImportError as error:
    raise ImportError(
        "nic.WireGuard needs the package cryptography: pip install 'pystack-lwip[wireguard]'"
    ) from error

__all__ = [
    "KEY_BYTES", "TAG_BYTES", "ChaCha20Poly1305", "InvalidTag", "PrivateKey", "digest", "kdf",
    "key_bytes", "key_text", "keyed_digest", "open_sealed", "open_x", "private_bytes",
    "seal", "seal_x",
]  # fmt: skip

KEY_BYTES, TAG_BYTES = 32, 16
# The first words of ChaCha20's state (RFC 8439, section 2.3).
_CONSTANTS = b"expand 32-byte k"
_FIRST_NONCE = bytes(12)


class PrivateKey:
    """An X25519 key pair (RFC 7748).

    Args:
        key: 32 bytes.
    """

    __slots__ = ("_key", "public")

    def __init__(self, key: bytes) -> None:
        self._key = X25519PrivateKey.from_private_bytes(key)
        self.public = self._key.public_key().public_bytes_raw()

    def exchange(self, public: bytes) -> bytes:
        """The secret shared with another's public key.

        Raises:
            ValueError: The other key is one of the few that give no secret.
        """
        try:
            return self._key.exchange(X25519PublicKey.from_public_bytes(public))
        except ValueError:
            raise ValueError(f"the public key {key_text(public)} gives no secret") from None


_KEY = "a key is 32 bytes, or their 44 characters of base64 (`wg genkey`)"


def key_bytes(text: str | bytes) -> bytes:
    """A key's 32 bytes, from these or from base64 as wg(8) has it.

    Raises:
        ValueError: It is neither; the message doesn't repeat it.
        TypeError: It is neither bytes nor a string.
    """
    if isinstance(text, bytes):
        key = text
    elif not isinstance(text, str):
        raise TypeError(f"{_KEY}, not {type(text).__name__}")
    else:
        try:
            key = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            key = b""
    if len(key) != KEY_BYTES:
        kind = "bytes" if isinstance(text, bytes) else "characters"
        raise ValueError(f"{_KEY}; this one has {len(text)} {kind}")
    return key


def private_bytes(text: str | bytes) -> bytes:
    """A private key's 32 bytes; see `key_bytes`.

    Raises:
        ValueError: It is none, or all zeros, which stand for a key that nobody has set.
    """
    key = key_bytes(text)
    if not any(key):
        raise ValueError("a private key that is all zeros is none: make one with `wg genkey`")
    return key


def key_text(key: bytes) -> str:
    """A key as base64."""
    return base64.b64encode(key).decode()


def digest(*parts: bytes) -> bytes:
    """BLAKE2s, 32 bytes, of the parts in a row."""
    return hashlib.blake2s(b"".join(parts)).digest()


def keyed_digest(key: bytes, *parts: bytes) -> bytes:
    """Keyed BLAKE2s of 16 bytes (RFC 7693)."""
    return hashlib.blake2s(b"".join(parts), key=key, digest_size=16).digest()


def kdf(key: bytes, data: bytes, count: int) -> list[bytes]:
    """HKDF with BLAKE2s (RFC 5869, as in Noise): `count` keys of 32 bytes."""
    secret = hmac.digest(key, data, "blake2s")
    keys, last = [], b""
    for number in range(1, count + 1):
        last = hmac.digest(secret, last + bytes([number]), "blake2s")
        keys.append(last)
    return keys


def seal(key: bytes, plain: bytes, associated: bytes) -> bytes:
    """ChaCha20-Poly1305 (RFC 8439) under a key that is used once."""
    return ChaCha20Poly1305(key).encrypt(_FIRST_NONCE, plain, associated)


def open_sealed(key: bytes, sealed: bytes, associated: bytes) -> bytes:
    """What `seal` has sealed.

    Raises:
        InvalidTag: It isn't.
    """
    return ChaCha20Poly1305(key).decrypt(_FIRST_NONCE, sealed, associated)


def hchacha20(key: bytes, nonce16: bytes) -> bytes:
    """A subkey from a key and 16 bytes of nonce (draft-irtf-cfrg-xchacha-03, section 2.2).

    ChaCha20's block is its permuted state plus the state itself: taking that away again leaves what
    HChaCha20 is made of.
    """
    cipher = Cipher(algorithms.ChaCha20(key, nonce16), mode=None).encryptor()
    block = struct.unpack("<16I", cipher.update(bytes(64)))
    state = struct.unpack("<16I", _CONSTANTS + key + nonce16)
    words = [(block[i] - state[i]) & 0xFFFFFFFF for i in (0, 1, 2, 3, 12, 13, 14, 15)]
    return struct.pack("<8I", *words)


def seal_x(key: bytes, nonce24: bytes, plain: bytes, associated: bytes) -> bytes:
    """XChaCha20-Poly1305 (the same draft, section 2)."""
    cipher = ChaCha20Poly1305(hchacha20(key, nonce24[:16]))
    return cipher.encrypt(bytes(4) + nonce24[16:], plain, associated)


def open_x(key: bytes, nonce24: bytes, sealed: bytes, associated: bytes) -> bytes:
    """What `seal_x` has sealed.

    Raises:
        InvalidTag: It isn't.
    """
    cipher = ChaCha20Poly1305(hchacha20(key, nonce24[:16]))
    return cipher.decrypt(bytes(4) + nonce24[16:], sealed, associated)
