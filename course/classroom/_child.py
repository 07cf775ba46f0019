"""The other end of :mod:`course.classroom.sandbox`: runs one submission's cells and calls.

Started as a script with the standard library alone; the parent imports it for :func:`encode` and :func:`decode`.
Everything here but the codec in the parent may be taken over by the code it runs: nothing it says is believed beyond
being that submission's own answer.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import io
import json
import math
import os
import platform
import select
import signal
import socket
import struct
import sys
import traceback
import types
from collections.abc import Callable, Iterator
from functools import partial
from itertools import groupby
from typing import IO, Any

MOST_DEPTH = 50
MOST_BITS = 8192
MOST_COLLISIONS = 8
MOST_TEXT = 500
MOST_TASKS = 4096
MOST_FILES = 1024
SETUP_FAILED = 70
SCRATCH = "/scratch"

# -- the wire: a four-byte length, then JSON in which every container says what it is --------------------------------


class NotPlainError(ValueError):
    """The value is not plain data, or too much of it; the message says which in a few words."""


def encode(value: object, most: int) -> bytes:
    """Return `value` as JSON, subclasses and NumPy's numbers and arrays as the built-in type they stand for.

    Raises
    ------
    NotPlainError
        If it holds anything else, or takes more than `most` bytes.
    """
    nodes = most // 2  # no value takes less, with its comma

    def tree(value: Any, depth: int) -> Any:
        nonlocal nodes
        nodes -= 1
        if nodes < 0 or depth > MOST_DEPTH:
            raise NotPlainError("too much to be compared")
        numpy = sys.modules.get("numpy")
        if numpy is not None and isinstance(value, numpy.generic | numpy.ndarray):
            if value.size > nodes:
                raise NotPlainError("too much to be compared")
            value = value.tolist()
        if value is None or value is True or value is False:
            return value
        if isinstance(value, int):
            if value.bit_length() > MOST_BITS:
                raise NotPlainError("a number of too many digits")
            return int(value)
        if isinstance(value, float):
            return float(value)
        if isinstance(value, str):
            if len(value) > most:
                raise NotPlainError("too much to be compared")
            return str(value)
        if isinstance(value, bytes | bytearray):
            if len(value) > most:
                raise NotPlainError("too much to be compared")
            return ["bytes", bytes(value).hex()]
        if isinstance(value, dict):
            return ["dict", *(tree(part, depth + 1) for pair in value.items() for part in pair)]
        for kind in (list, tuple, set, frozenset):
            if isinstance(value, kind):
                return [kind.__name__, *(tree(part, depth + 1) for part in value)]
        raise NotPlainError(f"a {type(value).__name__}, which is not plain data")

    text = json.dumps(tree(value, 0), separators=(",", ":"), ensure_ascii=False)
    try:
        data = text.encode()
    except UnicodeEncodeError:
        raise NotPlainError("text that is not Unicode") from None
    if len(data) > most:
        raise NotPlainError("too much to be compared")
    return data


def decode(data: bytes) -> Any:
    """Return the value that `data` stands for, made of exact built-in types; `data` may be hostile.

    Raises
    ------
    NotPlainError
        If `data` is anything but what :func:`encode` writes, or would cost much more than its size (an empty set is
        the dearest: 8 bytes here, 216 in memory).
    """

    def build(tree: Any, depth: int) -> Any:
        if depth > MOST_DEPTH:
            raise NotPlainError("too much to be compared")
        if tree is None or isinstance(tree, bool | float):
            return tree
        if isinstance(tree, int):
            if tree.bit_length() > MOST_BITS:
                raise NotPlainError("a number of too many digits")
            return tree
        if isinstance(tree, str):
            tree.encode()
            return tree
        if not isinstance(tree, list):
            raise NotPlainError("not plain data")
        kind, *parts = tree
        if kind == "bytes":
            (text,) = parts
            return bytes.fromhex(text)
        values = [build(part, depth + 1) for part in parts]
        if kind == "list":
            return values
        if kind == "tuple":
            return tuple(values)
        if kind == "set":
            return set(_keys(values))
        if kind == "frozenset":
            return frozenset(_keys(values))
        if kind == "dict":
            return dict(zip(_keys(values[::2]), values[1::2], strict=True))
        raise NotPlainError("not plain data")

    try:
        return build(json.loads(data), 0)
    except NotPlainError:
        raise
    except (ValueError, TypeError, RecursionError):
        raise NotPlainError("not plain data") from None


def _keys(values: list[Any]) -> list[Any]:
    """Return `values` if they are different and hash to different things: a table of collisions takes for ever."""
    if any(sum(1 for _ in same) > MOST_COLLISIONS for _, same in groupby(sorted(map(hash, values)))):
        raise NotPlainError("not plain data")
    if len(set(values)) < len(values):
        raise NotPlainError("not plain data")
    return values


def most_of_cell(output: int) -> int:
    """Return how many bytes the answer of a cell may take that prints `output` characters."""
    return 6 * output + 16_384  # a control character takes six; an exception's words take the rest


def read_frame(source: IO[bytes], most: int) -> bytes | None:
    """Return the next frame, None at the end.

    Raises
    ------
    NotPlainError
        If it is longer than `most` bytes.
    """
    head = source.read(4)
    if len(head) < 4:
        return None
    (size,) = struct.unpack(">I", head)
    if size > most:
        raise NotPlainError("too much to be compared")
    data = source.read(size)
    return data if len(data) == size else None


def write_frame(target: IO[bytes], data: bytes) -> None:
    """Write one frame."""
    target.write(struct.pack(">I", len(data)) + data)
    target.flush()


# -- running a submission --------------------------------------------------------------------------------------------


class _Printed(io.TextIOBase):
    """Stands for stdout and stderr: keeps the beginning of what is printed."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.parts: list[str] = []

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if self.most > 0:
            self.parts.append(text[: self.most])
            self.most -= len(text)
        return len(text)

    def take(self) -> str:
        text = "".join(self.parts)
        self.parts.clear()
        return text.encode(errors="replace").decode()


