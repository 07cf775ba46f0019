"""How a lab is found, started and stopped."""

from __future__ import annotations

import atexit
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

from course import checks

KEEPER = Path(__file__).with_name("_keeper.py")
READY_S = 10.0  # the servers here are ready in a tenth of that


class LabUnavailable(RuntimeError):  # noqa: N818 - read as a sentence by learners
    """The system is not on this machine; the message says in one sentence how to get it."""


@dataclass
class Lab:
    """A running system.

    Attributes
    ----------
    kind : str
        ``"redis"`` or ``"memcached"``.
    url : str
        Address for any client, e.g. ``redis://127.0.0.1:50123/0``.
    host : str
    port : int
    version : str
        As the server tells it.
    source : {"program", "existing", "embedded"}
        Started from the PATH; named in the environment; a stand-in inside this process.
    prefix : str
        Begins every key of this lab, so that a shared server is not disturbed. See :meth:`key`.
    """

    kind: str
    url: str
    host: str
    port: int
    version: str
    source: str
    prefix: str = field(default_factory=lambda: f"course:{secrets.token_hex(4)}:")
    _stop: Callable[[], None] = field(default=lambda: None, repr=False)
    _running: bool = field(default=True, repr=False)

    @property
    def label(self) -> str:
        """One line that says what this is."""
        what = {
            "program": "a server of its own",
            "existing": f"the existing server at {self.host}",
            "embedded": "embedded stand-in",
        }[self.source]
        return f"{self.kind.capitalize()} {self.version}, {what}, port {self.port}"

    def client(self) -> Any:
        """Connect a new client: ``redis.Redis`` or ``pymemcache.Client``."""
        return _connect(self.kind, self.host, self.port, self.url)

    def key(self, name: str) -> str:
        """Return the name with this lab's prefix."""
        return self.prefix + name

    def stop(self) -> None:
        """Stop what was started, or delete this lab's keys from a server that was there before. Once."""
        if self._running:
            self._running = False
            atexit.unregister(self.stop)
            self._stop()

    def __enter__(self) -> Lab:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def start(kind: str) -> Lab:
    """Start a system, or connect to one.

    An address in the environment (``COURSE_REDIS_URL``) comes first, then the server program on the PATH,
    then, for Redis, fakeredis inside this process.

    Parameters
    ----------
    kind : {"redis", "memcached"}

    Returns
    -------
    Lab
        Also a context manager.

    Raises
    ------
    LabUnavailable
        If there is none, with one sentence on how to get it; or if it does not start, with its last words.
    ValueError
        If `kind` is unknown.
    """
    checks.option("kind", kind, ("redis", "memcached"))
    address = os.environ.get("COURSE_REDIS_URL") if kind == "redis" else None
    program = shutil.which({"redis": "redis-server", "memcached": "memcached"}[kind])
    if address:
        lab = _existing(address)
    elif program:
        lab = _program(kind, program)
    elif kind == "redis":
        lab = _embedded()
    else:
        raise LabUnavailable(
            "Memcached is not on this machine: install it with `conda install -c conda-forge memcached`, "
            "`apt install memcached` or `brew install memcached`, and run the cell again."
        )
    atexit.register(lab.stop)
    return lab


def _connect(kind: str, host: str, port: int, url: str) -> Any:
    if kind == "redis":
        import redis

        return redis.Redis.from_url(url, socket_connect_timeout=5)
    from pymemcache import Client

    return Client((host, port), connect_timeout=5, timeout=30, no_delay=True)


def _version(kind: str, host: str, port: int, url: str) -> str:
    """Ask the server its version: a round trip, and so the test whether it is ready."""
    client = _connect(kind, host, port, url)
    try:
        if kind == "redis":
            import redis

            client.ping()
            try:
                return str(client.info("server")["redis_version"])
            except redis.ResponseError:  # hosted servers and stand-ins may not tell
                return "of unknown version"
        return str(client.version().decode())
    finally:
        client.close()


