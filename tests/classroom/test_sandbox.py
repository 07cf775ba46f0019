"""The sandbox under attack. What is asserted is what a submission gets, and what is left of it on this machine."""

from __future__ import annotations

import json
import math
import os
import platform
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import course
from course.classroom import _child, sandbox
from course.classroom._child import NotPlainError, decode, encode
from course.classroom.sandbox import (
    Call,
    Limits,
    Missing,
    Raised,
    Run,
    Sandbox,
    SandboxError,
    Steps,
    TimedOut,
    Trusted,
    Value,
    probe,
)

ROOT = Path(__file__).resolve().parents[2]
LIMITS = Limits(call_s=3, wall_s=30, memory_bytes=2**29, files_bytes=2**20)
NOBODY = 65534
SECRET = "the-expected-value-is-42"


@pytest.fixture(scope="module", params=["forked", "spawned"])
def box(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    """Return each kind of sandbox: a fork of a warm process, and a bubblewrap for each submission."""
    with Sandbox(LIMITS) as it:
        assert it._forks
        if request.param == "spawned":
            it.close()
            it._forks = False
        yield it


def attack(box: sandbox.Runner, source: str, *calls: Call) -> Any:
    """Return what `f()` gives in a submission, or what the calls do; afterwards the sandbox is as good as new."""
    run = box.run([("cell", textwrap.dedent(source))], calls or [Call("f")])
    after = box.run([("cell", "def f(x): return x + 1")], [Call("f", (1,))])
    assert after == Run((Value(None),), (Value(2),), "", "ok")
    return run.results if calls else run.results[0]


def descendants() -> set[int]:
    """Return every process that comes from this one, from /proc."""
    parents: dict[int, int] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                stat = (folder / "stat").read_text()
            except OSError:
                continue
            parents[int(folder.name)] = int(stat.rpartition(")")[2].split()[1])
    found = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {os.getpid()}


def named(text: str) -> list[int]:
    """Return the processes of the machine with `text` in their command line."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                if text.encode() in (folder / "cmdline").read_bytes():
                    found.append(int(folder.name))
            except OSError:
                continue
    return found


# -- what comes back ---------------------------------------------------------------------------------------------------

hashable = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3),
    max_leaves=5,
)
plain = st.recursive(
    hashable,
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(hashable, inner)
        | st.sets(hashable)
        | st.frozensets(hashable)
    ),
    max_leaves=20,
)


def exact(value: Any) -> Any:
    """Return `value` with every type beside it, for an equality that tells 1 from True."""
    if isinstance(value, dict):
        return dict, [(exact(k), exact(v)) for k, v in value.items()]
    if isinstance(value, list | tuple):
        return type(value), [exact(part) for part in value]
    if isinstance(value, set | frozenset):
        return type(value), value
    return type(value), value


@given(plain)
def test_plain_data_goes_over_the_wire_as_it_is(value: Any) -> None:
    assert exact(decode(encode(value, 2**20))) == exact(value)


def test_what_stands_for_plain_data_becomes_it() -> None:
    class Count(int):
        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = int.__hash__

    value = [Count(3), np.float64(0.5), np.int32(7), np.bool_(True), np.arange(3), {"a": np.array([[1.5]])}]
    assert exact(decode(encode(value, 1000))) == exact([3, 0.5, 7, True, [0, 1, 2], {"a": [[1.5]]}])


@pytest.mark.parametrize("value", [math.inf, -math.inf, -0.0])
def test_odd_floats_stay(value: float) -> None:
    assert repr(decode(encode(value, 100))) == repr(value)
    assert math.isnan(decode(encode(math.nan, 100)))


COLLIDING = ["set", *(k * (2**61 - 1) for k in range(10_000))]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xfe",
        b"[",
        b"{}",
        b'{"list": 1}',
        b"[]",
        b"[1, 2]",
        b'["list"',
        b'["object", 1]',
        b'["bytes", "zz"]',
        b'["bytes"]',
        b'["bytes", 1]',
        b'["set", ["list"]]',
        b'["set", 1, 1]',
        b'["dict", 1]',
        b'["dict", ["list"], 1]',
        b'["dict", 1, 2, true, 3]',
        b'"\\ud800"',
        b"1" * 5000,
        b"9" * 4000,
        b"[" * 100_000,
        b'["list",' * 100 + b"1" + b"]" * 100,
        json.dumps(COLLIDING).encode(),
        json.dumps(["dict", *(part for key in COLLIDING[1:] for part in (key, 0))]).encode(),
        json.dumps(["set", *(["tuple", key] for key in COLLIDING[1:])]).encode(),
    ],
    ids=lambda data: repr(data[:30]),
)
def test_anything_else_is_refused(data: bytes) -> None:
    with pytest.raises(NotPlainError):
        decode(data)


@pytest.mark.needs("bwrap")
def test_a_submission_is_run(box: Sandbox) -> None:
    run = box.run(
        [
            ("one", "import numpy as np\nprint('hello')\nx = 6 * 7"),
            ("two", "def f(a, *, b):\n    print('kept to itself')\n    return {a: (b, np.float64(0.5))}"),
            ("three", "y = 1 / 0"),
            (
                "four",
                "class C:\n    def __init__(self, n): self.n = n\n    def add(self, k):\n        self.n += k",
            ),
            ("five", "def g(:\n    pass"),
            ("six", "def h():\n    return len(3)\ndef k(x):\n    x.append(1); return x"),
        ],
        [
            Call("x", None),
            Call("f", (1,), {"b": {2}}),
            Call("C", (1,), steps=(("add", (2,)), ("n", None), ("add", ()), ("add", ("x",)))),
            Call("g"),
            Call("h"),
            Call("k", ([],)),
        ],
    )
    missing_argument = "C.add() missing 1 required positional argument: 'k'"
    wrong = "unsupported operand type(s) for +=: 'int' and 'str'"
    assert run.cells == (
        Value(None),
        Value(None),
        Raised("ZeroDivisionError", "division by zero", "three", 1),
        Value(None),
        Raised("SyntaxError", "invalid syntax", "five", 1),
        Value(None),
    )
    assert run.results == (
        Value(42),
        Value({1: ({2}, 0.5)}),
        Steps(
            (
                Value(None),
                Value(3),
                Raised("TypeError", missing_argument, "", 0),
                Raised("TypeError", wrong, "four", 4),
            )
        ),
        Missing("there is no g"),
        Raised("TypeError", "object of type 'int' has no len()", "six", 2),
        Value([1]),
    )
    assert (run.stdout, run.ended) == ("hello\n", "ok")


# -- forging -----------------------------------------------------------------------------------------------------------


@pytest.mark.needs("bwrap")
@pytest.mark.parametrize(
    ("answer", "got"),
    [
        (
            "type('A', (), {'__eq__': lambda *_: True, '__hash__': lambda _: 0})()",
            "a A, which is not plain data",
        ),
        ("type('A', (int,), {'__eq__': lambda *_: True})(5)", 5),
        ("type('A', (str,), {'__eq__': lambda *_: True})('x')", "x"),
        ("type('A', (list,), {'__eq__': lambda *_: True})([1])", [1]),
        ("type('A', (list,), {'__iter__': lambda s: iter(int, 1)})([1])", "too much to be compared"),
        ("type('A', (int,), {'bit_length': lambda s: 1})(10 ** 5000)", "not plain data"),
        ("type('A', (float,), {'__float__': lambda s: 1 / 0})(1)", "not plain data"),
        ("10 ** 5000", "a number of too many digits"),
        ("float('inf')", math.inf),
        ("'\\ud800'", "text that is not Unicode"),
        ("[0] * 10 ** 7", "too much to be compared"),
        ("'x' * 10 ** 8", "too much to be compared"),
        ("bytes(10 ** 8)", "too much to be compared"),
        ("(lambda a: (a.append(a), a)[1])([])", "too much to be compared"),
        ("__import__('functools').reduce(lambda a, _: [a], range(10 ** 5), 0)", "too much to be compared"),
        ("__import__('numpy').zeros(10 ** 7)", "too much to be compared"),
        ("(i for i in range(3))", "a generator, which is not plain data"),
        ("f", "a function, which is not plain data"),
    ],
)
def test_an_answer_is_data_or_missing(box: Sandbox, answer: str, got: Any) -> None:
    result = attack(box, f"def f():\n    return {answer}")
    if isinstance(result, Missing):
        assert result.why == got
    else:
        assert exact(result.value) == exact(got)


@pytest.mark.needs("bwrap")
@pytest.mark.parametrize(
    "trick",
    [
        "import json; json.dumps = lambda *a, **k: '42'",
        "import builtins; builtins.isinstance = lambda *a: True",
        "import builtins; builtins.type = builtins.len = builtins.int = None",
        "import os; os.write = os.read = None",
        "import sys; sys.modules.clear()",
        "import sys; sys.settrace(lambda *a: 1 / 0); sys.setprofile(lambda *a: 1 / 0)",
        "import gc; [o.clear() for o in gc.get_objects() if type(o) in (list, dict)]",
        "import sys; sys.stdout = sys.stderr = None",
        "import sys; frame = sys._getframe(1); frame.f_globals.clear()",
    ],
)
def test_taking_over_the_child_wins_no_more_than_its_own_answer(box: Sandbox, trick: str) -> None:
    """What it cannot do is make the parent raise, wait, or believe anything of another submission."""
    results = attack(box, f"{trick}\ndef f(): return 1", Call("f"), Call("g"))
    for result in results:
        assert isinstance(result, Value | Raised | Missing | TimedOut)


FRAMES = {
    "garbage": b"\xff" * 64,
    "a length of 4 GB": b"\xff\xff\xff\xff" + b"x" * 1000,
    "half a frame": struct.pack(">I", 100) + b"{",
    "another shape": struct.pack(">I", 4) + b"true",
    "a pickle": struct.pack(">I", 30) + b"cos\nsystem\n(S'touch /tmp/x'\ntR.".ljust(30),
    "an unknown kind": struct.pack(">I", 22) + b'["tuple","gradebook",1]'[:22],
    "a thousand answers": (struct.pack(">I", 20) + b'["tuple","value", 7]') * 1000,
}


@pytest.mark.needs("bwrap")
@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES)
def test_writing_to_every_descriptor(box: Sandbox, frame: bytes) -> None:
    source = f"""
        import os
        def f():
            for number in range(64):
                try:
                    os.set_blocking(number, False)
                    os.write(number, {frame!r})
                except OSError:
                    pass
            return 1
    """
    for result in attack(box, source, Call("f"), Call("f"), Call("nothing")):
        assert isinstance(result, Missing | TimedOut) or result in (Value(7), Value(1))


@pytest.mark.needs("bwrap")
def test_a_flood_of_answers_costs_the_parent_no_memory(box: Sandbox) -> None:
    source = """
        import os, struct
        def f():
            while True:
                for number in range(3, 64):
                    try:
                        os.write(number, struct.pack(">I", 2**31) + bytes(60000))
                    except OSError:
                        pass
    """
    assert attack(box, source) == Missing("too much to be compared")


@pytest.mark.needs("bwrap")
def test_it_holds_no_descriptor_but_its_own(box: Sandbox) -> None:
    """Above all not the one by which the next submission comes in."""
    source = """
        import os
        def f():
            found = []
            for number in range(2000):
                try:
                    os.fstat(number)
                    found.append(number)
                except OSError:
                    pass
            return found
    """
    assert attack(box, source) == Value([0, 1, 2, 3] if box._forks else [0, 1, 2, 3, 4])


# -- seeing ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def seeded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a copy of the package with a reference solution in it, used in place of the package."""
    shutil.copytree(
        Path(course.__path__[0]), tmp_path / "course", ignore=shutil.ignore_patterns("__pycache__")
    )
    (tmp_path / "course" / "exercises").mkdir(exist_ok=True)
    (tmp_path / "course" / "exercises" / "reference.py").write_text(f"# {SECRET}\n")
    (tmp_path / "course" / "exercises" / "driver.py").write_text("NAME = 'driver'\n")
    (tmp_path / "solutions.ipynb").write_text(SECRET)
    monkeypatch.setattr(course, "__path__", [str(tmp_path / "course")])
    yield tmp_path


WALK = f"""
import os
def walk():
    for folder, folders, names in os.walk("/"):
        if folder.count("/") > 4:  # the packages of others, and the standard library
            folders.clear()
        yield folder, names
def read():
    found = []
    for folder, names in walk():
        for name in names:
            path = os.path.join(folder, name)
            try:
                if os.path.getsize(path) < 1000:
                    with open(path, "rb") as file:
                        if {SECRET!r}.encode() in file.read():
                            found.append(path)
            except OSError:
                pass
    return found
def write():
    found = []
    for folder, _ in walk():
        try:
            open(os.path.join(folder, "x"), "w").close()
            found.append(folder)
        except OSError:
            pass
    return found
def listing(path):
    return sorted(os.listdir(path))
def importing(name):
    return __import__(name, fromlist=["x"]).__name__
def environment():
    return dict(os.environ)
"""


@pytest.mark.needs("bwrap")
@pytest.mark.parametrize("forks", [True, False])
def test_nothing_of_the_host_is_seen(seeded: Path, monkeypatch: pytest.MonkeyPatch, forks: bool) -> None:
    monkeypatch.setenv("SECRET", SECRET)
    secret = Path.home() / f".course-secret-{os.getpid()}"
    secret.write_text(SECRET)
    try:
        with Sandbox(Limits(call_s=60)) as box:
            box._forks = forks
            run = box.run(
                [("cell", WALK)],
                [
                    Call("read"),
                    Call("write"),
                    Call("listing", ("/",)),
                    Call("listing", ("/packages/course/course/exercises",)),
                    Call("environment"),
                    Call("importing", ("course.caching",)),
                    Call("importing", ("course.exercises.reference",)),
                    Call("importing", ("course.classroom.sandbox",)),
                ],
            )
    finally:
        secret.unlink()
    top = {"child.py", "dev", "lib", "lib64", "packages", "scratch", "usr"}
    top |= {Path(sys.base_prefix).parts[1], Path(sys.executable).resolve().parts[1]}
    read, write, listing, exercises, environment, *imports = run.results
    assert read == Value([])
    assert write == Value(["/scratch"])
    assert isinstance(listing, Value) and set(listing.value) <= top
    assert exercises == Value([])
    assert environment == Value({**sandbox._ENVIRONMENT, "PWD": environment.value["PWD"]})
    assert imports[0] == Value("course.caching")
    assert [type(result) for result in imports[1:]] == [Raised, Raised]


@pytest.mark.needs("bwrap")
def test_a_module_may_be_shown(seeded: Path) -> None:
    spec = sandbox.importlib.util.spec_from_file_location("x", seeded / "course" / "exercises" / "driver.py")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sandbox.importlib.util, "find_spec", lambda name: spec)
        with Sandbox(LIMITS, modules=["course.exercises.driver"]) as box:
            results = box.run(
                [("cell", WALK)],
                [
                    Call("importing", ("course.exercises.driver",)),
                    Call("listing", ("/packages/course/course/exercises",)),
                ],
            ).results
    assert results == (Value("course.exercises.driver"), Value(["driver.py"]))