def serve(source: IO[bytes], target: IO[bytes], limits: dict[str, Any]) -> None:
    """Answer the parent's requests until it has no more."""
    most = limits["result_bytes"]
    printed = _Printed(limits["output_bytes"])
    main = types.ModuleType("__main__")
    space = main.__dict__
    cells: set[str] = set()
    sys.modules["__main__"] = main
    sys.stdout = sys.stderr = printed
    write_frame(target, b"null")
    while (frame := read_frame(source, 2**31)) is not None:
        kind, *rest = decode(frame)
        if kind == "cell":
            name, code = rest
            cells.add(name)
            try:
                exec(compile(code, name, "exec", dont_inherit=True), space)
                answer: tuple[Any, ...] = ("value", None)
            except BaseException as error:
                answer = _raised(error, cells)
            write_frame(target, encode((*answer, printed.take()), most_of_cell(limits["output_bytes"])))
        else:
            write_frame(target, _encoded(_call(space, cells, most, *rest), most))


def _call(
    space: dict[str, Any],
    cells: set[str],
    most: int,
    name: str,
    args: tuple[Any, ...] | None,
    kwargs: dict[str, Any],
    steps: tuple[tuple[str, tuple[Any, ...] | None], ...] | None,
) -> tuple[Any, ...]:
    """Do one call, and the steps on what it returns."""
    if name not in space:
        return ("missing", f"there is no {name}")
    try:
        value = space[name] if args is None else space[name](*args, **kwargs)
    except BaseException as error:
        return _raised(error, cells)
    if steps is None:
        return ("value", value)
    outcomes = []
    for attribute, given in steps:
        try:
            found = getattr(value, attribute)
            outcome: tuple[Any, ...] = ("value", found if given is None else found(*given))
            encode(outcome, most)
        except NotPlainError as error:
            outcome = ("missing", str(error))
        except BaseException as error:
            outcome = _raised(error, cells)
        outcomes.append(outcome)
    return ("steps", outcomes)


