"""The ``course`` command: what it starts, and one sentence where it cannot."""

from __future__ import annotations

import json
import os
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from course import cli
from course.setup_environment import JUPYTER_FILES, SetupError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Record what would be prepared and run."""
    result: list[object] = []
    monkeypatch.setattr(cli, "_ready", lambda *extras: result.append({"extras": extras}))
    monkeypatch.setattr(cli, "_run", lambda *arguments: result.append(arguments) or 0)
    return result


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["test", "-k", "caching", "--lf"], [("pytest", "-n", "auto", "-k", "caching", "--lf")]),
        (["sync"], [("widgets.authoring", "sync")]),
        (["bench", "caching"], [("tests.benchmarks", "caching")]),
        (["lint"], [("ruff", "check"), ("ruff", "format", "--check"), ("mypy",)]),
    ],
)
def test_commands_start_what_they_say(
    arguments: list[str], expected: list[object], ran: list[object]
) -> None:
    result = CliRunner().invoke(cli.app, arguments)
    assert result.exit_code == 0
    assert ran == [{"extras": ("dev",)}, *expected]


@pytest.mark.parametrize("failing", ["check", "--check", "mypy"])
def test_lint_runs_all_and_fails_if_one_does(
    failing: str, ran: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        cli, "_run", lambda *arguments: ran.append(arguments) or int(arguments[-1] == failing)
    )
    assert CliRunner().invoke(cli.app, ["lint"]).exit_code == 1
    assert len(ran) == 4


def test_port_that_is_taken() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(SetupError, match=rf"Port {port} is taken: .*PORT="):
            cli.choose_port(str(port))
    assert cli.choose_port(str(port)) == port


@pytest.mark.parametrize("port", ["80", "65536", "x", "", "-1", "1e4"])
def test_port_that_is_none(port: str) -> None:
    with pytest.raises(SetupError, match=rf"^PORT={port}: must be a whole number from 1024 to 65535\.$"):
        cli.choose_port(port)


def test_the_first_free_port_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = {cli.FIRST_PORT, cli.FIRST_PORT + 1}
    monkeypatch.setattr(cli, "_is_free", lambda port: port not in taken)
    assert cli.choose_port(None) == cli.FIRST_PORT + 2
    monkeypatch.setattr(cli, "_is_free", lambda port: False)
    with pytest.raises(SetupError, match="8888 to 8987 are taken"):
        cli.choose_port(None)


@pytest.mark.skipif(sys.platform in {"darwin", "win32"}, reason="there is always a screen")
@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, False),
        ({"DISPLAY": ":0"}, True),
        ({"WAYLAND_DISPLAY": "wayland-0"}, True),
        ({"DISPLAY": ":0", "BROWSER": "none"}, False),
        ({"DISPLAY": "localhost:10.0", "SSH_CONNECTION": "10.0.0.9 5100 10.0.0.5 22"}, False),
    ],
)
def test_when_a_window_is_opened(
    variables: dict[str, str], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ["DISPLAY", "WAYLAND_DISPLAY", "BROWSER", "SSH_CONNECTION"]:
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert cli.has_browser() is expected


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (SetupError("Port 9000 is taken: choose another."), "Port 9000 is taken: choose another.\n"),
        (
            OSError(28, "No space left on device"),
            "The disk is full: free some space, then run the same command again.\n",
        ),
    ],
)
def test_failures_are_one_sentence(
    error: Exception, sentence: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr(cli, "app", fail)
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 1
    assert capsys.readouterr().out == sentence


@pytest.mark.parametrize("arguments", [["lab", "--port"], ["nothing"], ["sync", "now"], ["lab", "--browser"]])
def test_wrong_arguments_name_what_is_wrong(arguments: list[str]) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "course.cli", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 2
    assert arguments[-1] in result.stderr and "Traceback" not in result.stderr


def test_make_and_course_have_the_same_commands() -> None:
    targets = set(re.findall(r"^([a-z]+):.*## ", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    commands = {command.name or command.callback.__name__ for command in cli.app.registered_commands}
    assert targets - commands == {"help", "clean"}
    assert commands <= targets


@pytest.fixture
def lab(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[tuple[subprocess.Popen[str], list[str], str]]:
    """Start ``course lab`` without its set-up, with an account of its own, and wait for the address."""
    for name in [name for name in os.environ if name.startswith(("JUPYTER", "XDG_"))]:
        monkeypatch.delenv(name)
    for name, content in JUPYTER_FILES.items():
        path = tmp_path / "env" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("JUPYTER_CONFIG_PATH", str(tmp_path / "env/etc/jupyter"))
    monkeypatch.setenv("SSH_CONNECTION", "10.0.0.9 51000 10.0.0.5 22")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    code = "from course import cli; cli._ready = lambda *extras: None; cli.main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "lab", "--port", str(port)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    said: list[str] = []
    lines: queue.Queue[str] = queue.Queue()
    stream = process.stdout
    assert stream is not None
    threading.Thread(target=lambda: [lines.put(line) for line in stream], daemon=True).start()
    try:
        while not said or "Ctrl-C" not in said[-1]:
            said.append(lines.get(timeout=60))  # Lab is up in 3 s; the rest is for a busy machine
        address = re.search(r"http://127\.0\.0\.1:\d+/\S+", "".join(said))
        assert address is not None, said
        yield process, said, address.group()
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(30)


@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C is sent to a process group")
def test_lab_serves_the_start_page_and_stops_at_ctrl_c(
    lab: tuple[subprocess.Popen[str], list[str], str],
) -> None:
    process, said, address = lab
    port = httpx.URL(address).port
    assert f"/lab/tree/{cli.START}?token=" in address
    assert f"ssh -L {port}:127.0.0.1:{port} " in "".join(said) and "10.0.0.5" in "".join(said)
    assert ("You are root" in "".join(said)) == (os.geteuid() == 0)
    assert len("".join(said).split("\n")) <= 10, "noise"
    with httpx.Client() as client:
        page = client.get(address, follow_redirects=True)
        assert page.status_code == 200 and '"can_install": false' in page.text
        token = httpx.URL(address).params["token"]
        contents = client.get(f"http://127.0.0.1:{port}/api/contents", params={"token": token}).json()
        assert {"course", "notebooks"} <= {entry["name"] for entry in contents["content"]}
        assert httpx.get(f"http://127.0.0.1:{port}/api/contents").status_code == 403, "open without a token"
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(30) == 0
    began = time.monotonic()
    while not cli._is_free(port):
        assert time.monotonic() - began < 30
        time.sleep(0.1)
