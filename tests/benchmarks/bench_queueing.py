"""Queues against SimPy, Ciw and a vectorised Lindley recursion, what a run costs, and how long a first call takes.

ρ = 0.9.  Ours is what a slider calls, :func:`course.queueing.simulate` and :func:`course.queueing.replay`, with
all that they return: means, standard errors, utilisation and two histograms.  The peers only add up waits, and
each is written the fastest way it has.  SimPy: one process a customer, which asks and releases by hand; fresh
draws from :mod:`random`, predrawn ones from a list.  Ciw: its own exponential distributions.  NumPy: the running
minimum of a cumulative sum.  A peer serves fewer customers than ours, for its rate does not depend on that.

Rows with the goal 0 show how cost grows and ask nothing; their peer is our own rate elsewhere.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from statistics import median

import ciw
import numpy as np
import simpy

from course import kernels, queueing
from tests.benchmarks import Row

LOAD, SEED = 0.9, 1
CUSTOMERS = 1_000_000
SIMPY_CUSTOMERS = 30_000
CIW_CUSTOMERS = 10_000
SERVERS = (1, 8)

# (peer, servers, draws) and how many times faster ours has to be.
GOALS = {
    ("SimPy", 1, "fresh"): 800.0,
    ("SimPy", 1, "predrawn"): 2_000.0,
    ("NumPy Lindley", 1, "predrawn"): 2.0,
    ("SimPy", 8, "fresh"): 500.0,
    ("Ciw", 8, "fresh"): 1_000.0,
    ("SimPy", 8, "predrawn"): 1_800.0,
}
SIZES = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)
POOLS = (1, 2, 8, 16, 64, 256, 1_000)
FIRST_CALL_MS = 10.0
LOAD_MS = 500.0

UNIT = "million customers/s"


def timed(work: Callable[[], float], customers: int) -> tuple[float, float]:
    """Return the rate of `work` in million customers a second, and the mean wait that it found."""
    started = time.perf_counter()
    wait = work()
    return customers / (time.perf_counter() - started) / 1e6, wait


def simpy_wait(servers: int, gaps: list[float] | None, services: list[float] | None) -> float:
    """Serve customers with SimPy, with fresh draws if none are given; return the mean wait."""
    environment = simpy.Environment()
    pool = simpy.Resource(environment, servers)
    draw, rate = random.Random(SEED).expovariate, LOAD * servers
    waited = 0.0

    def customer(service: float) -> Generator[simpy.Event, None, None]:
        nonlocal waited
        came = environment.now
        turn = pool.request()
        yield turn
        waited += environment.now - came
        yield environment.timeout(service)
        pool.release(turn)

    def source() -> Generator[simpy.Event, None, None]:
        if gaps is None or services is None:
            for _ in range(SIMPY_CUSTOMERS):
                yield environment.timeout(draw(rate))
                environment.process(customer(draw(1.0)))
        else:
            for gap, service in zip(gaps, services, strict=True):
                yield environment.timeout(gap)
                environment.process(customer(service))

    environment.process(source())
    environment.run()
    return waited / SIMPY_CUSTOMERS


def ciw_rate(servers: int) -> float:
    """Return how many million customers a second Ciw serves; neither the network nor the records count."""
    network = ciw.create_network(
        arrival_distributions=[ciw.dists.Exponential(LOAD * servers)],
        service_distributions=[ciw.dists.Exponential(1.0)],
        number_of_servers=[servers],
    )
    ciw.seed(SEED)
    simulation = ciw.Simulation(network)
    rate, _ = timed(
        lambda: simulation.simulate_until_max_customers(CIW_CUSTOMERS, method="Finish") or 0.0,
        CIW_CUSTOMERS,
    )
    return rate


def numpy_wait(draws: queueing.Draws) -> float:
    """Serve all customers of one server at once; return the mean wait."""
    steps = np.empty(draws.customers)
    steps[0] = 0.0
    np.subtract(draws.services[:-1], draws.gaps[1:] / LOAD, out=steps[1:])
    walk = np.cumsum(steps)
    return float((walk - np.minimum.accumulate(walk)).mean())


def ours(servers: int, draws: queueing.Draws | None, customers: int = CUSTOMERS) -> tuple[float, float]:
    """Return our rate and mean wait, with fresh draws if none are given."""
    if draws is None:
        return timed(
            lambda: queueing.simulate(LOAD * servers, 1, servers, customers=customers, seed=SEED).wait_s,
            customers,
        )
    return timed(lambda: queueing.replay(draws, LOAD * servers, 1, servers).wait_s, customers)


def row(name: str, peer: str, pairs: list[tuple[float, float]], goal: float, unit: str = UNIT) -> Row:
    """Summarise the rates of all rounds."""
    return {
        "name": name,
        "peer": peer,
        "our_rate": median(mine for mine, _ in pairs),
        "peer_rate": median(theirs for _, theirs in pairs),
        "unit": unit,
        "ratio": median(mine / theirs for mine, theirs in pairs),
        "goal": goal,
    }


def against_peers(rounds: int) -> list[Row]:
    """Compare, one right after the other, and check that equal draws give equal waits."""
    draws = queueing.draw(CUSTOMERS, SEED)
    few = queueing.draw(SIMPY_CUSTOMERS, SEED)
    rates: dict[tuple[str, int, str], list[tuple[float, float]]] = {key: [] for key in GOALS}
    for _ in range(rounds):
        for peer, servers, kind in GOALS:
            held = draws if kind == "predrawn" else None
            mine, wait = ours(servers, held)
            if peer == "Ciw":
                theirs = ciw_rate(servers)
            elif peer == "NumPy Lindley":
                theirs, found = timed(lambda: numpy_wait(draws), CUSTOMERS)
                assert abs(found - wait) < 1e-6 * wait, f"{wait}, {peer} {found}"
            elif held is None:
                theirs, _ = timed(lambda s=servers: simpy_wait(s, None, None), SIMPY_CUSTOMERS)  # type: ignore[misc]
            else:
                gaps = (few.gaps / LOAD / servers).tolist()
                services = few.services.tolist()
                theirs, found = timed(
                    lambda s=servers, g=gaps, t=services: simpy_wait(s, g, t),  # type: ignore[misc]
                    SIMPY_CUSTOMERS,
                )
                same = queueing.replay(few, LOAD * servers, 1, servers).wait_s
                assert abs(found - same) < 1e-6 * same, f"{same}, {peer} {found}"
            rates[peer, servers, kind].append((mine, theirs))
    return [
        row(f"M/M/{servers}, {kind}", peer, rates[peer, servers, kind], goal)
        for (peer, servers, kind), goal in GOALS.items()
    ]


def growth(rounds: int) -> list[Row]:
    """Show the rate for ever more customers and ever more servers, fresh draws."""
    sizes: dict[tuple[int, int], list[float]] = {}
    pools: dict[int, list[float]] = {}
    for _ in range(rounds):
        for servers in SERVERS:
            for size in SIZES:
                sizes.setdefault((servers, size), []).append(ours(servers, None, size)[0])
        for servers in POOLS:
            pools.setdefault(servers, []).append(ours(servers, None)[0])
    return [
        *(
            row(
                f"M/M/{servers}, {size:,} customers",
                f"{CUSTOMERS:,} customers",
                list(zip(found, sizes[servers, CUSTOMERS], strict=True)),
                0.0,
            )
            for (servers, size), found in sizes.items()
        ),
        *(
            row(f"M/M/c, c = {servers:,}", "c = 1", list(zip(found, pools[1], strict=True)), 0.0)
            for servers, found in pools.items()
        ),
    ]


def first_calls(rounds: int) -> list[Row]:
    """Measure the first call of every kernel of a fresh process whose code is compiled already."""
    code = (
        "import json; from course.kernels import warm_up; "
        "print(json.dumps([(one.kernel, one.milliseconds) for one in warm_up()]))"
    )
    found: dict[str, list[float]] = {}
    for _ in range(rounds):
        output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        calls = json.loads(output.stdout)
        # Whichever kernel comes first starts Numba.
        found.setdefault("any kernel, starting Numba", []).append(calls[0][1])
        for name, milliseconds in calls[1:]:
            if name.startswith("queueing."):
                found.setdefault(name, []).append(milliseconds)
    assert len(found) > 1, "no kernel of queueing was called"
    result = []
    for name, times in found.items():
        limit = FIRST_CALL_MS if name.startswith("queueing.") else LOAD_MS
        pairs = [(1_000 / milliseconds, 1_000 / limit) for milliseconds in times]
        result.append(row(f"first call of {name}", f"{limit:g} ms", pairs, 1.0, "calls/s"))
    return result


def measure(rounds: int) -> list[Row]:
    """Measure everything.

    Parameters
    ----------
    rounds : int
        How often; every ratio is the median of the ratios of the rounds.
    """
    kernels.warm_up()
    return [*against_peers(rounds), *growth(rounds), *first_calls(rounds)]