def _encoded(answer: tuple[Any, ...], most: int) -> bytes:
    """Encode an answer; one that is not plain data is missing, and whatever it raises on the way is its own."""
    try:
        return encode(answer, most)
    except NotPlainError as error:
        return encode(("missing", str(error)[:MOST_TEXT]), most)
    except BaseException:
        return encode(("missing", "not plain data"), most)


def _raised(error: BaseException, cells: set[str]) -> tuple[str, str, str, str, int]:
    """Describe an exception: its class, what it says, and the last line of the submission it passed."""
    cell, line = "", 0
    try:
        if isinstance(error, SyntaxError) and error.filename in cells:
            cell, line = error.filename or "", error.lineno or 0
        for frame, number in traceback.walk_tb(error.__traceback__):
            if frame.f_code.co_filename in cells:
                cell, line = frame.f_code.co_filename, number
        message = str(error.msg if isinstance(error, SyntaxError) else error)[:MOST_TEXT]
    except BaseException:
        message = ""
    return ("raised", type(error).__name__[:MOST_TEXT], message.encode(errors="replace").decode(), cell, line)


# -- shutting the door behind us -------------------------------------------------------------------------------------

_CLONE_NEWNS, _CLONE_NEWIPC, _CLONE_NEWPID, _CLONE_THREAD = 0x20000, 0x8000000, 0x20000000, 0x10000
_MS_NOSUID_NODEV = 6
_PR_SET_PDEATHSIG, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 1, 22, 38
_CAPABILITY_VERSION_3 = 0x20080522

# The last system call of Linux 5.16. What is newer, and x86's x32 calls, "does not exist": the C library copes.
_NEWEST = 449
_CLONE3 = 435
# What each machine calls itself, its clone, and the calls that a submission has no use for: other processes, other
# programs, sockets (socketpair stays), shared memory that no limit counts, kernel keys, mounts, and what only widens
# the way into the kernel. In the order of the numbers of x86-64; those above 423 are the same everywhere.
_ARCHITECTURES = {"x86_64": (0xC000003E, 56), "aarch64": (0xC00000B7, 220)}
_REFUSED = {
    # name: (x86-64, AArch64)
    "shmget": (29, 194),
    "socket": (41, 198),
    "fork": (57, None),
    "vfork": (58, None),
    "execve": (59, 221),
    "semget": (64, 190),
    "msgget": (68, 186),
    "ptrace": (101, 117),
    "syslog": (103, 116),
    "personality": (135, 92),
    "modify_ldt": (154, None),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "acct": (163, 89),
    "mount": (165, 40),
    "umount2": (166, 39),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "reboot": (169, 142),
    "iopl": (172, None),
    "ioperm": (173, None),
    "init_module": (175, 105),
    "delete_module": (176, 106),
    "quotactl": (179, 60),
    "mq_open": (240, 180),
    "kexec_load": (246, 104),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "migrate_pages": (256, 238),
    "unshare": (272, 97),
    "vmsplice": (278, 75),
    "move_pages": (279, 239),
    "perf_event_open": (298, 241),
    "fanotify_init": (300, 262),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "setns": (308, 268),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "kcmp": (312, 272),
    "finit_module": (313, 273),
    "memfd_create": (319, 279),
    "kexec_file_load": (320, 294),
    "bpf": (321, 280),
    "execveat": (322, 281),
    "userfaultfd": (323, 282),
    "pidfd_send_signal": (424, 424),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438),
    "process_madvise": (440, 440),
    "mount_setattr": (442, 442),
    "quotactl_fd": (443, 443),
    "memfd_secret": (447, 447),
    "process_mrelease": (448, 448),
}