@pytest.mark.needs("bwrap")
def test_there_is_no_network(box: Sandbox) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        source = f"""
            import socket
            def f(family, kind):
                end = socket.socket(family, kind)
                end.connect(("127.0.0.1", {server.getsockname()[1]}))
            def resolve():
                return socket.getaddrinfo("localhost", 80) and socket.create_connection(("localhost", 80))
        """
        kinds = [
            (socket.AF_INET, socket.SOCK_STREAM),
            (socket.AF_INET6, socket.SOCK_DGRAM),
            (socket.AF_UNIX, socket.SOCK_STREAM),
            (socket.AF_NETLINK, socket.SOCK_RAW),
            (socket.AF_VSOCK, socket.SOCK_STREAM),
        ]
        *results, resolve = attack(
            box, source, *(Call("f", tuple(map(int, kind))) for kind in kinds), Call("resolve")
        )
    assert [result.kind for result in results] == ["PermissionError"] * len(kinds)
    assert isinstance(resolve, Raised)


@pytest.mark.needs("bwrap")
def test_one_submission_leaves_the_next_nothing(box: Sandbox) -> None:
    leave = """
        import builtins, os, random, sys, numpy
        builtins.left = numpy.left = sys.left = os.environ["LEFT"] = "x"
        open("/scratch/left", "w").write("x"); open("/dev/null", "w").write("x")
        os.chmod("/scratch", 0o777)
        def f(): return [random.random(), numpy.random.random()]
    """
    look = """
        import builtins, os, random, sys, numpy
        def f():
            return [
                *(hasattr(o, "left") for o in (builtins, numpy, sys)), "LEFT" in os.environ,
                sorted(set(os.listdir("/scratch")) - {".null"}), open("/dev/null").read(),
            ]
    """
    assert isinstance(attack(box, leave), Value)
    assert attack(box, look) == Value([False, False, False, False, [], ""])


