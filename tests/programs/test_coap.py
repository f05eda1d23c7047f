"""aiocoap, unmodified: its udp6 transport wants IPV6_RECVERR, and learns by it who isn't there."""

from __future__ import annotations

import asyncio

import pytest

import pystack

aiocoap = pytest.importorskip("aiocoap")
resource = pytest.importorskip("aiocoap.resource")


class Kept(resource.Resource):  # type: ignore[misc]
    """Gives what was put; longer than one datagram."""

    def __init__(self) -> None:
        super().__init__()
        self.data = bytes(3000)

    async def render_get(self, _request: object) -> object:
        return aiocoap.Message(payload=self.data)

    async def render_put(self, request: aiocoap.Message) -> object:
        self.data = request.payload
        return aiocoap.Message(code=aiocoap.CHANGED)


async def exchange(net: pystack.Stack) -> None:
    site = resource.Site()
    site.add_resource(["kept"], Kept())
    server = await aiocoap.Context.create_server_context(
        site, bind=("::1", 5683), transports=["udp6"]
    )
    client = await aiocoap.Context.create_client_context(transports=["udp6"])

    async def ask(code: object, where: str, data: bytes = b"") -> aiocoap.Message:
        request = aiocoap.Message(code=code, uri=f"coap://{where}/kept", payload=data)
        return await client.request(request).response

    try:
        assert len((await ask(aiocoap.GET, "[::1]")).payload) == 3000
        assert (await ask(aiocoap.PUT, "[::1]", b"hello" * 500)).code == aiocoap.CHANGED
        assert (await ask(aiocoap.GET, "[::1]")).payload == b"hello" * 500
        assert net.counters()["udp.in_datagrams"] > 10
        began = asyncio.get_running_loop().time()
        for nobody in ("[::1]:999", "127.0.0.1:999"):
            with pytest.raises(aiocoap.error.NetworkError):
                await ask(aiocoap.GET, nobody)
        # By the ICMP error, and not because all retransmissions were in vain.
        assert asyncio.get_running_loop().time() - began < 30
    finally:
        await client.shutdown()
        await server.shutdown()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_aiocoap() -> None:
    with pystack.Stack() as net, net.installed():
        asyncio.run(exchange(net))
