"""WireGuard's protocol beside published vectors, another's Noise, and what a peer may lie about."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

import pytest

pytest.importorskip("cryptography")

from ipaddress import ip_network

from pystack.nic.wireguard import noise
from pystack.nic.wireguard.cookies import CookieJar, Gatekeeper, Load
from pystack.nic.wireguard.device import Device
from pystack.nic.wireguard.primitives import (
    InvalidTag,
    PrivateKey,
    hchacha20,
    kdf,
    open_x,
    seal_x,
)
from pystack.nic.wireguard.routes import Routes
from pystack.nic.wireguard.session import ReplayWindow

SECOND = 1_000_000


# --- vectors and another's implementation -------------------------------------------------------


def test_hchacha20_of_the_draft() -> None:
    """draft-irtf-cfrg-xchacha-03, section 2.2.1."""
    nonce = bytes.fromhex("000000090000004a0000000031415927")
    assert hchacha20(bytes(range(32)), nonce).hex() == (
        "82413b4227b27bfed30e42508a877d73a0f9e4d58a74a853c12ec41326d3ecdc"
    )


def test_xchacha20_poly1305_of_the_draft() -> None:
    """Section A.3.1."""
    plain = (
        b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the "
        b"future, sunscreen would be it."
    )
    key, nonce = bytes(range(0x80, 0xA0)), bytes(range(0x40, 0x58))
    associated = bytes.fromhex("50515253c0c1c2c3c4c5c6c7")
    sealed = seal_x(key, nonce, plain, associated)
    assert sealed[-16:].hex() == "c0875924c1c7987947deafd8780acf49"
    assert sealed[:16].hex() == "bd6d179d3e83d43b9576579493c0e939"
    assert open_x(key, nonce, sealed, associated) == plain
    with pytest.raises(InvalidTag):
        open_x(key, nonce, sealed[:-1] + bytes([sealed[-1] ^ 1]), associated)


def test_kdf_is_hkdf() -> None:
    """RFC 5869 by the package cryptography, which has it apart from ours."""
    from cryptography.hazmat.primitives.hashes import BLAKE2s
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    key, data = b"k" * 32, b"some input"
    whole = HKDF(BLAKE2s(32), length=96, salt=key, info=b"").derive(data)
    assert b"".join(kdf(key, data, 3)) == whole


def oracle(private: bytes, public: bytes, psk: bytes, *, begins: bool) -> object:
    """The same handshake by PyPI's noiseprotocol."""
    connection = pytest.importorskip("noise.connection")
    made = connection.NoiseConnection.from_name(b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s")
    made.set_as_initiator() if begins else made.set_as_responder()
    made.set_prologue(b"WireGuard v1 zx2c4 Jason@zx2c4.com")
    made.set_psks(psk=psk)
    made.set_keypair_from_private_bytes(connection.Keypair.STATIC, private)
    if begins:
        made.set_keypair_from_public_bytes(connection.Keypair.REMOTE_STATIC, public)
    made.start_handshake()
    return made


def test_we_begin_with_another_implementation() -> None:
    ours, theirs = PrivateKey(b"a" * 32), PrivateKey(b"b" * 32)
    psk, stamp = b"p" * 32, b"t" * 12
    far = oracle(b"b" * 32, ours.public, psk, begins=False)
    message, begun = noise.begin(
        ours, theirs.public, ours.exchange(theirs.public), b"e" * 32, 7, stamp
    )
    assert len(message) == noise.INITIATION_BYTES - 32
    assert far.read_message(message[8:]) == stamp
    answer = struct.pack("<B3xII", noise.RESPONSE, 9, 7) + far.write_message()
    index, sending, receiving = noise.finish(ours, begun, psk, answer + bytes(32))
    assert index == 9
    both(far, sending, receiving)
    with pytest.raises(InvalidTag):
        noise.finish(ours, begun, b"q" * 32, answer + bytes(32))


def test_another_implementation_begins_with_us() -> None:
    ours, theirs = PrivateKey(b"a" * 32), PrivateKey(b"b" * 32)
    psk, stamp = b"p" * 32, b"t" * 12
    far = oracle(b"b" * 32, ours.public, psk, begins=True)
    message = struct.pack("<B3xI", noise.INITIATION, 5) + far.write_message(stamp) + bytes(32)
    read = noise.read_initiation(ours, message)
    assert (read.public, read.timestamp, read.begun.index) == (theirs.public, stamp, 5)
    answer, sending, receiving = noise.respond(read, psk, b"f" * 32, 11)
    assert len(answer) == noise.RESPONSE_BYTES - 32
    far.read_message(answer[12:])
    both(far, sending, receiving)


def both(far: object, sending: bytes, receiving: bytes) -> None:
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

    first = struct.pack("<4xQ", 0)
    assert far.decrypt(ChaCha20Poly1305(sending).encrypt(first, b"hello", b"")) == b"hello"
    assert ChaCha20Poly1305(receiving).decrypt(first, far.encrypt(b"again"), b"") == b"again"


# --- the parts ------------------------------------------------------------------------------------


def test_window_beside_a_set() -> None:
    """RFC 6479's ring decides as a set of all that came, within the window."""
    chance, window, seen, highest = random.Random(5), ReplayWindow(), set[int](), 0
    for _each in range(20000):
        counter = max(0, highest + chance.choice([1, 1, 1, -3, -70, 200, -8000, -9000, 9000]))
        fresh = window.accept(counter)
        if counter + 8128 <= highest:
            assert not fresh
            continue
        assert fresh == (counter not in seen), counter
        seen.add(counter)
        highest = max(highest, counter)


def test_routes_beside_a_search() -> None:
    chance, routes, owners = random.Random(3), Routes[str](), dict[object, str]()
    for number in range(300):
        length = chance.randrange(33)
        network = ip_network((chance.getrandbits(32), length), strict=False)
        owners[network] = f"peer{number}"
        routes.add(network, owners[network])
    for _each in range(500):
        address = chance.getrandbits(32).to_bytes(4, "big")
        number = int.from_bytes(address, "big")
        holding = [one for one in owners if number in range(int(one[0]), int(one[-1]) + 1)]
        best = max(holding, key=lambda one: one.prefixlen, default=None)
        assert routes.find(address) == (None if best is None else owners[best])
    last = owners[network]
    assert network in routes.of(last)
    routes.remove(last)
    assert routes.of(last) == ()


class Two:
    """Two devices, what they send to each other, and a clock."""

    def __init__(self, **options: object) -> None:
        self.now_us = 10 * SECOND
        chance = random.Random(1)
        keys = [bytes([number]) * 32 for number in (1, 2)]
        self.a, self.b = (
            Device(key, epoch_us=1_700_000_000 * SECOND, random=chance.randbytes) for key in keys
        )
        self.where = {id(self.a): ("192.0.2.1", 1), id(self.b): ("192.0.2.2", 2)}
        self.lost: Callable[[bytes], bool] = lambda _datagram: False
        self.sent: list[bytes] = []
        self.got: list[bytes] = []
        for one, other, network in ((self.a, self.b, "10.0.0.2"), (self.b, self.a, "10.0.0.1")):
            endpoint = self.where[id(other)] if one is self.a else None
            one.add_peer(other.keys.public, [ip_network(network)], endpoint=endpoint, **options)

    @property
    def peer(self) -> object:
        """B, as A has it."""
        return next(iter(self.a.peers.values()))

    def carry(self) -> None:
        """Carries datagrams until neither sends more."""
        moved = True
        while moved:
            moved = False
            for one, other in ((self.a, self.b), (self.b, self.a)):
                outbox, one.outbox[:] = list(one.outbox), []
                for _endpoint, datagrams in outbox:
                    moved = True
                    self.sent += datagrams
                    kept = [each for each in datagrams if not self.lost(each)]
                    self.got += other.receive(kept, self.where[id(one)], self.now_us)

    def over(self, seconds: float) -> None:
        """Lets time pass, from one timer to the next."""
        end_us = self.now_us + int(seconds * SECOND)
        while True:
            due_us = min(self.a.due_us, self.b.due_us)
            self.now_us = min(max(due_us, self.now_us), end_us)
            if due_us > end_us:
                return
            for one in (self.a, self.b):
                one.run(self.now_us)
            self.carry()

    def kinds(self) -> list[int]:
        kinds, self.sent = [one[0] for one in self.sent], []
        return kinds


def packet(source: str, destination: str, size: int = 60) -> bytes:
    """An IPv4 packet, as far as WireGuard looks."""
    addresses = ip_network(source)[0].packed + ip_network(destination)[0].packed
    return struct.pack("!BBHIII", 0x45, 0, size, 0, 0, 0)[:12] + addresses + bytes(size - 20)


TO_B, TO_A = packet("10.0.0.1", "10.0.0.2"), packet("10.0.0.2", "10.0.0.1")


def test_a_handshake_and_packets_both_ways() -> None:
    two = Two()
    two.a.send([TO_B, TO_B], two.now_us)
    two.carry()
    assert two.got == [TO_B, TO_B]
    assert two.kinds() == [1, 2, 4, 4]  # what waited is the confirmation; no keep-alive
    two.b.send([TO_A], two.now_us)
    two.carry()
    assert two.got[2:] == [TO_A]
    assert two.a.snapshot() == two.b.snapshot() == type(two.a.drops)()


def test_an_initiation_is_sent_again_for_90_seconds() -> None:
    two = Two()
    two.lost = lambda _datagram: True
    two.a.send([TO_B], two.now_us)
    two.over(200)
    tries = len(two.kinds())
    assert 17 <= tries <= 19
    assert two.a.drops.unsent == 1  # what waited for it
    two.over(600)
    assert two.kinds() == []
    assert not two.a._begun  # given up, and forgotten
    two.lost = lambda _datagram: False
    two.a.send([TO_B], two.now_us)
    two.carry()
    assert two.got == [TO_B]


def test_rekeys_after_two_minutes_of_use_and_forgets_after_nine_of_none() -> None:
    two = Two()
    for _each in range(130):
        two.a.send([TO_B], two.now_us)
        two.carry()
        two.over(1)
    assert two.kinds().count(1) == 2
    assert len(two.got) == 130
    two.over(600)
    assert two.peer.current is None
    assert not two.a._sessions
    assert not two.b._sessions


def test_a_receiver_keeps_the_session_alive_and_answers_with_a_keep_alive() -> None:
    two = Two()
    two.a.send([TO_B], two.now_us)
    two.carry()
    two.kinds()
    two.over(9)
    assert two.kinds() == []
    two.over(2)
    assert two.kinds() == [4]  # KEEPALIVE_TIMEOUT
    two.over(3600)
    assert two.kinds() == []  # a silent tunnel stays silent


def test_silence_begins_a_new_handshake() -> None:
    two = Two()
    two.a.send([TO_B], two.now_us)
    two.carry()
    two.over(30)
    two.kinds()
    two.lost = lambda datagram: datagram[0] == 4
    two.a.send([TO_B], two.now_us)
    two.carry()
    two.over(14)
    assert 1 not in two.kinds()
    two.over(2)
    assert 1 in two.kinds()


def test_persistent_keepalive() -> None:
    two = Two(persistent_us=25 * SECOND)
    two.over(1000)
    kinds = two.kinds()
    assert kinds[0] == 1
    assert kinds.count(4) >= 1000 // 25
    assert two.peer.current is not None


def test_both_begin_at_once() -> None:
    two = Two()
    two.b.peers[two.a.keys.public].endpoint = two.where[id(two.a)]
    two.a.send([TO_B], two.now_us)
    two.b.send([TO_A], two.now_us)
    two.carry()
    two.over(30)
    two.a.send([TO_B], two.now_us)
    two.b.send([TO_A], two.now_us)
    two.carry()
    assert two.got.count(TO_B) == 2
    assert two.got.count(TO_A) == 2


def test_roaming() -> None:
    two = Two()
    two.a.send([TO_B], two.now_us)
    two.carry()
    two.where[id(two.a)] = ("198.51.100.7", 9)
    two.a.send([TO_B], two.now_us)
    two.carry()
    (peer,) = two.b.peers.values()
    assert peer.endpoint == ("198.51.100.7", 9)


# --- what a stranger sends ------------------------------------------------------------------------


@pytest.mark.sanitize
def test_drops_have_reasons() -> None:
    two = Two()
    two.a.send([TO_B], two.now_us)
    two.carry()
    initiation, data = two.sent[0], two.sent[2]
    elsewhere = ("203.0.113.9", 5)

    def dropped(datagram: bytes) -> str:
        before = two.b.snapshot()
        assert two.b.receive([datagram], elsewhere, two.now_us) == []
        after = two.b.snapshot()
        changed = [one for one in vars(after) if getattr(after, one) != getattr(before, one)]
        assert len(changed) == 1, changed
        return changed[0]

    two.now_us += SECOND
    assert dropped(data) == "replayed"
    assert dropped(initiation) == "replayed"
    assert dropped(data[:-1]) == "forged"
    fresh = struct.pack("<B3xIQ", 4, *struct.unpack_from("<I", data, 4), 77)
    assert dropped(fresh + data[16:]) == "forged"
    assert dropped(fresh) == "malformed"
    assert dropped(b"") == "malformed"
    assert dropped(b"\1") == "malformed"
    assert dropped(b"\4\0\1\0" + data[4:]) == "malformed"
    assert dropped(initiation[:-1]) == "malformed"
    assert dropped(initiation[:-33] + b"\0" + initiation[-32:]) == "forged"
    assert dropped(struct.pack("<B3xIQ", 4, 12345, 0) + bytes(32)) == "unknown"
    (peer,) = two.b.peers.values()
    assert peer.endpoint != elsewhere  # nothing of that was authentic
    for size in range(150):
        two.b.receive([bytes([4, 0, 0, 0]) + bytes(size), bytes(size)], elsewhere, two.now_us)
    two.b.remove_peer(two.a.keys.public)
    two.a.remove_peer(two.b.keys.public)
    two.a.add_peer(two.b.keys.public, [ip_network("10.0.0.2")], endpoint=("192.0.2.2", 2))
    two.now_us += SECOND
    two.a.send([TO_B], two.now_us)
    before = two.b.drops.unknown
    two.carry()
    assert two.b.drops.unknown == before + 1


def test_a_source_that_is_not_the_peers_is_dropped() -> None:
    two = Two()
    for bad in (packet("10.0.0.9", "10.0.0.2"), packet("10.0.0.1", "10.0.0.2", 60)[:40], b"\x65"):
        two.a._send_to(two.peer, [bad], two.now_us)
    two.carry()
    assert two.got == []
    assert two.b.drops.misaddressed == 3
    two.a.send([packet("10.0.0.1", "10.0.0.77")], two.now_us)
    assert two.a.drops.unrouted == 1
    short = (b"", b"\x45", TO_B[:19], b"\x60", b"\x60" + bytes(24), b"\x60" + bytes(38))
    for bad in short:
        two.a.send([bad], two.now_us)
    assert two.a.drops.unrouted == 1 + len(short)


def test_wrong_preshared_key() -> None:
    two = Two()
    two.peer.preshared = b"x" * 32
    two.a.send([TO_B], two.now_us)
    two.carry()
    assert two.got == []
    assert two.a.drops.forged == 1


def test_under_load_an_address_is_proved() -> None:
    two = Two()
    stranger = Device(b"\7" * 32, random=random.Random(9).randbytes)
    stranger.add_peer(two.b.keys.public, [ip_network("10.0.0.2")], endpoint=("192.0.2.2", 2))
    for number in range(150):  # a flood from anywhere
        stranger._initiate(next(iter(stranger.peers.values())), two.now_us + number * 6 * SECOND)
        ((_to, (message,)),) = stranger.outbox
        stranger.outbox.clear()
        two.b.receive([message], (f"203.0.113.{number}", 5), two.now_us)
    assert two.b.drops.refused > 0
    assert all(datagrams[0][0] == 3 for _to, datagrams in two.b.outbox)
    two.b.outbox.clear()
    two.a.send([TO_B], two.now_us)
    two.carry()
    assert two.kinds() == [1, 3]  # a cookie instead of an answer
    two.b._load._until_us = two.now_us + 60 * SECOND
    two.over(6)
    assert two.kinds()[:2] == [1, 2]  # with mac2
    assert two.got == [TO_B]


def test_cookies_expire_and_are_bound_to_the_address() -> None:
    keeper = Gatekeeper(b"\3" * 32, random.Random(2).randbytes)
    jar = CookieJar(b"\3" * 32)
    message = jar.sign(b"\1\0\0\0abcd" + bytes(100), 0)
    assert keeper.is_for_us(message)
    assert not keeper.has_cookie(message, b"here", 0)
    reply = keeper.reply(message, b"here", 0)
    assert not CookieJar(b"\3" * 32).take(reply, 0)
    assert jar.take(reply, 0)
    assert not jar.take(reply, 0)  # one for a message
    again = jar.sign(b"\1\0\0\0abcd" + bytes(100), SECOND)
    assert keeper.has_cookie(again, b"here", SECOND)
    assert not keeper.has_cookie(again, b"there", SECOND)
    assert not keeper.has_cookie(again, b"here", 130 * SECOND)
    late = jar.sign(b"\1\0\0\0abcd" + bytes(100), 130 * SECOND)
    assert late[-16:] == bytes(16)


def test_load_limits_an_address_and_forgets() -> None:
    load = Load()
    assert sum(load.allows("192.0.2.1", 0) for _each in range(50)) == 5
    assert load.allows("192.0.2.2", 0)
    assert load.allows("192.0.2.1", SECOND)
    for number in range(10000):
        load.allows(str(number), SECOND)
    assert len(load._buckets) <= 4096


def test_many_peers_cost_only_those_that_are_due() -> None:
    chance = random.Random(4)
    device = Device(b"\1" * 32, random=chance.randbytes)
    for number in range(300):
        device.add_peer(
            PrivateKey(chance.randbytes(32)).public,
            [ip_network((0x0A000000 + number, 32))],
            endpoint=("192.0.2.1", 1000 + number),
            persistent_us=25 * SECOND if number == 7 else 0,
        )
    device.run(0)
    assert len(device.outbox) == 1
    assert device.outbox[0][0] == ("192.0.2.1", 1007)
    with pytest.raises(ValueError, match="there is a peer"):
        device.add_peer(next(iter(device.peers)))
    with pytest.raises(ValueError, match="interface's"):
        device.add_peer(device.keys.public)


def test_what_is_changed_in_the_least_is_dropped() -> None:
    """Any bit of any datagram: nothing of it arrives, nothing ends, and the next packet passes."""
    two, chance = Two(), random.Random(11)
    two.a.send([TO_B], two.now_us)
    two.carry()
    originals, arrived = list(two.sent), len(two.got)
    for _each in range(1500):
        changed = bytearray(chance.choice(originals))
        for _bit in range(chance.choice((1, 1, 3))):
            changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
        cut = bytes(changed[: chance.choice((len(changed), chance.randrange(len(changed))))])
        for one in (two.a, two.b):
            assert one.receive([cut], ("203.0.113.9", 1), two.now_us) == []
        two.now_us += 1000
    assert all(datagrams[0][0] == 3 for _to, datagrams in two.b.outbox)  # cookies, if anything
    two.a.outbox.clear()
    two.b.outbox.clear()
    two.a.send([TO_B], two.now_us)
    two.carry()
    assert two.got[arrived:] == [TO_B]
