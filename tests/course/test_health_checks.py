import asyncio
import contextlib

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from course import health_checks as hc
from course import proxies
from course.balancing import Fault, HealthCheck, rotation_changes
from course.health_server import Dependencies, Instance, app
from course.http_origin import serve

# --- real endpoints -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lab():
    with Dependencies() as shared:
        instance = Instance(shared)
        with (
            serve(app(instance)) as url,
            httpx.Client(base_url=url, trust_env=False) as client,
        ):
            yield shared, instance, client


@pytest.fixture
def ask(lab):
    shared, instance, client = lab

    def asking(path, *, db=True, cache=True, **state):
        shared.db_up, shared.cache_up = db, cache
        for name, value in {"started": True, "draining": False, "cut_off": False, **state}.items():
            setattr(instance, name, value)
        return client.get(path)

    return asking


@pytest.mark.parametrize("db", [True, False])
@pytest.mark.parametrize("cache", [True, False])
def test_the_guides_endpoint_is_healthy_whatever_happens(ask, db, cache):
    answer = ask("/health", db=db, cache=cache)
    assert answer.status_code == 200 and answer.json()["status"] == "healthy"
    assert answer.json()["database"] == answer.json()["cache"] == {}


@pytest.mark.parametrize(
    ("state", "status", "told"),
    [
        ({}, 200, "ready"),
        ({"cache": False}, 200, "degraded"),
        ({"db": False}, 503, "not ready"),
        ({"db": False, "cache": False}, 503, "not ready"),
        ({"cut_off": True}, 503, "not ready"),
        ({"started": False}, 503, "starting"),
        ({"draining": True}, 503, "draining"),
        ({"draining": True, "db": False}, 503, "draining"),
    ],
)
def test_ready_says_what_is(ask, state, status, told):
    answer = ask("/readyz", **state)
    assert (answer.status_code, answer.json()["status"]) == (status, told)
    assert answer.json()["database"] is (state.get("db", True) and not state.get("cut_off", False))
    assert answer.json()["cache"] is state.get("cache", True)


@pytest.mark.parametrize("started", [True, False])
def test_alive_and_started_know_nothing_of_dependencies(ask, started):
    assert ask("/livez", db=False, cache=False, started=started).status_code == 200
    answer = ask("/startupz", db=False, cache=False, started=started)
    assert answer.status_code == (200 if started else 503)
    assert answer.json()["status"] == ("started" if started else "starting")


def test_what_users_want(ask):
    assert ask("/about", db=False, cache=False).status_code == 200
    assert ask("/orders").json()["total"] == 250
    for state in ({"db": False}, {"cut_off": True}):
        assert ask("/orders", **state).status_code == 503
    # A database that was looked for in vain has not been made by looking.
    assert ask("/orders", db=False).status_code == 503


def test_a_check_that_hangs_has_failed(lab, monkeypatch):
    shared, _, _ = lab
    monkeypatch.setattr("course.health_server.CHECK_TIMEOUT_S", 0.01)
    instance = Instance(shared)
    shared.db_up = shared.cache_up = True

    async def run():
        async def stuck(*_args):
            await asyncio.Event().wait()

        monkeypatch.setattr(asyncio, "to_thread", stuck)
        return await instance.check_database(), await instance.check_cache()

    assert asyncio.run(run()) == (False, False)


def test_nothing_is_left_behind():
    with Dependencies() as shared:
        folder = shared.path.parent
        shared.db_up = False
        assert not shared.db_up and folder.exists()
        shared.db_up = shared.db_up  # set to what it is
    assert not folder.exists()


# --- prober and fleet ---------------------------------------------------------------------------------------


@given(st.lists(st.booleans(), max_size=60), st.integers(1, 4), st.integers(1, 4))
def test_verdict_is_rotation_changes_step_by_step(answers, fall, rise):
    verdict = hc.Verdict(fall, rise)
    heard = [verdict.hear(answer) for answer in answers]
    faults = [Fault(0, "down", t, t + 1) for t, answer in enumerate(answers) if not answer]
    changes = rotation_changes(faults, HealthCheck(1.0, fall, rise), max(0, len(answers) - 1))
    up, expected = True, []
    for t in range(len(answers)):
        up = next((to for when, _, to in changes if when == t), up)
        expected.append(up)
    assert heard == expected


def sizes(run):
    return [len(names) for names in run.rotation]


def test_deep_check_of_a_shared_database_takes_the_whole_fleet_out():
    run = asyncio.run(hc.fleet("deep", outage=(2, 5), rounds=9, instances=3))
    # Out with the second failure, in round 3; back with the second success, in round 6.
    assert sizes(run) == [3, 3, 3, 0, 0, 0, 3, 3, 3]
    assert run.failed == (0, 0, 4, 10, 10, 10, 0, 0, 0)


