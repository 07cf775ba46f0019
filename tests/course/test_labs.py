import os
import signal
import socket
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from course import labs
from course.labs import _lab
from course.labs.bench import BenchResult, RoundTrip, bench, bytes_per_key, fit_round_trip


@pytest.fixture(autouse=True)
def no_existing_server(monkeypatch):
    monkeypatch.delenv("COURSE_REDIS_URL", raising=False)


@pytest.fixture
def nothing_installed(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))


def listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_until(condition, what):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


REAL = [
    pytest.param("redis", marks=pytest.mark.needs("redis-server")),
    pytest.param("memcached", marks=pytest.mark.needs("memcached")),
]


@pytest.mark.parametrize("kind", REAL)
def test_a_real_server_answers_until_it_is_stopped(kind):
    with labs.start(kind) as lab:
        assert lab.source == "program" and lab.kind == kind
        assert "server of its own" in lab.label and lab.version in lab.label
        client = lab.client()
        client.set(lab.key("a"), b"1")
        assert client.get(lab.key("a")) == b"1"
        client.close()
    assert not listens(lab.port)
    lab.stop()  # twice is once


@pytest.mark.parametrize("kind", REAL)
def test_two_labs_know_nothing_of_each_other(kind):
    with labs.start(kind) as one, labs.start(kind) as two:
        one.client().set(one.key("a"), b"1")
        assert one.port != two.port and one.prefix != two.prefix
        assert two.client().get(one.key("a")) is None


def test_embedded_redis_says_so_and_works(nothing_installed):
    with labs.start("redis") as lab:
        assert lab.source == "embedded" and "embedded stand-in" in lab.label
        client = lab.client()
        client.set(lab.key("a"), "1", ex=100)
        client.hset(lab.key("h"), mapping={"name": "Ada", "born": 1815})
        assert client.hgetall(lab.key("h")) == {b"name": b"Ada", b"born": b"1815"}
        assert client.eval("return redis.call('GET', KEYS[1])", 1, lab.key("a")) == b"1"
        with pytest.raises(labs.LabUnavailable, match="real server"):
            bytes_per_key(lab)
    assert not listens(lab.port)


def test_what_is_not_there_says_how_to_get_it(nothing_installed):
    with pytest.raises(labs.LabUnavailable, match=r"^Memcached is not on this machine: install .*\.$"):
        labs.start("memcached")


def test_unknown_lab_is_refused():
    with pytest.raises(ValueError, match=r"^kind = 'postgres': must be one of 'redis', 'memcached'"):
        labs.start("postgres")


def test_an_existing_server_keeps_what_is_not_ours(monkeypatch, nothing_installed):
    server = _lab._embedded()
    try:
        theirs = server.client()
        theirs.set("other", "keep")
        monkeypatch.setenv("COURSE_REDIS_URL", server.url)
        with labs.start("redis") as lab:
            assert lab.source == "existing" and lab.port == server.port
            for i in range(1_500):
                lab.client().set(lab.key(str(i)), "x") if i < 3 else theirs.set(lab.key(str(i)), "x")
        assert theirs.keys("*") == [b"other"]
    finally:
        server.stop()


def test_an_existing_server_that_does_not_answer_is_named(monkeypatch):
    monkeypatch.setenv("COURSE_REDIS_URL", f"redis://127.0.0.1:{_lab._free_port()}/0")
    with pytest.raises(labs.LabUnavailable, match=r"^COURSE_REDIS_URL points to 127\.0\.0\.1:\d+"):
        labs.start("redis")


