"""A session: the keys of a finished handshake, its counters, and the window against replays."""

from __future__ import annotations

from pystack.nic.wireguard.primitives import ChaCha20Poly1305

__all__ = ["REJECT_AFTER_MESSAGES", "REKEY_AFTER_MESSAGES", "ReplayWindow", "Session"]

REKEY_AFTER_MESSAGES = 1 << 60
_WORD_BITS, _WORDS = 64, 128
_WINDOW = _WORD_BITS * (_WORDS - 1)
REJECT_AFTER_MESSAGES = (1 << 64) - (_WINDOW + _WORD_BITS) - 1


class ReplayWindow:
    """Which of the last 8128 counters have been seen (RFC 6479).

    A ring of words: moving on clears whole words, and shifts none.
    """

    __slots__ = ("_highest", "_words")

    def __init__(self) -> None:
        self._highest = -1
        self._words = [0] * _WORDS

    def accept(self, counter: int) -> bool:
        """Takes note of an authentic packet's counter; whether it is new."""
        within = counter % _WORD_BITS
        if counter == self._highest + 1 and within:  # as most do: in order, in the same word
            self._highest = counter
            self._words[counter // _WORD_BITS % _WORDS] |= 1 << within
            return True
        word, bit = counter // _WORD_BITS, 1 << within
        if counter > self._highest:
            current = self._highest // _WORD_BITS
            for number in range(max(current, word - _WORDS) + 1, word + 1):
                self._words[number % _WORDS] = 0
            self._highest = counter
        elif self._highest - counter >= _WINDOW:
            return False
        place = word % _WORDS
        seen = self._words[place]
        self._words[place] = seen | bit
        return not seen & bit


class Session:
    """The keys of a finished handshake.

    Attributes:
        index: Our number for it, in what comes.
        far_index: The peer's, in what is sent.
        is_initiator: Whether we began it.
        born_us: When it was made.
        counter: Of the next packet that is sent.
        sending: Seals what is sent.
        receiving: Opens what comes.
        window: What has come.
    """

    __slots__ = (
        "born_us", "counter", "far_index", "index", "is_initiator", "receiving", "sending",
        "window",
    )  # fmt: skip

    def __init__(
        self,
        index: int,
        far_index: int,
        keys: tuple[bytes, bytes],
        *,
        is_initiator: bool,
        now_us: int,
    ) -> None:
        self.index, self.far_index = index, far_index
        self.is_initiator = is_initiator
        self.born_us = now_us
        self.counter = 0
        self.sending, self.receiving = ChaCha20Poly1305(keys[0]), ChaCha20Poly1305(keys[1])
        self.window = ReplayWindow()