@pytest.mark.needs("bwrap")
def test_a_hidden_case_does_not_get_out_by_printing(box: Sandbox) -> None:
    source = "import sys\nprint('cell')\ndef f(x):\n    print(x); print(x, file=sys.stderr); return 0"
    run = box.run([("a", source), ("b", "print('b')")], [Call("f", (SECRET,))] * 2)
    assert (run.stdout, run.results) == ("cell\nb\n", (Value(0), Value(0)))


# -- ending, hanging, outliving ----------------------------------------------------------------------------------------


@pytest.mark.needs("bwrap")
def test_points_earned_before_a_hang_or_a_crash_stay(box: Sandbox) -> None:
    source = """
        import ctypes, os, time
        def good(x): return x
        def hang(x):
            while x: pass
        def leave(): os._exit(3)
        def crash(): ctypes.string_at(0)
        def deep():
            import sys
            sys.setrecursionlimit(10 ** 9)
            def down(): return down() + 1
            return down()
    """
    names = [
        ("good", 1),
        ("hang", 0),
        ("hang", 1),
        ("good", 2),
        ("hang", 0),
        ("leave",),
        ("good", 3),
        ("crash",),
    ]
    run = box.run(
        [("cell", textwrap.dedent(source))],
        [Call(name, tuple(args)) for name, *args in [*names, ("good", 4), ("deep",)]],
    )
    gone = "an earlier call of it did not come back"
    left, crashed, deep = (run.results[i] for i in (5, 7, 9))
    assert run.results[:5] == (Value(1), Value(None), TimedOut(), Value(2), Missing(gone))
    assert left == Missing("its process ended with exit code 3")
    assert crashed.why in ("its process ended by SIGSEGV", "its process ended with exit code 139")
    assert isinstance(deep, Missing | Raised | TimedOut)
    assert (run.results[6], run.results[8], run.ended) == (Value(3), Value(4), "time")