def fake_program(tmp_path, monkeypatch, script):
    program = tmp_path / "redis-server"
    program.write_text(f"#!{sys.executable}\n{textwrap.dedent(script)}")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(_lab.tempfile, "tempdir", str(tmp_path))


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in program is a script with a shebang")
def test_a_server_that_dies_leaves_its_last_words(tmp_path, monkeypatch):
    fake_program(tmp_path, monkeypatch, "print('config file line 7: no such option'); raise SystemExit(1)")
    with pytest.raises(labs.LabUnavailable, match=r"server ended.*\n.*line 7: no such option"):
        labs.start("redis")
    assert not list(tmp_path.glob("course-*"))


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in program is a script with a shebang")
def test_a_server_that_never_answers_is_given_up_and_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(_lab, "READY_S", 1.0)
    fake_program(
        tmp_path,
        monkeypatch,
        f"""
        import os, time
        open({str(tmp_path / "pid")!r}, "w").write(str(os.getpid()))
        print("loading", flush=True)
        time.sleep(1000)
        """,
    )
    with pytest.raises(labs.LabUnavailable, match=r"did not answer within 1 s(.|\n)*loading"):
        labs.start("redis")
    pid = int((tmp_path / "pid").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in program is a script with a shebang")
def test_a_port_taken_in_between_is_tried_again(tmp_path, monkeypatch):
    fake_program(
        tmp_path,
        monkeypatch,
        f"""
        open({str(tmp_path / "tries")!r}, "a").write("x")
        print("bind: Address already in use")
        raise SystemExit(1)
        """,
    )
    with pytest.raises(labs.LabUnavailable, match="in use"):
        labs.start("redis")
    assert (tmp_path / "tries").read_text() == "xxx"


@pytest.mark.needs("redis-server")
@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX")
@pytest.mark.parametrize("end", ["kill", "exit"])
def test_the_server_dies_with_its_python(end):
    program = """
        import sys
        from course import labs
        lab = labs.start("redis")
        client = lab.client()
        client.ping()
        print(lab.port, flush=True)
        sys.stdin.readline()
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        port = int(child.stdout.readline())
        assert listens(port)
        if end == "kill":
            child.send_signal(signal.SIGKILL)
        else:
            child.stdin.write("\n")
            child.stdin.flush()
        child.wait(20)
        wait_until(lambda: not listens(port), "the server outlived its Python")


def test_python_exits_while_a_client_of_the_stand_in_is_connected(tmp_path):
    program = (
        "from course import labs; lab = labs.start('redis'); c = lab.client(); c.ping(); print(lab.source)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == "embedded\n"


# --- the bench -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", REAL)
def test_bench_counts_whole_batches_and_leaves_nothing(kind):
    with labs.start(kind) as lab:
        r = bench(lab, value_bytes=10, depth=7, n=50)
        assert r.operations == 56 and r.depth == 7
        assert r.ops_per_s == pytest.approx(56 / r.seconds)
        assert lab.client().get(lab.key("bench:0")) is None


@pytest.mark.parametrize("kind", REAL)
def test_memory_per_key_is_more_than_what_was_stored(kind):
    with labs.start(kind) as lab:
        small, large = (bytes_per_key(lab, value_bytes=v) for v in (10, 1_000))
        assert small.payload == len(lab.key("memory:000000")) + 10
        # an entry, an object header and rounding: some tens of bytes, not hundreds
        assert 20 <= small.overhead <= 120
        assert large.total - small.total == pytest.approx(990, abs=100)


def result(depth, batch_us):
    return BenchResult("made up", 100, depth, 1000, 1.0, 1000.0, batch_us)


@given(rtt=st.floats(1, 10_000), service=st.floats(0.1, 100))
def test_fit_finds_the_constants_of_exact_batches(rtt, service):
    fit = fit_round_trip([result(d, rtt + d * service) for d in (1, 10, 100)])
    assert (fit.rtt_us, fit.service_us) == pytest.approx((rtt, service), rel=1e-6)
    assert fit.ops_per_s(50) == pytest.approx(50e6 / (rtt + 50 * service))


def test_fit_is_never_negative():
    shrinking = fit_round_trip([result(1, 100), result(10, 90)])
    assert shrinking.service_us == 0 and 90 <= shrinking.rtt_us <= 100
    steep = fit_round_trip([result(1, 1), result(10, 100)])
    assert steep.rtt_us == 0 and 1 <= steep.service_us <= 10


def test_pipelining_pays_until_the_service_time_rules():
    model = RoundTrip(500, 5)
    speeds = [model.ops_per_s(d) for d in (1, 10, 100, 1_000, 100_000)]
    assert (np.diff(speeds) > 0).all()
    assert speeds[1] / speeds[0] == pytest.approx(505 / 55)  # nine times for ten commands a round trip
    assert speeds[-1] == pytest.approx(1e6 / 5, rel=0.01)


@pytest.mark.parametrize(("name", "value"), [("value_bytes", 0), ("depth", 10_000), ("n", 0)])
def test_impossible_bench_is_refused_by_name(nothing_installed, name, value):
    with labs.start("redis") as lab, pytest.raises(ValueError, match=f"^{name} = "):
        bench(lab, **{name: value})


def test_one_depth_is_too_few_to_fit():
    with pytest.raises(ValueError, match=r"^number of different depths = 1"):
        fit_round_trip([result(5, 1), result(5, 2)])
