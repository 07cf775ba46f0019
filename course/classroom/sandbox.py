"""Run code that nobody vouches for, and get plain data back.

A submission is its cells, executed one after the other in one fresh namespace, and then calls of what they defined.
:class:`Sandbox` runs it on Linux behind `bubblewrap <https://github.com/containers/bubblewrap>`_; :func:`probe` says
why that cannot be had where it cannot; :class:`Trusted` runs it in a process of its own without any wall.

What holds a submission, one a fork of a warm Python inside bubblewrap:

- Namespaces of its own for users, processes, mounts, IPC; no network, no ``/proc``, no programs, no capability.
  It sees, read-only, Python, the installed packages and this package without ``course.exercises`` and
  ``course.classroom``, and one small folder in memory that it can write and nobody sees after it.
- A seccomp filter: threads, but no other process, no socket, no kernel key, none of the calls that widen the way into
  the kernel. So there is nothing to outlive it, and limits of one process are limits of the submission.
- Limits on time, address space, files, output and results, the parent's clock for each cell and each call, and
  SIGKILL at the end, also when the parent itself is killed.
- What a call is given goes in when it is called, what is expected never does. What comes back is decoded strictly into
  exact built-in types: an answer can be wrong, it cannot be an object that equals everything.

A cell or a call that hangs or dies costs itself and, a call, the later calls of the same name: the rest goes on in a
new process. What came before is kept, what is missing is a :class:`Missing`.

What this does not do:

- It does not stop a bug in the kernel, in bubblewrap or in the processor (Spectre and its like) from being used.
- There is no cgroup: a submission may keep every core busy until its time is up, and takes memory beyond its address
  space in the kernel's tables (threads, pipes: some hundred megabytes at worst). As root, which RLIMIT_NPROC does not
  hold, threads are bounded by address space and time alone: grade as an ordinary user.
- It sees the clock, the versions of Python and of the packages, and how busy the machine is.
- All it prints, every exception's class and message, and why a result is missing may be its own words, and those from
  a call may hold what the call was given. `Run.stdout` is what cells printed, before any call; show nothing else of a
  hidden case to anybody, and escape all of it.
- Its answers are its own to make: a function may look at the stack, patch this module's other end, or answer without
  computing. It gains the answers it could have returned.
- Where AppArmor denies capabilities inside bubblewrap (Ubuntu 25.04), each submission starts a bubblewrap and a Python
  of its own: the same walls but for the number of files, and four to eight times the time.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import platform
import queue
import shutil
import signal
import socket
import struct
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from reprlib import repr as shortened
from typing import IO, Any, Self

import course
from course import checks
from course.classroom import _child
from course.classroom._child import NotPlainError

CHILD = Path(_child.__file__)
HIDDEN = ("exercises", "classroom")
START_S = 60.0
END_S = 10.0
MAX_REQUEST = 2**30


@dataclass(frozen=True)
class Limits:
    """What one submission may use.

    Attributes
    ----------
    call_s : float
        Seconds for one cell or one call.
    wall_s : float
        Seconds for all of it.
    memory_bytes : int
        Address space; Python with NumPy takes about 200 MB of it.
    files_bytes : int
        What it may write in its folder.
    output_bytes : int
        How much of what its cells print is kept, in characters.
    result_bytes : int
        How much all its answers may come to, encoded.
    """

    call_s: float = 5.0
    wall_s: float = 60.0
    memory_bytes: int = 2**30
    files_bytes: int = 16 * 2**20
    output_bytes: int = 2**16
    result_bytes: int = 2 * 2**20

    def __post_init__(self) -> None:
        checks.number("call_s", self.call_s, 0, 3600, unit="s", open_low=True)
        checks.number("wall_s", self.wall_s, 0, 86400, unit="s", open_low=True)
        checks.integer("memory_bytes", self.memory_bytes, 2**28, 2**40)
        checks.integer("files_bytes", self.files_bytes, 2**12, 2**32)
        checks.integer("output_bytes", self.output_bytes, 0, 2**24)
        checks.integer("result_bytes", self.result_bytes, 2**12, 2**26)


@dataclass(frozen=True)
class Call:
    """One thing to ask of a submission. Everything in it is plain data.

    Attributes
    ----------
    name : str
        A name that the cells define.
    args : tuple or None
        What it is called with; None reads the value itself.
    kwargs : dict
        Likewise, by name.
    steps : tuple of (str, tuple or None), optional
        Methods to call on what came back, each with its arguments; None reads an attribute. The result is then a
        :class:`Steps`.
    """

    name: str
    args: tuple[Any, ...] | None = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    steps: tuple[tuple[str, tuple[Any, ...] | None], ...] | None = None


@dataclass(frozen=True)
class Value:
    """What came back, in exact built-in types."""

    value: Any


@dataclass(frozen=True)
class Raised:
    """An exception: its class, what it said, and the last line of the submission that it passed (0 if none)."""

    kind: str
    message: str
    cell: str
    line: int


@dataclass(frozen=True)
class Steps:
    """What came of each step."""

    steps: tuple[Value | Raised | Missing, ...]


@dataclass(frozen=True)
class TimedOut:
    """It did not come back in time."""


@dataclass(frozen=True)
class Missing:
    """There is no result, and why: half a sentence."""

    why: str


Outcome = Value | Raised | Steps | TimedOut | Missing


@dataclass(frozen=True)
class Run:
    """What came of a submission.

    Attributes
    ----------
    cells : tuple
        For each cell `Value(None)`, or what stopped it.
    results : tuple
        For each call its outcome.
    stdout : str
        The beginning of what the cells printed, on stdout and stderr.
    ended : str
        "ok", or the first thing that stopped a process: "time", "crash".
    """

    cells: tuple[Outcome, ...]
    results: tuple[Outcome, ...]
    stdout: str
    ended: str


class SandboxError(RuntimeError):
    """The sandbox itself does not work here; no submission is to blame."""


def probe() -> str | None:
    """Return why there can be no sandbox on this machine, in one sentence, or None if there can.

    It tries: Linux, a machine whose system calls we know, bubblewrap (0.8 or newer), and a kernel that lets it make
    namespaces (under Docker's default profile it does not).
    """
    if sys.platform != "linux":
        return "A sandbox needs Linux."
    try:
        _child.seccomp_program(platform.machine())
    except KeyError:
        return f"A sandbox needs a machine of x86_64 or aarch64, not {platform.machine()}."
    if shutil.which("bwrap") is None:
        return "A sandbox needs bubblewrap (the program bwrap; sudo apt install bubblewrap)."
    try:
        with Sandbox() as box:
            run = box.run([("probe", "x = 1")], [Call("x", None)])
    except SandboxError as error:
        return str(error)
    return None if run.results == (Value(1),) else f"Bubblewrap starts here, and nothing runs in it: {run}."


class _TooLateError(Exception):
    """No answer in time."""


class _DeadError(Exception):
    """The process is gone."""


class _Process:
    """A submission's process, seen from here: one frame goes in, one comes out, and nothing waits for ever."""

    def __init__(
        self, source: IO[bytes], target: IO[bytes], end: Callable[[], int | None], most: int
    ) -> None:
        self._source, self._target, self._end = source, target, end
        self.left = most
        self._in: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._out: queue.SimpleQueue[bytes | Exception] = queue.SimpleQueue()
        threading.Thread(target=self._exchange, daemon=True).start()
        self._in.put(b"")
        try:
            said = self._answer(START_S).decode(errors="replace")
        except (_TooLateError, _DeadError):
            said = "nothing"
        if said != "null":
            self.close()
            raise SandboxError(f"A submission's process cannot start here; it said: {said[:300]}")

    def ask(self, request: bytes, seconds: float) -> Any:
        """Return the answer to an encoded request.

        Raises
        ------
        _TooLateError, _DeadError, NotPlainError
            If none came in time, or ever, or not one in plain data: the process is then of no more use.
        """
        self._in.put(request)
        frame = self._answer(seconds)
        self.left -= len(frame)
        return _child.decode(frame)

    def close(self) -> int | None:
        """End the process; return its exit code, negative for a signal, if it is known."""
        self._in.put(None)
        return self._end()

    def _answer(self, seconds: float) -> bytes:
        try:
            answer = self._out.get(timeout=max(0.0, seconds))
        except queue.Empty:
            raise _TooLateError from None
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _exchange(self) -> None:
        # Its own thread, because a pipe cannot be read with a deadline on every system. It ends with the process.
        with contextlib.suppress(OSError), self._source, self._target:
            while (request := self._in.get()) is not None:
                try:
                    if request:
                        _child.write_frame(self._target, request)
                    frame = _child.read_frame(self._source, self.left)
                    self._out.put(_DeadError() if frame is None else frame)
                except NotPlainError as error:
                    self._out.put(error)
                except (OSError, ValueError):
                    self._out.put(_DeadError())


@dataclass
class _Work:
    """A submission on its way through one process or several."""

    cells: list[bytes]
    calls: list[tuple[str, bytes]]
    deadline: float
    limits: Limits
    left: int
    stdout: str = ""
    ended: str = "ok"

    def __post_init__(self) -> None:
        self.ran: list[Outcome | None] = [None] * len(self.cells)
        self.results: list[Outcome | None] = [None] * len(self.calls)
        self.fatal: set[int] = set()
        self.lost: set[str] = set()

    def go_on(self, process: _Process) -> bool:
        """Do in `process` what is left to do; return whether that is all there will be."""
        for i, request in enumerate(self.cells):
            if i in self.fatal:
                continue
            outcome, printed, alive = self._ask(process, request, cell=True)
            if self.ran[i] is None:
                self.stdout = (self.stdout + printed)[: self.limits.output_bytes]
            if self.ran[i] is None or not alive:
                self.ran[i] = outcome
            if not alive:
                self.fatal.add(i)
                return self.over
        for i, (name, request) in enumerate(self.calls):
            if self.results[i] is not None:
                continue
            if name in self.lost:
                self.results[i] = Missing("an earlier call of it did not come back")
                continue
            self.results[i], _, alive = self._ask(process, request)
            if not alive:
                self.lost.add(name)
                return self.over
        return True

    @property
    def over(self) -> bool:
        return time.monotonic() >= self.deadline or self.left <= 0

    def run(self) -> Run:
        nothing = Missing("the time was up" if self.ended == "time" else "it was not reached")
        return Run(
            tuple(outcome or nothing for outcome in self.ran),
            tuple(outcome or nothing for outcome in self.results),
            self.stdout,
            self.ended,
        )

    def _ask(self, process: _Process, request: bytes, *, cell: bool = False) -> tuple[Outcome, str, bool]:
        """Return what came of a request, what was printed, and whether the process can go on."""
        seconds = min(self.limits.call_s, self.deadline - time.monotonic())
        try:
            process.left = _child.most_of_cell(self.limits.output_bytes) if cell else self.left
            answer = process.ask(request, seconds)
            printed = ""
            if not cell:
                self.left = process.left
            else:
                *rest, printed = answer
                answer = tuple(rest)
            if not isinstance(printed, str):
                raise NotPlainError("not plain data")
            return _outcome(answer), printed, True
        except _TooLateError:
            self._stopped("time")
            return TimedOut(), "", False
        except _DeadError:
            self._stopped("crash")
            code = process.close()
            return Missing(f"its process ended{_how(code)}"), "", False
        except (NotPlainError, TypeError, ValueError) as error:
            if not cell:
                self.left = process.left
            self._stopped("crash")
            why = str(error) if isinstance(error, NotPlainError) else "not plain data"
            return Missing(why[: _child.MOST_TEXT]), "", False

    def _stopped(self, why: str) -> None:
        if self.ended == "ok":
            self.ended = why


def _request(*parts: Any) -> bytes:
    try:
        return _child.encode(parts, MAX_REQUEST)
    except NotPlainError as error:
        raise ValueError(
            f"{parts[0]} = {shortened(parts[1:])}: must be plain data, and holds {error}"
        ) from None


def _unicode(source: str) -> str:
    """Return `source` without the halves of characters that a notebook's JSON can hold and Python cannot read."""
    return source.encode(errors="replace").decode()


def _outcome(answer: Any, *, inside: bool = False) -> Any:
    """Return what an answer from a submission's process says; any other shape is refused."""
    match answer:
        case ("value", value):
            return Value(value)
        case ("raised", str(kind), str(message), str(cell), int(line)):
            most = _child.MOST_TEXT
            return Raised(kind[:most], message[:most], cell[:most], line)
        case ("missing", str(why)):
            return Missing(why[: _child.MOST_TEXT])
        case ("steps", list(steps)) if not inside:
            return Steps(tuple(_outcome(step, inside=True) for step in steps))
    raise NotPlainError("not plain data")


def _how(code: int | None) -> str:
    if code is None or code == 0:
        return ""
    if code > 0:
        return f" with exit code {code}"
    with contextlib.suppress(ValueError):
        return f" by {signal.Signals(-code).name}"
    return f" by signal {-code}"


class Runner(ABC):
    """What runs submissions, one at a time."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @abstractmethod
    def close(self) -> None:
        """End everything that was started."""

    @abstractmethod
    def _start(self) -> _Process:
        """Start a process for a submission."""

    def run(self, cells: Iterable[tuple[str, str]], calls: Iterable[Call] = ()) -> Run:
        """Run one submission.

        Parameters
        ----------
        cells : iterable of (str, str)
            A name for each cell, and its source. They share one namespace, and one that raises does not stop the next.
        calls : iterable of Call
            What is asked of it then, in this order.

        Raises
        ------
        ValueError
            If what a call is given is not plain data.
        SandboxError
            If the sandbox itself does not work; never for anything that a submission does.
        """
        work = _Work(
            [_request("cell", name, _unicode(source)) for name, source in cells],
            [(call.name, _request("call", call.name, call.args, call.kwargs, call.steps)) for call in calls],
            time.monotonic() + self.limits.wall_s,
            self.limits,
            self.limits.result_bytes,
        )
        done = False
        while not done:
            process = self._start()
            try:
                done = work.go_on(process)
            finally:
                process.close()
        return work.run()

    def _arguments(self, path: Sequence[str], **more: object) -> str:
        limits = {**asdict(self.limits), "sandboxed": isinstance(self, Sandbox)}
        return json.dumps({"limits": limits, "path": path, "control": None, **more})


def _spawn(command: list[str], most: int, **more: Any) -> _Process:
    """Start a command that speaks over its stdin and stdout."""
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, **more
    )

    def end() -> int | None:
        if process.returncode is None:  # what it started may live on though it has ended
            with contextlib.suppress(OSError):
                if sys.platform == "win32":
                    process.kill()
                else:
                    os.killpg(process.pid, signal.SIGKILL)
        return process.wait()

    assert process.stdin is not None and process.stdout is not None
    return _Process(process.stdout, process.stdin, end, most)


class Trusted(Runner):
    """Run submissions in processes of their own, with limits where the system has them and no wall at all.

    For those who trust what they grade, where there is no sandbox. A submission can read, write and send what you can.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        super().__init__(limits)
        self._folder = tempfile.TemporaryDirectory(prefix="course-", ignore_cleanup_errors=True)

    def close(self) -> None:
        """Remove the folder that submissions ran in."""
        self._folder.cleanup()

    def _start(self) -> _Process:
        path = [*_packages(), str(Path(course.__path__[0]).parent)]
        return _spawn(
            [sys.executable, "-s", "-S", "-P", str(CHILD), self._arguments(path)],
            self.limits.result_bytes,
            cwd=self._folder.name,
            env={**os.environ, "PYTHONHASHSEED": "0"},
            start_new_session=True,
        )


class Sandbox(Runner):
    """Run submissions that nobody vouches for, one at a time, from the thread that made it. One for each process.

    Parameters
    ----------
    limits : Limits, optional
        What each may use.
    modules : sequence of str
        Modules of this package that submissions get to see though their folder is hidden.

    Raises
    ------
    SandboxError
        If it cannot start; :func:`probe` says so beforehand.
    """

    def __init__(self, limits: Limits | None = None, modules: Sequence[str] = ()) -> None:
        super().__init__(limits)
        self._modules = tuple(modules)
        self._warm: subprocess.Popen[bytes] | None = None
        self._forks = True
        self._control: socket.socket
        self._open()

    def close(self) -> None:
        """End the sandbox and whatever runs in it."""
        if self._warm is not None:
            self._control.close()
            self._warm.kill()
            self._warm.wait()
            if self._warm.stderr is not None:
                self._warm.stderr.close()
            self._warm = None

    def _open(self) -> None:
        """Start the warm process that forks; where it may not, keep to one bubblewrap a submission."""
        bwrap = shutil.which("bwrap")
        if sys.platform != "linux" or bwrap is None:
            raise SandboxError(probe() or "There is no sandbox.")
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._warm = subprocess.Popen(
                self._command(bwrap, control=theirs.fileno()),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=[theirs.fileno()],
            )
        self._control.settimeout(START_S)
        try:
            hello = self._control.recv(100)
        except OSError:
            hello = b""
        if not hello:
            self._warm.kill()
            assert self._warm.stderr is not None
            said = self._warm.stderr.read(10_000).decode(errors="replace").strip().splitlines() or ["nothing"]
            self.close()
            raise SandboxError(f"Bubblewrap cannot start Python here; it said: {said[-1][:300]}")
        self._forks = hello == b"forks"
        if not self._forks:
            self.close()

    def _start(self) -> _Process:
        if not self._forks:
            bwrap = shutil.which("bwrap") or "bwrap"
            return _spawn(self._command(bwrap), self.limits.result_bytes, start_new_session=True)
        try:
            return self._fork()
        except (OSError, SandboxError):
            # The warm process is gone, as when the kernel was short of memory and chose it.
            self.close()
            self._open()
            return self._start() if not self._forks else self._fork()

    def _fork(self) -> _Process:
        talk, their_talk = socket.socketpair()
        leash, their_leash = socket.socketpair()
        with talk, their_talk, their_leash:
            try:
                socket.send_fds(self._control, [b"run"], [their_talk.fileno(), their_leash.fileno()])
                source, target = talk.makefile("rb"), talk.makefile("wb")
            except OSError:
                leash.close()
                raise
        return _Process(source, target, lambda: self._let_go(leash), self.limits.result_bytes)

    def _let_go(self, leash: socket.socket) -> int | None:
        """Have a submission ended, wait until it has, and return its exit code."""
        with leash:
            if leash.fileno() == -1:
                return None
            leash.settimeout(END_S)
            try:
                leash.shutdown(socket.SHUT_WR)
                status = leash.recv(4, socket.MSG_WAITALL)
            except OSError:
                status = b""
        if len(status) < 4:
            # Nobody says that it is over: then all of it is.
            self.close()
            return None
        return int(struct.unpack("<i", status)[0])

    def _command(self, bwrap: str, control: int | None = None) -> list[str]:
        """Return the command that starts Python in a sandbox, warm for many submissions or for one."""
        python = Path(sys.executable).resolve()
        package = Path(course.__path__[0])
        places = {f"/packages/{i}": path for i, path in enumerate(_packages())}
        mounts = [str(path) for path in ("/usr/lib", "/usr/lib32", "/usr/lib64", "/lib", "/lib64")]
        if sys.base_prefix != "/usr":
            mounts.append(sys.base_prefix)
        mounts.append(str(python))
        # The package, and a second copy of it where it is installed among the packages.
        copies = {"/packages/course/course": package}
        copies |= {f"{inside}/course": Path(path) / "course" for inside, path in places.items()}
        hidden = [
            f"{inside}/{name}" for inside, path in copies.items() for name in HIDDEN if (path / name).is_dir()
        ]
        command = [
            bwrap,
            "--unshare-user",
            "--unshare-ipc",
            "--unshare-pid",
            "--unshare-net",
            "--unshare-uts",
        ]
        command += ["--unshare-cgroup-try", "--disable-userns", "--cap-drop", "ALL"]
        command += ["--uid", "65534", "--gid", "65534", "--hostname", "sandbox"]
        command += ["--die-with-parent", "--new-session", "--clearenv"]
        for name, value in _ENVIRONMENT.items():
            command += ["--setenv", name, value]
        for path in mounts:
            command += ["--ro-bind-try", path, path]
        for inside, path in {**places, "/packages/course/course": str(package)}.items():
            command += ["--ro-bind", path, inside]
        for folder in hidden:
            command += ["--tmpfs", folder]
        for name in self._modules:
            found = importlib.util.find_spec(name)
            if found is None or found.origin is None or not name.startswith("course."):
                raise ValueError(f"modules = {self._modules!r}: there is no module {name!r} in course")
            command += ["--ro-bind", found.origin, f"/packages/course/{'/'.join(name.split('.'))}.py"]
        for folder in hidden:
            command += ["--remount-ro", folder]
        command += ["--symlink", f"{_child.SCRATCH}/.null", os.devnull]
        command += ["--ro-bind", str(CHILD), "/child.py"]
        if control is None:
            command += ["--size", str(self.limits.files_bytes), "--tmpfs", _child.SCRATCH]
            command += ["--chdir", _child.SCRATCH]
        else:
            command += ["--cap-add", "CAP_SYS_ADMIN", "--dir", _child.SCRATCH]
        command += ["--remount-ro", "/"]
        paths = ["/packages/course", *places]
        arguments = self._arguments(paths, control=control, modules=self._modules)
        return [*command, "--", str(python), "-s", "-S", "-P", "/child.py", arguments]


_ENVIRONMENT = {
    "HOME": _child.SCRATCH,
    "TMPDIR": _child.SCRATCH,
    "LANG": "C.UTF-8",
    "PYTHONHASHSEED": "0",
    "PYTHONDONTWRITEBYTECODE": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
}


def _packages() -> list[str]:
    """Return where packages are installed."""
    return list(dict.fromkeys(sysconfig.get_paths()[name] for name in ("platlib", "purelib")))
