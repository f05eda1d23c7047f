"""Short programs, each complete: read one, run it, change it.

`python -m pystack.examples.NAME`; every one is also a test. All but `web_server` need neither root
nor a device. `PYSTACK_ENGINE=linux python -m ...` runs one on another engine.

- `first_socket`: a Stack, its loopback interface, a socket.
- `two_stacks`: two Stacks on an in-memory wire.
- `tunnel`: HTTP through a tunnel, frames over a pair of UNIX sockets.
- `intercept`: connections, datagrams and pings to hosts that aren't there (the engine lwip alone).
- `forwarder`: such flows forwarded by the kernel's sockets (as well).
- `socks_server`: a SOCKS5 server on the kernel whose connections leave through a Stack.
- `asyncio_stacks`: asyncio's streams, the server on one Stack and the client on another.
- `device_tunnel`: a device behind a stream of packets, pinged and dialled from an asyncio loop.
- `python_nic`: a NIC written in Python, whose frames an asyncio loop carries.
- `wireguard`: two WireGuard peers in one process, and a server beyond the tunnel.
- `virtual_time`: an hour of TCP in a moment, under a clock of your own.
- `crash_and_retry`: a World whose server loses power, and a client that retries.
- `week_of_keepalive`: a World in which a week passes, and a peer that is gone.
- `chat`: an asyncio chat over a link that is cut for two minutes and heals.
- `real_time`: one download in virtual time, in real time, and over TAP devices.
- `http_threads`: requests in eight threads against `http.server`.
- `http_clients`: aiohttp and httpx in one loop.
- `gateway`: a guest with an address, names, the way out and a port that leads in.
- `hole_punching`: a World with NATs, and two peers behind them that find each other.
- `black_hole`: a World in which a part of the way carries less, and nobody says so.
- `bufferbloat`: a World with a buffer that is too long, and CoDel.
- `loss_and_round_trip`: what they leave of a link's rate, beside the bound of Mathis.
- `election`: a World in which a search finds two leaders in one term, under a partition.
- `half_open`: another that finds a connection which stays half open after a crash.
- `ping`: ping and traceroute as a tool.
- `web_server`: HTTP over a TAP, for the kernel's programs to fetch.
- `scapy_beside`: scapy's scan, handshake and TCP client beside a Stack (needs scapy).
- `fuzz_server`: a World in which requests are mutated below TCP, and the seed that breaks a server.
- `boofuzz_target`: boofuzz through a Stack's TCP and a wire that tampers (needs boofuzz).
- `capture`: a lossy wire and its capture for Wireshark.
- `my_case`, `my_host`: a case and a Host of your own for the lab (`pystack lab run --load FILE`).
"""
