"""Files of wg-quick: what is understood, and what errors say."""

from __future__ import annotations

import gc
import socket
import subprocess
import sys
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("cryptography")

import pystack
from pystack.nic.wireguard import PeerConfig, WireGuard, parse_config
from pystack.nic.wireguard.primitives import PrivateKey, key_bytes, key_text

KEY, PUBLIC, PRESHARED = "D" * 42 + "A=", "B" * 42 + "A=", "C" * 42 + "A="
ZEROS = "A" * 43 + "="
OWN = key_text(PrivateKey(key_bytes(KEY)).public)
WHOLE = f"""
# a comment
[Interface]
PrivateKey = {KEY}
ListenPort = 51821   # another
Address = 10.9.0.2/24, fd00:9::2/64
address = 10.9.1.2
DNS = 10.9.0.1, fd00:9::1, corp.example
MTU = 1380
PostUp = iptables -A FORWARD -i %i = x
Table = off
FwMark = 0x1

[Peer]
PublicKey = {PUBLIC}
PresharedKey = {PRESHARED}
AllowedIPs = 10.9.0.1/24, 0.0.0.0/0
AllowedIPs = ::/0
Endpoint = [2001:db8::1]:51820
PersistentKeepalive = 25

[Peer]
PublicKey = {PRESHARED}
PersistentKeepalive = off
"""


def test_a_whole_file() -> None:
    config = parse_config(WHOLE, "wg0.conf")
    assert config.private_key == key_bytes(KEY)
    assert (config.listen_port, config.mtu) == (51821, 1380)
    assert config.addresses == (
        ip_interface("10.9.0.2/24"), ip_interface("fd00:9::2/64"), ip_interface("10.9.1.2/32"),
    )  # fmt: skip
    assert config.dns == (ip_address("10.9.0.1"), ip_address("fd00:9::1"))
    assert config.search == ("corp.example",)
    assert config.ignored == ("wg0.conf, line 10: PostUp", "wg0.conf, line 12: FwMark")
    first, second = config.peers
    assert first.endpoint == ("2001:db8::1", 51820)
    assert first.persistent_keepalive == 25
    assert first.allowed_ips == tuple(map(ip_network, ("10.9.0.0/24", "0.0.0.0/0", "::/0")))
    assert first.preshared_key is not None
    assert (second.allowed_ips, second.endpoint, second.persistent_keepalive) == ((), None, 0)
    assert "C" * 20 not in repr(config)
    assert repr(key_bytes(KEY)) not in repr(config).partition("peers")[0]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("[Peer]\nPublicKy = x", ["line 4", "no such key in [peer]", "PublicKy"]),
        ("Colour = blue", ["line 3", "Colour"]),
        ("[Pear]", ["line 3", "[Interface] or [Peer]"]),
        ("[Interface]", ["line 3", "one [Interface]"]),
        ("nonsense", ["line 3", "KEY = VALUE"]),
        ("Address = 10.0.0.300/24", ["line 3", "Address", "10.0.0.300"]),
        ("ListenPort = 70000", ["line 3", "ListenPort", "65535"]),
        ("MTU = big", ["line 3", "MTU"]),
        ("[Peer]\nEndpoint = host", ["line 4", "HOST:PORT"]),
        ("[Peer]\nEndpoint = 2001:db8::1:5", ["line 4", "brackets"]),
        ("[Peer]\nEndpoint = host:0", ["line 4", "from 1"]),
        ("[Peer]\nAllowedIPs = 10.0.0.0/40", ["line 4", "AllowedIPs"]),
        ("[Peer]\nPublicKey = short", ["line 4", "44 characters"]),
        ("[Peer]\nPersistentKeepalive = 70000", ["line 4", "65535"]),
        ("[Peer]\nEndpoint = a:1", ["line 3", "no PublicKey"]),
        ("MTU = 10", ["line 3", "MTU", "68", "65475", "'10'"]),
        ("MTU = 65476", ["line 3", "MTU", "65475"]),
        ("ListenPort = ٣", ["line 3", "ListenPort", "'٣'"]),
        ("DNS = exa mple", ["line 3", "DNS", "'exa mple' is no name"]),
        (f"PrivateKey = {ZEROS}", ["line 3", "PrivateKey", "all zeros", "wg genkey"]),
        ("[Peer]\nEndpoint = a..b:5", ["line 4", "Endpoint", "'a..b' is no name", "63"]),
        (f"[Peer]\nEndpoint = {'a' * 64}.b:5", ["line 4", "Endpoint", "63"]),
        (f"[Peer]\nEndpoint = {'abc.' * 64}d:5", ["line 4", "Endpoint", "253"]),
        ("[Peer]\nEndpoint = a:٣", ["line 4", "Endpoint", "from 1"]),
        ("[Peer]\nEndpoint = [::x]:5", ["line 4", "Endpoint", "::x"]),
        (f"[Peer]\n\nPublicKey = {ZEROS}", ["line 5", "PublicKey", "no secret"]),
        (f"[Peer]\n\nPublicKey = {OWN}", ["line 5", "PublicKey", "this interface's"]),
        (
            f"[Peer]\nPublicKey = {PUBLIC}\n[Peer]\n\nPublicKey = {PUBLIC}",
            ["line 7: PublicKey", "another peer", "line 4: PublicKey"],
        ),
    ],
)
def test_an_error_names_line_and_key(line: str, words: list[str]) -> None:
    with pytest.raises(ValueError) as caught:
        parse_config(f"[Interface]\nPrivateKey = {KEY}\n{line}\n", "x.conf")
    for word in words:
        assert word in str(caught.value)