@pytest.mark.needs("bwrap")
def test_a_cell_that_does_not_end_costs_itself(box: Sandbox) -> None:
    cells = [
        ("a", "print('a')\ndef f(): return 1"),
        ("b", "import os; os._exit(0)"),
        ("c", "print('c')\ndef g(): return 2"),
        ("d", "while True: pass"),
        ("e", "raise SystemExit"),
        ("f", "\ud800"),
    ]
    run = box.run(cells, [Call("f"), Call("g")])
    assert run.results == (Value(1), Value(2))
    assert run.cells[:1] + run.cells[2:5] == (
        Value(None),
        Value(None),
        TimedOut(),
        Raised("SystemExit", "", "e", 1),
    )
    assert isinstance(run.cells[1], Missing) and isinstance(run.cells[5], Raised)
    assert (run.stdout, run.ended) == ("a\nc\n", "crash")


@pytest.mark.needs("bwrap")
def test_all_of_it_ends_when_its_time_is_up() -> None:
    with Sandbox(Limits(call_s=1, wall_s=2)) as box:
        source = "import time\n" + "\n".join(f"def f{i}(): time.sleep(99)" for i in range(5))
        run = box.run([("cell", source)], [Call(f"f{i}") for i in range(5)])
        assert set(run.results) == {TimedOut(), Missing("the time was up")} and run.ended == "time"
        assert box.run([("cell", "x = 1")], [Call("x", None)]).results == (Value(1),)