def test_failing_open_and_shallow_checks_lose_only_what_needs_the_database():
    for check, fail_open in (("deep", True), ("shallow", False)):
        run = asyncio.run(hc.fleet(check, fail_open=fail_open, outage=(2, 5), rounds=7, instances=3))
        assert sizes(run) == [3] * 7 and run.failed == (0, 0, 4, 4, 4, 0, 0)


def test_fault_of_one_server_is_what_a_deep_check_is_for():
    deep = asyncio.run(hc.fleet("deep", outage=(0, 0), cut_off=(1, 6), rounds=8, instances=2, requests=20))
    assert deep.rotation == (("A", "B"),) * 2 + (("B",),) * 5 + (("A", "B"),)
    shallow = asyncio.run(
        hc.fleet("shallow", outage=(0, 0), cut_off=(1, 6), rounds=8, instances=2, requests=20)
    )
    assert sizes(shallow) == [2] * 8 and sum(shallow.failed) > sum(deep.failed)
    assert sum(deep.failed[2:]) == 0


def test_fleet_and_model_agree():
    run = asyncio.run(hc.fleet("deep", outage=(2, 5), cut_off=(6, 9), rounds=12, instances=2, fall=1, rise=2))
    faults = [Fault(i, "failing fast", 2, 5) for i in range(2)] + [Fault(0, "failing fast", 6, 9)]
    for server, name in enumerate("AB"):
        own = [Fault(0, f.kind, f.start_s, f.end_s) for f in faults if f.server == server]
        model = hc.rotation(own, HealthCheck(1.0, 1, 2, deep=True), servers=1, until_s=12)
        at = np.searchsorted(model.edges_s, np.arange(12), side="right") - 1
        assert [name in names for names in run.rotation] == model.healthy[0, at].tolist()


def test_prober_counts_silence_and_refusal_as_failures():
    async def run():
        async with proxies.serve("layer 7", 2) as (_, backends):
            urls = {name: backend.url for name, backend in backends.items()}
            prober = hc.Prober(urls, "shallow", HealthCheck(0.001, fall=2, rise=1), timeout_s=0.5)
            opened = hc.Prober(
                urls, "shallow", HealthCheck(0.001, fall=1, rise=1), timeout_s=0.5, fail_open=True
            )
            watching = asyncio.create_task(prober.run())
            async with httpx.AsyncClient(trust_env=False) as client:
                await opened.probe(client)
                assert opened.rotation == opened.healthy == ["A", "B"] == prober.rotation
                backends["A"].hang()
                await backends["B"].kill()
                await opened.probe(client)
                assert opened.healthy == [] and opened.rotation == ["A", "B"]
            while prober.rotation:
                await asyncio.sleep(0.01)
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watching
            return True

    assert asyncio.run(asyncio.wait_for(run(), 10))


# --- the model ----------------------------------------------------------------------------------------------

SHARED = [Fault(server, "failing fast", 40.0, 60.0) for server in range(4)]
DEEP = HealthCheck(5.0, 2, 2, deep=True)


def test_shared_outage_by_hand():
    run = hc.rotation(SHARED, DEEP, servers=4, until_s=100)
    # Probes of server i at 1.25 i + 5 k: two failures from 40 s on, two successes from 60 s on.
    out, back = [45, 46.25, 47.5, 48.75], [65, 66.25, 67.5, 68.75]
    for server in range(4):
        assert run.noticed_after_s(server, 40) == out[server] - 40
        healthy = run.healthy[server, np.searchsorted(run.edges_s, back[server], side="right") - 1]
        assert healthy
    assert run.nobody_s == 65 - 48.75
    assert run.failed_requests == pytest.approx(100 * (0.4 * 8.75 + 16.25))
    opened = hc.rotation(SHARED, DEEP, servers=4, until_s=100, fail_open=True)
    assert opened.failed_requests == pytest.approx(100 * 0.4 * (8.75 + 11.25))
    assert opened.nobody_s == run.nobody_s


def test_no_check_and_shallow_check_lose_the_affected_share():
    for health in (None, HealthCheck(5.0, 2, 2)):
        run = hc.rotation(SHARED, health, servers=4, until_s=100, affected=0.25, requests_per_s=8)
        assert run.failed_requests == pytest.approx(8 * 20 * 0.25) and run.nobody_s == 0
        assert run.noticed_after_s(0, 40) is None


