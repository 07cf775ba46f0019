import asyncio
import itertools
import math
import os
import socket
import struct

import h11
import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from course import proxies
from course.proxies import Failure, drive, serve

sizes_ = st.lists(st.integers(1, 50), min_size=1, max_size=12)


def ask(layer, *requests, servers=3, routes=None):
    """Send requests one after the other through a proxy and return the responses and what the proxy saw."""

    async def run():
        async with (
            serve(layer, servers, routes=routes) as (proxy, backends),
            httpx.AsyncClient(base_url=proxy.url, trust_env=False) as client,
        ):
            return [await client.request(*one) for one in requests], proxy.seen, backends

    return asyncio.run(run())


# --- real proxies -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", proxies.LAYERS)
@pytest.mark.parametrize(("requests", "servers"), [([9, 2, 2], 2), ([3] * 6, 3), ([5], 4), ([1] * 7, 3)])
def test_real_proxies_do_what_the_model_says(layer, requests, servers):
    run = asyncio.run(drive(layer, requests, servers=servers))
    assert list(run.answered.values()) == proxies.simulate(requests, servers, layer).tolist()
    assert run.received == run.answered and run.failures == ()


def test_a_server_that_dies_takes_its_connections_with_it_at_layer_4():
    run = asyncio.run(drive("layer 4", [4] * 6, servers=3, kill="B", at_request=2))
    assert run.failures == (Failure(1, 2, "connection lost"), Failure(4, 2, "connection lost"))
    assert run.received["B"] == 6 and run.answered["B"] == 4
    # Both clients come back, and are given to the servers that are left.
    assert sum(run.answered.values()) == 22


def test_layer_7_sends_again_what_may_be_sent_again():
    run = asyncio.run(drive("layer 7", [4] * 6, servers=3, kill="B", at_request=2))
    assert run.failures == () and sum(run.answered.values()) == 24
    assert sum(run.received.values()) == 26  # two of them twice
    posted = asyncio.run(drive("layer 7", [4] * 6, servers=3, kill="B", at_request=2, method="POST"))
    assert [failure.why for failure in posted.failures] == ["502", "502"]
    assert {failure.request for failure in posted.failures} == {2}
    assert sum(posted.received.values()) == 24 == sum(posted.answered.values()) + 2


def test_a_request_that_no_server_got_is_sent_to_the_next_whatever_its_method():
    async def run(layer):
        async with (
            serve(layer, 3) as (proxy, backends),
            httpx.AsyncClient(base_url=proxy.url, trust_env=False) as client,
        ):
            await backends["A"].kill()
            return [(await client.post("/")).json()["server"] for _ in range(4)]

    assert asyncio.run(run("layer 7")) == ["B", "C", "B", "C"]
    assert asyncio.run(run("layer 4")) == ["B"] * 4


@pytest.mark.parametrize(("layer", "why"), [("layer 4", "connection lost"), ("layer 7", "503")])
def test_no_server_is_left(layer, why):
    run = asyncio.run(drive(layer, [2, 2], servers=1, kill="A", at_request=0))
    assert run.failures == tuple(Failure(c, r, why) for c, r in itertools.product(range(2), range(2)))


def test_what_each_layer_sees():
    def names(layer):
        responses, seen, _ = ask(layer, ("GET", "/cart?item=7"))
        return responses[0].json(), seen[0]

    told4, seen4 = names("layer 4")
    assert set(seen4) == {
        *("client address", "client port", "server address", "server port"),
        *("bytes to the server", "bytes to the client"),
    }
    assert seen4["bytes to the server"] > 0 and seen4["bytes to the client"] > 0
    told7, seen7 = names("layer 7")
    assert (seen7["method"], seen7["path"]) == ("GET", "/cart?item=7") and "user-agent" in seen7
    # Neither lets the server see the client's port; only layer 7 can tell it the address.
    assert told4["forwarded for"] == "" and told7["forwarded for"] == "127.0.0.1"
    assert told4["peer"] != f"127.0.0.1:{seen4['client port']}"


def test_routes_by_path_longest_first():
    paths = ["/", "/images/1", "/images/2", "/images/large/1", "/api", "/"]
    responses, _, _ = ask(
        "layer 7", *(("GET", path) for path in paths), routes={"/images": "C", "/images/large": "B"}
    )
    assert [one.json()["server"] for one in responses] == ["A", "C", "C", "B", "B", "C"]