HANGS = {
    "loop": "while True: pass",
    "deaf loop": "while True:\n        try:\n            while True: pass\n        except BaseException: pass",
    "sleep": "import time; time.sleep(1e6)",
    "one long call into C": "return sum(range(10 ** 15))",
    "signals blocked": (
        "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals()); [1 for _ in iter(int, 1)]"
    ),
    "a lock": "import threading; threading.Lock().acquire(); l = threading.Lock(); l.acquire(); l.acquire()",
    "reading the pipe": "import os; [os.read(n, 1) for n in range(3, 9) if os.path.exists('/') and not os.isatty(0)]",
    "a regex": "import re; re.match('(a+)+$', 'a' * 64 + 'b')",
    "its pipe closed": "import os, time; os.closerange(0, 64); time.sleep(1e6)",
}


@pytest.mark.needs("bwrap")
@pytest.mark.parametrize("body", HANGS.values(), ids=HANGS)
def test_a_hang_ends(box: Sandbox, body: str) -> None:
    before = descendants()
    result = attack(box, f"def f():\n    {body}")
    assert isinstance(result, TimedOut | Missing | Raised)
    assert settle(lambda: descendants() <= before)


ESCAPES = {
    "fork": "import os; os.fork()",
    "forks": "import os\n    while True:\n        os.fork()",
    "a daemon": "import os; os.fork() or os.setsid() or os.fork()",
    "a program": "import subprocess; subprocess.Popen(['/usr/lib/ld-linux-x86-64.so.2'])",
    "spawn": "import os; os.posix_spawn('/child.py', ['x'], {})",
    "exec": "import os, sys; os.execv(sys.executable, ['python', '-c', '1'])",
    "multiprocessing": "import multiprocessing as m; m.get_context('fork').Process(target=print).start()",
    "system": "import os\n    if os.system('true') != 0: raise PermissionError",
    "setuid": "import os; os.setuid(0)",
    "another user": "import os; os.setresuid(1, 1, 1)",
    "groups": "import os; os.setgroups([])",
    "chroot": "import os; os.chroot('/scratch')",
    "a device": "import os, stat; os.mknod('/scratch/sda', 0o600 | stat.S_IFBLK, os.makedev(8, 0))",
    "the interpreter": "import sys; open(sys.executable, 'r+b')",
    "its own code": "open('/child.py', 'a')",
    "a package": "import numpy; open(numpy.__file__, 'a')",
    "nicer": "import os; os.nice(-5)",
    "a real-time thread": "import os; os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10))",
    "more memory": "import resource as r; r.setrlimit(r.RLIMIT_AS, (r.RLIM_INFINITY, r.RLIM_INFINITY))",
    "host name": "import socket; socket.sethostname('x')",
    "the clock": "import time; time.clock_settime(0, 0)",
}


@pytest.mark.needs("bwrap")
@pytest.mark.parametrize("body", ESCAPES.values(), ids=ESCAPES)
def test_a_way_out_is_refused(box: Sandbox, body: str) -> None:
    before = descendants()
    result = attack(box, f"def f():\n    {body}")
    assert isinstance(result, Raised) and result.kind in ("PermissionError", "OSError", "ValueError"), result
    assert settle(lambda: descendants() <= before)


@pytest.mark.needs("bwrap")
@pytest.mark.parametrize(
    "target", ["-1", "0", "1", "os.getpid()", "os.getppid()", "2", "3", f"{os.getpid()}"]
)
def test_killing_reaches_nobody_else(box: Sandbox, target: str) -> None:
    source = f"""
        import os, signal
        def f():
            for number in (signal.SIGTERM, signal.SIGSTOP, signal.SIGKILL):
                for kill in (os.kill, os.killpg):
                    try:
                        kill({target}, number)
                    except OSError:
                        pass
            return 1
        def g(): return 2
    """
    warm = box._warm.pid if box._warm else None
    first, second = attack(box, source, Call("f"), Call("g"))
    assert isinstance(first, Value | Missing | TimedOut) and second == Value(2)
    assert (box._warm.pid if box._warm else None) == warm