def seccomp_program(machine: str) -> bytes:
    """Return the filter as the kernel wants it: threads yes, processes no, none of `_REFUSED`.

    Raises
    ------
    KeyError
        If `machine` is not one we have the numbers of.
    """
    architecture, clone = _ARCHITECTURES[machine]
    load, equal, greater, any_bit, answer = (
        0x20,
        0x15,
        0x25,
        0x45,
        0x06,
    )  # BPF: LD W ABS, JEQ K, JGT K, JSET K, RET K
    allow, kill = 0x7FFF0000, 0x80000000
    not_permitted, not_there = 0x50000 + 1, 0x50000 + 38  # EPERM, ENOSYS
    code = [
        (load, 0, 0, 4),  # seccomp_data.arch
        (equal, 1, 0, architecture),
        (answer, 0, 0, kill),
        (load, 0, 0, 0),  # seccomp_data.nr
        (greater, 1, 0, _NEWEST),
        (equal, 0, 1, _CLONE3),
        (answer, 0, 0, not_there),
    ]
    for number in (numbers[machine == "aarch64"] for numbers in _REFUSED.values()):
        if number is not None:
            code += [(equal, 0, 1, number), (answer, 0, 0, not_permitted)]
    code += [
        (equal, 0, 3, clone),
        (load, 0, 0, 16),  # the low half of its first argument, the flags
        (any_bit, 1, 0, _CLONE_THREAD),
        (answer, 0, 0, not_permitted),
        (answer, 0, 0, allow),
    ]
    return b"".join(struct.pack("<HBBI", *line) for line in code)