def test_layer_7_keeps_fields_of_the_connection_to_itself():
    request = h11.Request(
        method="GET",
        target="/",
        headers=[
            *(("host", "a"), ("connection", "close, X-Hop"), ("x-hop", "1"), ("te", "trailers")),
            *(("x-forwarded-for", "192.0.2.1"), ("cookie", "c=1")),
        ],
    )
    fields = dict(proxies._forwarded(request, b"", ("198.51.100.7", 1)).headers)
    assert set(fields) == {b"host", b"cookie", b"x-forwarded-for", b"via", b"connection"}
    assert fields[b"x-forwarded-for"] == b"192.0.2.1, 198.51.100.7"


def test_bodies_and_head_pass():
    responses, seen, _ = ask("layer 7", ("HEAD", "/"), ("GET", "/"))
    assert [one.status_code for one in responses] == [200, 200]
    assert responses[0].content == b"" and int(responses[0].headers["content-length"]) > 0

    async def post(size):
        async with (
            serve("layer 7", 1) as (proxy, _),
            httpx.AsyncClient(base_url=proxy.url, trust_env=False) as client,
        ):
            return (await client.post("/", content=bytes(size))).status_code, proxy.seen

    status, seen = asyncio.run(post(100_000))
    assert status == 200 and seen[0]["bytes of the body"] == 100_000
    assert asyncio.run(post(proxies.MAX_BODY + 1))[0] == 413


def test_what_is_no_http_is_refused_at_layer_7_and_copied_at_layer_4():
    async def say(layer):
        async with serve(layer, 1) as (proxy, backends):
            reader, writer = await asyncio.open_connection(proxy.host, proxy.port)
            writer.write(b"nonsense\r\n\r\n")
            answer = await reader.read()
            writer.close()
            return answer, backends["A"].received

    for layer in proxies.LAYERS:
        answer, received = asyncio.run(say(layer))
        assert answer.startswith(b"HTTP/1.1 400 ") and received == 0


def test_nagle_is_off_where_a_connection_is_accepted():
    class Listener(proxies._Listener):
        async def _talk(self, reader, writer):
            accepted = writer.get_extra_info("socket")
            writer.write(bytes([accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0]))
            await writer.drain()
            writer.close()
            await writer.wait_closed()

    async def run():
        listener = Listener()
        async with listener:
            reader, writer = await asyncio.open_connection(listener.host, listener.port)
            told = await reader.read()
            writer.close()
            return told

    assert asyncio.run(run()) == b"\x01"


def test_a_client_that_breaks_off_leaves_no_connection_behind():
    async def run():
        async with serve("layer 4", 1) as (proxy, backends):
            _, writer = await asyncio.open_connection(proxy.host, proxy.port)
            while not backends["A"]._tasks:
                await asyncio.sleep(0.001)
            # Closed with a reset instead of an orderly end.
            linger = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.close()
            while backends["A"]._tasks or proxy._tasks:
                await asyncio.sleep(0.001)

    asyncio.run(asyncio.wait_for(run(), 10))


@pytest.mark.parametrize("layer", proxies.LAYERS)
def test_everything_is_closed_afterwards_even_after_an_error(layer):
    async def run():
        before = asyncio.all_tasks()
        with pytest.raises(KeyError):
            async with serve(layer) as (proxy, backends):
                _, writer = await asyncio.open_connection(proxy.host, proxy.port)
                await asyncio.sleep(0.01)
                raise KeyError("in the cell")
        writer.close()
        assert asyncio.all_tasks() == before
        for one in (proxy, *backends.values()):
            with pytest.raises(OSError):
                await asyncio.open_connection(one.host, one.port)

    asyncio.run(run())


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: drive("layer 5", [1]), "layer = 'layer 5': "),
        (lambda: drive("layer 4", []), "number of connections = 0: "),
        (lambda: drive("layer 4", [0]), "requests of a connection = 0: "),
        (lambda: drive("layer 4", [600, 600]), "requests in all = 1200: "),
        (lambda: drive("layer 4", [1], servers=17), "servers = 17: "),
        (lambda: drive("layer 4", [1], method="PUT"), "method = 'PUT': "),
        (lambda: drive("layer 4", [1], kill="D", at_request=0), "kill = 'D': "),
        (lambda: drive("layer 4", [2], kill="A", at_request=2), "at_request = 2: "),
        (lambda: serve("layer 4", routes={"/": "A"}).__aenter__(), "routes = "),
        (lambda: serve("layer 7", routes={"/": "Z"}).__aenter__(), "server of a route = 'Z': "),
    ],
)
def test_refusals_of_the_real_one(call, told):
    async def run():
        await call()

    with pytest.raises(ValueError, match=told):
        asyncio.run(run())