def test_a_server_that_is_down_fails_everything_until_it_is_noticed():
    run = hc.rotation([Fault(1, "down", 10, 30)], HealthCheck(4.0, 3, 1), servers=2, until_s=50)
    # Probed at 2, 6, 10, 14, 18, ...: out at 18, and back with the success at 30.
    assert run.failed_requests == pytest.approx(100 * 8 / 2)
    assert run.noticed_after_s(1, 10) == 8 and run.healthy[1, -1]


@given(
    st.floats(0.5, 20),
    st.integers(1, 5),
    st.floats(0, 40),
    st.integers(1, 5),
    st.integers(0, 4),
    st.booleans(),
)
def test_detection_lies_where_it_must(interval, fall, start, servers, which, deep):
    server = which % servers
    health = HealthCheck(interval, fall, deep=deep)
    run = hc.rotation([Fault(server, "down", start, 1_000)], health, servers=servers, until_s=300)
    least, mean, most = hc.detection_s(health)
    noticed = run.noticed_after_s(server, start)
    # A server whose first probe is still to come may have to wait for it: less than an interval too.
    assert least - 1e-9 <= noticed <= most + 1e-9
    assert mean == pytest.approx((least + most) / 2)


@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.sampled_from(hc.FAULTS), st.floats(0, 80), st.floats(0.1, 40)),
        max_size=4,
    ),
    st.floats(0.5, 30),
    st.integers(1, 4),
    st.booleans(),
)
def test_model_against_small_steps(rows, interval, fall, fail_open):
    faults = [Fault(server, kind, start, start + length) for server, kind, start, length in rows]
    health = HealthCheck(interval, fall, 2, deep=True)
    run = hc.rotation(faults, health, servers=3, until_s=120, affected=0.5, fail_open=fail_open)
    assert np.all(np.diff(run.edges_s) > 0) and run.edges_s[0] == 0 and run.edges_s[-1] == 120
    verdicts = [hc.Verdict(fall, 2) for _ in range(3)]
    probes = sorted(
        (interval * i / 3 + k * interval, i) for i in range(3) for k in range(int(120 / interval) + 1)
    )
    for begin, end, failing in zip(run.edges_s[:-1], run.edges_s[1:], run.failing, strict=True):
        middle = (begin + end) / 2
        while probes and probes[0][0] <= middle:
            when, i = probes.pop(0)
            # Where a probe and the end of a fault coincide but for rounding, either answer will do.
            if any(min(abs(when - f.start_s), abs(when - f.end_s)) < 1e-6 for f in faults):
                return
            verdicts[i].hear(not any(f.server == i and f.start_s <= when < f.end_s for f in faults))
        used = [i for i in range(3) if verdicts[i].up] or ([0, 1, 2] if fail_open else [])
        sick = [
            max(
                (
                    1.0 if f.kind == "down" else 0.5
                    for f in faults
                    if f.server == i and f.start_s <= middle < f.end_s
                ),
                default=0.0,
            )
            for i in used
        ]
        assert failing == pytest.approx(np.mean(sick) if used else 1.0)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: hc.rotation([], DEEP, servers=0), "servers = 0: "),
        (lambda: hc.rotation([], DEEP, until_s=4), "until_s = 4: "),
        (lambda: hc.rotation([], None, until_s=0), "until_s = 0: "),
        (lambda: hc.rotation([], DEEP, affected=2), "affected = 2: "),
        (lambda: hc.rotation([], DEEP, requests_per_s=-1), "requests_per_s = -1: "),
        (lambda: hc.rotation([Fault(4, "down", 0, 1)], DEEP), "server of a fault = 4: "),
        (lambda: hc.rotation([Fault(0, "starting cold", 0, 1)], DEEP), "kind of a fault = 'starting cold'"),
        (lambda: hc.Verdict(0), "fall = 0: "),
        (lambda: hc.Prober({}), "number of servers = 0: "),
        (lambda: hc.Prober({"A": "http://a"}, "thorough"), "check = 'thorough': "),
        (lambda: hc.Prober({"A": "http://a"}, timeout_s=0), "timeout_s = 0: "),
        (lambda: asyncio.run(hc.fleet("thorough")), "check = 'thorough': "),
        (lambda: asyncio.run(hc.fleet(instances=17)), "instances = 17: "),
        (lambda: asyncio.run(hc.fleet(rounds=0)), "rounds = 0: "),
        (lambda: asyncio.run(hc.fleet(requests=101)), "requests = 101: "),
        (lambda: asyncio.run(hc.fleet(fall=0)), "fall = 0: "),
    ],
)
def test_refusals(call, told):
    with pytest.raises(ValueError, match=told):
        call()