def _checked(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def restrict(limits: dict[str, Any]) -> None:
    """Set the limits that this system has on this process."""
    try:
        import resource
    except ImportError:  # Windows
        return
    for name, value in {
        "RLIMIT_AS": limits["memory_bytes"],
        "RLIMIT_FSIZE": limits["files_bytes"],
        "RLIMIT_CPU": math.ceil(limits["wall_s"]) + 1,
        "RLIMIT_CORE": 0,
        **({"RLIMIT_NPROC": MOST_TASKS} if limits["sandboxed"] else {}),
        "RLIMIT_NOFILE": 128,
        "RLIMIT_MSGQUEUE": 0,
        "RLIMIT_MEMLOCK": 0,
        "RLIMIT_SIGPENDING": 1024,
        "RLIMIT_RTPRIO": 0,
        "RLIMIT_NICE": 0,
    }.items():
        with contextlib.suppress(AttributeError, ValueError, OSError):  # macOS lacks some and refuses others
            resource.setrlimit(getattr(resource, name), (value, value))


def confine(libc: ctypes.CDLL, limits: dict[str, Any]) -> None:
    """Give up every privilege, for this process and for good. Only the descriptors 0 to 2 and the pipes are open."""
    _checked(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    header = struct.pack("<Ii", _CAPABILITY_VERSION_3, 0)
    _checked(libc.capset(header, bytes(24)))
    restrict(limits)
    code = seccomp_program(platform.machine())
    lines = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("@HP", len(code) // 8, ctypes.addressof(lines))
    _checked(libc.prctl(_PR_SET_SECCOMP, 2, program, 0, 0))


def _no_streams() -> None:
    """Put the null device in place of stdin, stdout and stderr; a sandbox has an ordinary file of that name.

    Not the device: a submission of root's owns it, and could change who else may use it.
    """
    null = os.open(os.devnull, os.O_RDWR | os.O_CREAT, 0o600)
    for number in range(3):
        os.dup2(null, number)
    if null > 2:
        os.close(null)


# -- many submissions from one warm process ----------------------------------------------------------------------------


def _unshare(libc: ctypes.CDLL) -> None:
    _checked(libc.unshare(_CLONE_NEWPID | _CLONE_NEWNS | _CLONE_NEWIPC))


def _mount_scratch(libc: ctypes.CDLL, size: int) -> None:
    options = f"size={size},nr_inodes={MOST_FILES},mode=700"
    _checked(libc.mount(b"tmpfs", SCRATCH.encode(), b"tmpfs", _MS_NOSUID_NODEV, options.encode()))
    os.chdir(SCRATCH)


def _forked(work: Callable[[], None]) -> int:
    """Do `work` in a fork that ends there, whatever happens; return its pid."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
            os._exit(0)
        finally:
            os._exit(SETUP_FAILED)
    return pid


def fork_server(libc: ctypes.CDLL, control: socket.socket, limits: dict[str, Any]) -> None:
    """Serve submissions, each in a fork with namespaces of its own, until the parent goes away."""
    _, status = os.waitpid(_forked(lambda: _try_out(libc)), 0)
    gc.collect()
    gc.freeze()
    control.send(b"forks" if status == 0 else b"no namespaces")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        text, descriptors, _, _ = socket.recv_fds(control, 16, 2)
        if not text:
            return
        talk, leash = descriptors
        _forked(partial(_supervise, libc, talk, leash, limits))
        os.close(talk)
        os.close(leash)


def _try_out(libc: ctypes.CDLL) -> None:
    _unshare(libc)
    _, status = os.waitpid(_forked(lambda: _mount_scratch(libc, 4096)), 0)
    if status != 0:
        os._exit(1)


def _supervise(libc: ctypes.CDLL, talk: int, leash: int, limits: dict[str, Any]) -> None:
    """Hold one submission: end it when the parent lets go of the leash, goes away, or the time is up."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _unshare(libc)
    pid = _forked(lambda: _submission(libc, talk, limits))
    os.close(talk)
    watch = select.poll()
    watch.register(leash, select.POLLIN)
    watch.register(os.pidfd_open(pid), select.POLLIN)
    watch.poll(1000 * limits["wall_s"] + 5000)
    os.kill(pid, signal.SIGKILL)  # pid 1 of its namespace: nothing in there outlives it
    _, status = os.waitpid(pid, 0)
    with contextlib.suppress(OSError):
        os.write(leash, struct.pack("<i", os.waitstatus_to_exitcode(status)))


def _submission(libc: ctypes.CDLL, talk: int, limits: dict[str, Any]) -> None:
    os.dup2(talk, 3)
    os.closerange(4, 4096)
    with socket.socket(fileno=3) as end, end.makefile("rb") as source, end.makefile("wb") as target:
        with _telling(target):
            _checked(libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0))
            os.setsid()  # a signal to one's own group finds its members in every namespace
            _mount_scratch(libc, limits["files_bytes"])
            _no_streams()
            confine(libc, limits)
        serve(source, target, limits)


@contextlib.contextmanager
def _telling(target: IO[bytes]) -> Iterator[None]:
    """Tell the parent why a submission could not be started."""
    try:
        yield
    except Exception as error:
        write_frame(target, json.dumps(f"{type(error).__name__}: {error}").encode())
        raise


def main(argument: str) -> None:
    """Start as the parent says: warm for many submissions, or for one."""
    setup = json.loads(argument)
    limits = setup["limits"]
    sys.path[:] = [*(path for path in sys.path if path), *setup["path"]]
    if setup["control"] is not None:
        with contextlib.suppress(ImportError):
            importlib.import_module("numpy")
        for name in setup["modules"]:
            importlib.import_module(name)
        with socket.socket(fileno=setup["control"]) as control:
            fork_server(ctypes.CDLL(None, use_errno=True), control, limits)
        return
    with os.fdopen(os.dup(0), "rb") as source, os.fdopen(os.dup(1), "wb") as target:
        with _telling(target):
            _no_streams()
            if limits["sandboxed"]:
                confine(ctypes.CDLL(None, use_errno=True), limits)
            else:
                restrict(limits)
        serve(source, target, limits)
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1])