def _existing(address: str) -> Lab:
    import redis

    options = redis.ConnectionPool.from_url(address).connection_kwargs
    host, port = str(options.get("host", "localhost")), int(options.get("port", 6379))
    try:
        version = _version("redis", host, port, address)
    except redis.RedisError as error:
        raise LabUnavailable(
            f"COURSE_REDIS_URL points to {host}:{port}, and that does not answer: {error}"
        ) from error
    lab = Lab("redis", address, host, port, version, "existing")

    def clear() -> None:
        client = lab.client()
        names = list(client.scan_iter(match=f"{lab.prefix}*", count=1_000))
        for first in range(0, len(names), 1_000):
            client.delete(*names[first : first + 1_000])
        client.close()

    lab._stop = clear
    return lab


def _embedded() -> Lab:
    from fakeredis import TcpFakeServer

    server = TcpFakeServer(("127.0.0.1", 0), server_type="redis")
    server.daemon_threads = True  # or Python would not exit while a client is connected
    # A batch of replies is many small writes: with Nagle's algorithm each batch takes 44 ms.
    handler: Any = server.RequestHandlerClass
    server.RequestHandlerClass = type(handler.__name__, (handler,), {"disable_nagle_algorithm": True})
    thread = threading.Thread(target=server.serve_forever, name="embedded redis", daemon=True)
    thread.start()
    port = int(server.server_address[1])

    def stop() -> None:
        server.shutdown()
        server.socket.close()  # not server_close(): that waits for clients that are still connected
        thread.join(5)

    version = ".".join(map(str, server.fake_server.version))
    return Lab("redis", f"redis://127.0.0.1:{port}/0", "127.0.0.1", port, version, "embedded", _stop=stop)


def _program(kind: str, program: str) -> Lab:
    for attempt in range(3):
        port = _free_port()
        directory = Path(tempfile.mkdtemp(prefix=f"course-{kind}-"))
        keeper = _keep(directory, _command(kind, program, port))
        url = f"{kind}://127.0.0.1:{port}" + ("/0" if kind == "redis" else "")
        try:
            version = _wait_until_ready(kind, port, url, keeper, directory)
        except LabUnavailable as error:
            _end(keeper, directory)
            # Between choosing the port and binding it someone else may have taken it.
            if attempt < 2 and "in use" in str(error):
                continue
            raise
        except BaseException:
            _end(keeper, directory)
            raise
        return Lab(kind, url, "127.0.0.1", port, version, "program", _stop=partial(_end, keeper, directory))
    raise AssertionError("unreachable")


def _command(kind: str, program: str, port: int) -> list[str]:
    if kind == "redis":
        options = {"port": port, "bind": "127.0.0.1", "save": "", "appendonly": "no", "dir": "."}
        return [program, *(text for name, value in options.items() for text in (f"--{name}", str(value)))]
    # Memcached refuses to run as root unless it is told whom to be.
    root = ["-u", "root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    return [program, "-l", "127.0.0.1", "-p", str(port), "-U", "0", *root]


def _keep(directory: Path, command: list[str]) -> subprocess.Popen[bytes]:
    # A session of its own: interrupting a notebook's cell signals the kernel's whole process group.
    return subprocess.Popen(
        [sys.executable, "-I", str(KEEPER), str(directory), *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _wait_until_ready(
    kind: str, port: int, url: str, keeper: subprocess.Popen[bytes], directory: Path
) -> str:
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline and keeper.poll() is None:
        try:
            return _version(kind, "127.0.0.1", port, url)
        except Exception:  # each client has its own; only a round trip counts
            time.sleep(0.01)
    log = directory / "log"
    lines = log.read_text(errors="replace").strip().splitlines()[-5:] if log.exists() else []
    what = "ended" if keeper.poll() is not None else f"did not answer within {READY_S:g} s"
    raise LabUnavailable(f"The {kind} server {what}. Its last words:\n" + "\n".join(lines or ["(none)"]))


def _end(keeper: subprocess.Popen[bytes], directory: Path) -> None:
    if keeper.stdin:
        keeper.stdin.close()
    try:
        keeper.wait(10)
    except subprocess.TimeoutExpired:
        keeper.kill()
        keeper.wait()
    shutil.rmtree(directory, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