@pytest.mark.needs("bwrap")
def test_the_kernel_is_reached_by_few_ways(box: Sandbox) -> None:
    """Every refused call, by number, answers EPERM; what Linux has got since, and x86's other ABI, is not there."""
    column = platform.machine() == "aarch64"
    numbers = {name: both[column] for name, both in _child._REFUSED.items() if both[column] is not None}
    unknown = {"clone3": 435, "futex_waitv + 1": 450, "far": 5000, "x32": 0x40000000 + 39}
    source = """
        import ctypes
        libc = ctypes.CDLL(None, use_errno=True)
        libc.syscall.argtypes = [ctypes.c_long] * 7
        def f(numbers):
            found = {}
            for name, number in numbers.items():
                ctypes.set_errno(0)
                found[name] = (libc.syscall(number, 0, 0, 0, 0, 0, 0), ctypes.get_errno())
            return found
        def capabilities():
            header, data = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
            assert libc.capget(header, data) == 0
            return list(data)
        def no_new_privileges():
            return libc.prctl(39, 0, 0, 0, 0)
    """
    refused, missing, capabilities, no_new = attack(
        box,
        source,
        Call("f", (numbers,)),
        Call("f", (unknown,)),
        Call("capabilities"),
        Call("no_new_privileges"),
    )
    assert len(numbers) > 50 and refused == Value(dict.fromkeys(numbers, (-1, 1)))
    assert missing == Value(dict.fromkeys(unknown, (-1, 38)))
    assert (capabilities, no_new) == (Value([0] * 6), Value(1))


@pytest.mark.needs("bwrap")
@pytest.mark.skipif(platform.machine() != "x86_64", reason="only x86-64 has a second way to call")
def test_the_32_bit_way_into_the_kernel_is_closed(box: Sandbox) -> None:
    source = """
        import ctypes, mmap
        def f():
            page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
            page.write(bytes.fromhex("b814000000" "cd80" "c3"))  # mov eax, 20 (getpid); int 0x80; ret
            return ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()
    """
    assert attack(box, source).why in ("its process ended by SIGSYS", "its process ended with exit code 159")


@pytest.mark.needs("bwrap")
def test_devices_of_the_host_are_out_of_reach(box: Sandbox) -> None:
    """As root a submission would own /dev/null, and could take it from everybody else."""
    before = Path("/dev/null").stat()
    source = """
        import os
        def f():
            for what in ("/dev/null", "/dev", *range(64)):
                for change in (os.chmod, lambda w, m: os.chown(w, 1, 1), lambda w, m: os.utime(w, (0, 0))):
                    try:
                        change(what, 0)
                    except OSError:
                        pass
            return sorted(os.listdir("/dev"))
    """
    try:
        assert attack(box, source) == Value(["null"])
        after = Path("/dev/null").stat()
    finally:
        if (
            Path("/dev/null").stat().st_mode != before.st_mode
        ):  # a failure here must not cost the machine its own
            Path("/dev/null").chmod(before.st_mode)
    assert (after.st_mode, after.st_uid, after.st_atime) == (before.st_mode, before.st_uid, before.st_atime)


@pytest.mark.needs("bwrap")
def test_threads_run_and_end_with_it(box: Sandbox) -> None:
    before = descendants()
    source = """
        import threading, time
        from concurrent.futures import ThreadPoolExecutor
        import asyncio
        for _ in range(5):
            threading.Thread(target=lambda: [time.sleep(0.001) for _ in iter(int, 1)]).start()
        def f():
            with ThreadPoolExecutor(4) as pool:
                return sum(pool.map(lambda x: x * x, range(10)))
        async def later():
            await asyncio.sleep(0)
            return 5
        def g():
            return asyncio.run(later())
    """
    assert attack(box, source, Call("f"), Call("g")) == (Value(285), Value(5))
    assert settle(lambda: descendants() <= before)


# -- using up ----------------------------------------------------------------------------------------------------------

BOMBS = {
    "memory": ("return len(bytearray(2 ** 30))", "MemoryError"),
    "memory bit by bit": ("x = []\n    while True: x.append(bytearray(2 ** 20))", "MemoryError"),
    "shared memory": ("import mmap; mmap.mmap(-1, 2 ** 30)", "OSError"),
    "a memory file": ("import os; os.memfd_create('x')", "PermissionError"),
    "disk": ("f = open('x', 'wb')\n    while True: f.write(bytes(2 ** 16))", "OSError"),
    "disk in many files": (
        "for i in range(10 ** 6):\n        with open(str(i), 'wb') as f: f.write(bytes(2 ** 12))",
        "OSError",
    ),
    "descriptors": ("import os; [os.pipe() for _ in range(10 ** 5)]", "OSError"),
    "stdin": ("return input()", "EOFError"),
    "recursion": ("return f()", "RecursionError"),
    "digits": ("return int('9' * 10 ** 6)", "ValueError"),
}


@pytest.mark.needs("bwrap")
@pytest.mark.parametrize(("body", "kind"), BOMBS.values(), ids=BOMBS)
def test_a_limit_is_an_exception_of_the_submission(box: Sandbox, body: str, kind: str) -> None:
    result = attack(box, f"def f():\n    {body}")
    assert isinstance(result, Raised) and result.kind == kind, result


@pytest.mark.needs("bwrap")
def test_what_has_no_limit_of_its_own_is_bounded_by_another(box: Sandbox) -> None:
    source = """
        import os, threading
        def folders():
            made = 0
            try:
                while True:
                    os.mkdir(f"d{made}")
                    made += 1
            except OSError:
                return made
        def threads():
            threading.stack_size(2 ** 15)
            made, stop = 0, threading.Event()
            try:
                while True:
                    threading.Thread(target=stop.wait, daemon=True).start()
                    made += 1
            except (RuntimeError, MemoryError):
                return made
    """
    before = descendants()
    folders, threads = attack(box, source, Call("folders"), Call("threads"))
    if box._forks:
        assert folders.value < _child.MOST_FILES
    assert isinstance(threads, Value | TimedOut | Missing | Raised)
    assert not isinstance(threads, Value) or threads.value < 20_000
    assert settle(lambda: descendants() <= before)