# --- the model ----------------------------------------------------------------------------------------------


@given(st.integers(1, 40), st.integers(0, 500), st.floats(0, 4), st.integers(1, 600), st.integers(0, 99))
def test_connections_carry_all_requests(clients, more, spread, most, seed):
    sizes = proxies.connection_sizes(clients, clients + more, spread=spread, most=most, seed=seed)
    assert sizes.sum() == clients + more and sizes.min() >= 1 and sizes.max() <= most
    assert clients <= sizes.size <= clients + (clients + more) // most


def test_equal_clients_have_equal_connections_and_one_request_each_makes_layers_equal():
    assert proxies.connection_sizes(8, 800, spread=0).tolist() == [100] * 8
    single = proxies.connection_sizes(20, 1_003, most=1)
    layer4, layer7 = (proxies.simulate(single, 5, layer) for layer in proxies.LAYERS)
    assert layer4.tolist() == layer7.tolist()


@given(sizes_, st.integers(1, 6))
def test_layers_share_out_the_same_requests(sizes, servers):
    layer4, layer7 = (proxies.simulate(sizes, servers, layer) for layer in proxies.LAYERS)
    assert layer4.tolist() == [sum(sizes[j::servers]) for j in range(servers)]
    assert layer7.sum() == sum(sizes) and layer7.max() - layer7.min() <= 1


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(1, 7))
def test_spread_is_that_of_all_orders(sizes, servers):
    squares = []
    for order in itertools.permutations(sizes):
        loads = proxies.simulate(order, servers, "layer 4")
        squares.append(loads.var())
    exact = math.sqrt(np.mean(squares)) / (sum(sizes) / servers)
    assert proxies.relative_spread(sizes, servers) == pytest.approx(exact, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(("most", "servers"), [(100_000, 5), (300, 7), (10, 3)])
def test_simulated_spread_agrees_with_theory(most, servers):
    sizes = proxies.connection_sizes(20, 10_000, most=most, seed=5)
    runs = proxies.simulated_spread(sizes, servers, runs=2_000, seed=6) ** 2
    error = runs.std() / math.sqrt(runs.size)
    assert runs.mean() == pytest.approx(proxies.relative_spread(sizes, servers) ** 2, abs=4 * error)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: proxies.connection_sizes(0, 5), "clients = 0: "),
        (lambda: proxies.connection_sizes(6, 5), "requests = 5: "),
        (lambda: proxies.connection_sizes(1, 5, spread=5), "spread = 5: "),
        (lambda: proxies.connection_sizes(1, 5, most=0), "most = 0: "),
        (lambda: proxies.connection_sizes(1, 5, seed=-1), "seed = -1: "),
        (lambda: proxies.simulate([], 3, "layer 4"), "number of connections = 0: "),
        (lambda: proxies.simulate([1.5], 3, "layer 4"), "sizes = "),
        (lambda: proxies.simulate([0], 3, "layer 4"), "sizes = "),
        (lambda: proxies.simulate([1], 0, "layer 4"), "servers = 0: "),
        (lambda: proxies.simulate([1], 3, "layer 3"), "layer = 'layer 3': "),
        (lambda: proxies.relative_spread([1], 2_000), "servers = 2000: "),
        (lambda: proxies.simulated_spread([1], 3, runs=0), "runs = 0: "),
        (lambda: proxies.simulated_spread(np.ones(10_000, int), 3, runs=10_000), "connections times runs"),
    ],
)
def test_refusals_of_the_model(call, told):
    with pytest.raises(ValueError, match=told):
        call()