def test_a_file_without_a_key() -> None:
    with pytest.raises(ValueError, match="has no PrivateKey"):
        parse_config("[Interface]\n")
    with pytest.raises(ValueError, match="in a section"):
        parse_config("PrivateKey = x\n")


def test_a_secret_stays_out_of_the_message() -> None:
    with pytest.raises(ValueError) as caught:
        parse_config("[Interface]\nPrivateKey = hunter2hunter2\n")
    assert "hunter2" not in str(caught.value)


def test_arguments_are_checked() -> None:
    with pytest.raises(ValueError, match="65535 s"):
        PeerConfig(KEY, persistent_keepalive=-1)
    with pytest.raises(ValueError, match="port"):
        PeerConfig(KEY, endpoint=("host", 0))
    with pytest.raises(ValueError, match="32 bytes"):
        WireGuard("short")
    with pytest.raises(ValueError, match="all zeros"):
        WireGuard(bytes(32))
    with pytest.raises(ValueError, match="MTU"):
        WireGuard(KEY, mtu=20)
    with pytest.raises(ValueError, match="there is a peer"):
        WireGuard(KEY, [PeerConfig(PUBLIC), PeerConfig(PUBLIC)])


def test_a_byte_order_mark_is_none_of_the_first_line() -> None:
    config = parse_config(f"\ufeff[Interface]\nPrivateKey = {KEY}\nDNS = a.example., 1.1.1.1\n")
    assert config.private_key == key_bytes(KEY)
    assert config.search == ("a.example.",)


def test_an_endpoint_that_is_unknown_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody(*_asked: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    path = tmp_path / "wg0.conf"
    path.write_text(
        f"[Interface]\nPrivateKey = {KEY}\n[Peer]\nPublicKey = {PUBLIC}\nEndpoint = nx.example:5\n"
    )
    monkeypatch.setattr(socket, "getaddrinfo", nobody)
    with pytest.raises(socket.gaierror, match=r"line 5: Endpoint: the endpoint 'nx\.example'"):
        WireGuard.from_config(path)


@pytest.mark.parametrize(
    "peer",
    [{"public_key": ZEROS}, {"public_key": PUBLIC, "endpoint": ("a..b", 5)}],
    ids=["a key", "a name"],
)
def test_what_is_refused_keeps_no_descriptor(peer: dict[str, Any]) -> None:
    gc.collect()  # of other tests
    gc.disable()
    before = descriptors()
    try:
        for _ in range(3):
            with pytest.raises(ValueError, match=r"no secret|'a\.\.b' is no name"):
                WireGuard(KEY, [PeerConfig(PRESHARED), PeerConfig(**peer)])
        assert descriptors() == before
    finally:
        gc.enable()


def descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_a_file_becomes_a_nic(tmp_path) -> None:
    path = tmp_path / "wg0.conf"
    text = WHOLE.replace("ListenPort = 51821", "ListenPort = 0")
    path.write_text(text.replace("[2001:db8::1]", "127.0.0.1"))
    with pytest.warns(UserWarning, match=r"line 1\d: (PostUp|FwMark) is ignored"):
        made = WireGuard.from_config(path)
    with made, pystack.Stack() as net:
        interface = made.up(net)
        assert interface.mtu == 1380
        assert [str(one) for one in net.nameservers] == ["10.9.0.1", "fd00:9::1"]
        routes = {str(route.destination) for route in net.routes}
        assert {"0.0.0.0/0", "::/0", "10.9.0.0/24"} <= routes
        assert [len(peer.allowed_ips) for peer in made.peers()] == [3, 0]
    with pytest.raises(OSError):
        WireGuard.from_config(tmp_path / "none.conf")


def test_the_command_says_what_it_ignores(tmp_path) -> None:
    path = tmp_path / "wg0.conf"
    path.write_text(f"[Interface]\nPrivateKey = {KEY}\nPostUp = true\nAddress = 10.9.0.2/24\n")
    command = [sys.executable, "-m", "pystack", "ping", "10.9.0.2", "-c", "1", "--nic"]
    done = subprocess.run(
        [*command, f"wg:{path}"], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith(f"pystack ping: {path}, line 3: PostUp is ignored")
    assert len(done.stderr.splitlines()) == 1
    path.write_text("[Interface]\nPrivateKy = x\n")
    done = subprocess.run(
        [*command, f"wg:{path}"], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 2
    assert "line 2: no such key" in done.stderr


def test_without_cryptography(tmp_path) -> None:
    code = (
        "import sys; sys.modules['cryptography.exceptions'] = None\n"
        "import pystack\n"
        "from pystack.nic import *\n"
        "assert Udp is pystack.nic.Udp\n"
        "assert 'cryptography' not in sys.modules and 'pystack.nic.wireguard' not in sys.modules\n"
        "try:\n    pystack.nic.WireGuard\n"
        "except ImportError as error:\n    print(error)\n"
        "try:\n    pystack.nic.parse('wg:x')\n"
        "except ValueError as error:\n    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert done.stdout.count("pip install 'pystack-lwip[wireguard]'") == 2


def test_nic_has_it_when_asked() -> None:
    assert pystack.nic.WireGuard is WireGuard
    with pytest.raises(AttributeError, match="Wireguard"):
        pystack.nic.Wireguard  # noqa: B018