@pytest.mark.needs("bwrap")
def test_what_cells_print_is_not_taken_from_the_results() -> None:
    with Sandbox(Limits(result_bytes=2**18, output_bytes=2**16)) as box:
        cells = [
            ("a", "print(chr(0) * 10 ** 5)"),
            ("b", "import os; os._exit(0)"),
            ("c", "x = 'x' * 250_000"),
        ]
        run = box.run(cells, [Call("x", None)])
    assert run.stdout == "\x00" * 2**16 and run.results == (Value("x" * 250_000),)


@pytest.mark.needs("bwrap")
def test_endless_output_is_cut(box: Sandbox) -> None:
    run = box.run(
        [
            ("a", "while True: print('x' * 1000)"),
            ("b", "print('y' * 10 ** 6)\nimport os; os.write(1, b'x' * 10 ** 6)"),
        ],
        [],
    )
    assert run.cells[0] == TimedOut()
    assert isinstance(run.cells[1], Value | Raised)
    assert run.stdout == "y" * LIMITS.output_bytes


@pytest.mark.needs("bwrap")
def test_all_results_together_are_limited() -> None:
    with Sandbox(Limits(result_bytes=10_000)) as box:
        run = box.run([("cell", "def f(n): return 'x' * n")], [Call("f", (n,)) for n in (6000, 20_000, 6000)])
    assert run.results == (
        Value("x" * 6000),
        Missing("too much to be compared"),
        Missing("too much to be compared"),
    )


@pytest.mark.needs("bwrap")
def test_many_runs_leave_no_descriptor_thread_or_process(box: Sandbox) -> None:
    def used() -> tuple[int, int, set[int]]:
        return len([*Path("/proc/self/fd").iterdir()]), threading.active_count(), descendants()

    cells = [("cell", "def f(n):\n    while n: pass\n    return 1\ndef g(): import os; os._exit(1)")]
    box.run(cells, [Call("f", (0,))])
    before = used()
    for _ in range(20):
        assert box.run(cells, [Call("f", (0,)), Call("g"), Call("f", (0,))]).results[::2] == (
            Value(1),
            Value(1),
        )
    assert settle(lambda: used()[:2] == before[:2] and used()[2] <= before[2]), (used(), before)


def settle(done: Callable[[], bool]) -> bool:
    """Wait, with patience, until `done()`; return whether it came to that."""
    end = time.monotonic() + 20
    while not done():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


# -- the sandbox itself ------------------------------------------------------------------------------------------------

SCRIPT = """
import sys
from course.classroom.sandbox import *
with Sandbox(Limits(call_s=600, wall_s=600)) as box:
    box._forks = {forks}
    print("ready", flush=True)
    box.run([("{mark}", "import time\\ntime.sleep(500)")])
"""


@pytest.mark.needs("bwrap")
@pytest.mark.parametrize("forks", [True, False])
def test_nothing_outlives_a_parent_that_is_killed(forks: bool) -> None:
    script = SCRIPT.format(forks=forks, mark="x")
    parent = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE)
    assert parent.stdout is not None and parent.stdout.readline() == b"ready\n"
    family: set[int] = set()

    def all_there() -> bool:
        family.update(children(parent.pid))
        return len(family) >= (5 if forks else 4)

    assert settle(all_there), family
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    assert settle(lambda: not any(alive(pid) for pid in family))


def children(pid: int) -> set[int]:
    """Return every process that comes from `pid`."""
    return {other for other in descendants() if other != pid and comes_from(other, pid)}


def comes_from(pid: int, ancestor: int) -> bool:
    while pid > 1 and pid != ancestor:
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            return False
    return pid == ancestor


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.needs("bwrap")
def test_a_sandbox_that_was_killed_is_started_again() -> None:
    with Sandbox(LIMITS) as box:
        assert box._warm is not None
        box._warm.kill()
        box._warm.wait()
        assert box.run([("cell", "x = 1")], [Call("x", None)]).results == (Value(1),)
    assert box._warm is None


UNPRIVILEGED = """
import os, sys
sys.path[:0] = {path!r}
from course.classroom.sandbox import *
source = '''
import os, threading
def who(): return [os.getuid(), os.path.exists("/etc"), os.path.exists("/tmp")]
def fork(): os.fork()
def threads():
    threading.stack_size(2 ** 15)
    made, stop = 0, threading.Event()
    try:
        while True:
            threading.Thread(target=stop.wait, daemon=True).start()
            made += 1
    except (RuntimeError, MemoryError):
        return made < 4100
'''
assert os.getuid() == {uid}
with Sandbox(Limits(call_s=30, memory_bytes=2**35)) as box:
    for forks in (True, False):
        box._forks = forks and box._forks
        print(forks, box._forks, box.run([("c", source)], [Call("who"), Call("fork"), Call("threads")]))
"""


def as_nobody(python: str, script: str) -> subprocess.CompletedProcess[str] | None:
    """Run a script as an ordinary user; return None if that user cannot start this Python."""
    try:
        return subprocess.run(
            [python, "-P", "-c", script],
            user=NOBODY,
            group=NOBODY,
            extra_groups=[],
            capture_output=True,
            text=True,
            cwd="/",
            check=False,
        )
    except OSError:
        return None


@pytest.mark.needs("bwrap")
@pytest.mark.skipif(
    sys.platform != "linux" or os.getuid() != 0, reason="every other test here is unprivileged already"
)
def test_it_works_for_an_ordinary_user() -> None:
    """As user 65534, from a copy of the package, with a Python which that user may start."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        shutil.copytree(Path(course.__path__[0]), folder / "course")
        script = UNPRIVILEGED.format(path=[name], uid=NOBODY)
        candidates = [sys.executable, f"/usr/bin/python3.{sys.version_info.minor}", "/usr/bin/python3"]
        python = next(path for path in candidates if as_nobody(path, "import encodings") is not None)
        done = as_nobody(python, script)
    assert done is not None
    assert done.returncode == 0, done.stderr
    for line in done.stdout.splitlines():
        assert f"Value(value=[{NOBODY}, False, False]), Raised(kind='PermissionError'" in line, line
        assert "Value(value=True))" in line, line
    assert done.stdout.startswith("True True") and "\nFalse False" in done.stdout


def test_probe_says_why_not(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(sys, "platform", "darwin")
        assert probe() == "A sandbox needs Linux."
    monkeypatch.setattr(sys, "platform", "linux")
    with monkeypatch.context() as patch:
        patch.setattr(platform, "machine", lambda: "riscv64")
        assert probe() == "A sandbox needs a machine of x86_64 or aarch64, not riscv64."
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "sudo apt install bubblewrap" in str(probe())
    with pytest.raises(SandboxError, match="bubblewrap"):
        Sandbox()


@pytest.mark.skipif(sys.platform == "win32", reason="there is no bubblewrap to stand in for")
def test_a_kernel_that_forbids_namespaces_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    said = "bwrap: No permissions to create new namespace"
    program = tmp_path / "bwrap"
    program.write_text(f"#!/bin/sh\necho '{said}' >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(shutil, "which", lambda name: str(program))
    assert probe() == f"Bubblewrap cannot start Python here; it said: {said}"


@pytest.mark.needs("bwrap")
def test_probe_finds_a_sandbox() -> None:
    assert probe() is None


@pytest.mark.needs("bwrap")
def test_where_capabilities_are_denied_each_submission_has_its_own_bubblewrap(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As AppArmor does on Ubuntu 25.04; here the capability is left out."""
    command = Sandbox._command

    def without(self: Sandbox, bwrap: str, control: int | None = None) -> list[str]:
        return [part for part in command(self, bwrap, control) if part not in ("--cap-add", "CAP_SYS_ADMIN")]

    monkeypatch.setattr(Sandbox, "_command", without)
    with Sandbox(LIMITS) as box:
        assert not box._forks and box._warm is None
        assert attack(box, "def f(): return 5") == Value(5)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"call_s": 0}, "call_s = 0"),
        ({"wall_s": -1}, "wall_s = -1"),
        ({"memory_bytes": 1000}, "memory_bytes = 1000"),
        ({"files_bytes": 1}, "files_bytes = 1"),
        ({"output_bytes": -1}, "output_bytes = -1"),
        ({"result_bytes": 1.5}, "result_bytes = 1.5"),
    ],
)
def test_bad_limits_are_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Limits(**values)


# -- without a wall ----------------------------------------------------------------------------------------------------


def test_a_trusted_submission_gives_the_same() -> None:
    cells = [
        ("a", "import os\nprint('hello')\ndef good(x): return [x, (1, 2), {3}]"),
        ("b", "def hang():\n    while True: pass\ndef leave(): os._exit(3)\ndef bad(): return object()"),
        (
            "c",
            "def stdin(): return input()\ndef where():\n    open('x', 'w').close(); return os.listdir('.')",
        ),
    ]
    calls = [Call(name) for name in ("hang", "leave", "bad", "nothing", "stdin", "where")]
    with Trusted(Limits(call_s=3)) as box:
        run = box.run(cells, [*calls, Call("good", (b"x",))])
        folder = Path(box._folder.name)
        assert folder.is_dir()
    assert not folder.exists()
    assert run.results == (
        TimedOut(),
        Missing("its process ended with exit code 3"),
        Missing("a object, which is not plain data"),
        Missing("there is no nothing"),
        Raised("EOFError", "EOF when reading a line", "c", 1),
        Value(["x"]),
        Value([b"x", (1, 2), {3}]),
    )
    assert (run.stdout, run.ended) == ("hello\n", "time")


def test_what_a_call_is_given_must_be_plain() -> None:
    with Trusted() as box, pytest.raises(ValueError, match=r"must be plain data, and holds a object"):
        box.run([], [Call("f", (object(),))])
