"""``course …``: every command of the workbook, thin over the tools that do the work."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import threading
import time
from getpass import getuser
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from course import setup_environment
from course.setup_environment import ROOT, SetupError, environment, prepare

START = "notebooks/00_start_here.ipynb"
FIRST_PORT = 8888
PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True}

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="The System Design Workbook: open it, check it, rebuild it.",
)
console = Console(highlight=False, soft_wrap=True)


def _run(*arguments: str) -> int:
    """Run a Python module of this environment in the checkout and return its exit code."""
    python = sys.executable
    return subprocess.run(
        [python, "-m", *arguments], cwd=ROOT, env=environment(python), check=False
    ).returncode


def _ready(*extras: str) -> None:
    prepare(sys.executable, Path(sys.prefix), set(extras))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        if os.name != "nt":  # there it would allow a second server on the same port
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def choose_port(asked: str | None) -> int:
    """Return the port to serve on: the one asked for, or the first free one from 8888 on.

    Raises
    ------
    SetupError
        If the port asked for is none or is taken, or if each of the hundred tried is taken.
    """
    if asked is not None:
        if not asked.isdecimal() or not 1024 <= int(asked) <= 65535:
            raise SetupError(f"PORT={asked}: must be a whole number from 1024 to 65535.")
        if _is_free(int(asked)):
            return int(asked)
        raise SetupError(
            f"Port {asked} is taken: choose another one with PORT=, or leave PORT out to get a free one."
        )
    free = next(filter(_is_free, range(FIRST_PORT, FIRST_PORT + 100)), None)
    if free is None:
        raise SetupError(f"Ports {FIRST_PORT} to {FIRST_PORT + 99} are taken: name a free one with PORT=.")
    return free


def has_browser() -> bool:
    """Tell whether a window can be opened for the reader: not over ssh, nor without a screen."""
    if os.environ.get("BROWSER") == "none" or "SSH_CONNECTION" in os.environ:
        return False
    return sys.platform in {"darwin", "win32"} or bool({"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys())


def _announce(port: int, token: str, server: subprocess.Popen[bytes]) -> None:
    """Print the address as soon as the server answers."""
    while server.poll() is None:
        with socket.socket() as probe:
            probe.settimeout(1)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.1)
    else:
        return
    console.print(f"\n  [bold]http://127.0.0.1:{port}/lab/tree/{START}?token={token}[/]\n")
    if connection := os.environ.get("SSH_CONNECTION", "").split():
        console.print(f"  On your own machine: ssh -L {port}:127.0.0.1:{port} {getuser()}@{connection[2]}\n")
    console.print("  Ctrl-C stops it; saved notebooks stay.")


@app.command()
def lab(
    port: Annotated[str | None, typer.Option(help="Port to serve on, from 1024 to 65535.")] = None,
) -> None:
    """Open the workbook in JupyterLab."""
    chosen = choose_port(port)
    _ready()
    token = os.environ.get("JUPYTER_TOKEN") or secrets.token_hex(24)
    command = [
        sys.executable,
        "-m",
        "jupyterlab",
        "--ip=127.0.0.1",
        f"--port={chosen}",
        "--Application.log_level=ERROR",
    ]
    command += ["--ServerApp.port_retries=0", f"--ServerApp.root_dir={ROOT}", "--ServerApp.answer_yes=True"]
    command += [f"--LabApp.default_url=/lab/tree/{START}"]
    if not has_browser():
        command.append("--no-browser")
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        console.print("You are root: what a notebook does here, it does as root.")
        command.append("--allow-root")
    server = subprocess.Popen(command, cwd=ROOT, env={**environment(sys.executable), "JUPYTER_TOKEN": token})
    threading.Thread(target=_announce, args=(chosen, token, server), daemon=True).start()
    while True:
        try:
            code = server.wait()
            break
        except KeyboardInterrupt:  # the server has had it too, and is saving and stopping its kernels
            continue
    if code:
        raise SetupError(f"JupyterLab stopped with code {code}; what it said is above.")


@app.command(context_settings=PASS_ON)
def test(context: typer.Context) -> None:
    """Run all tests; what follows is passed on to pytest."""
    _ready("dev")
    raise typer.Exit(_run("pytest", "-n", "auto", *context.args))


@app.command()
def sync() -> None:
    """Write every notebook anew from its .py."""
    _ready("dev")
    raise typer.Exit(_run("widgets.authoring", "sync"))


@app.command(context_settings=PASS_ON)
def bench(context: typer.Context) -> None:
    """Measure against the peers; what follows is passed on."""
    _ready("dev")
    raise typer.Exit(_run("tests.benchmarks", *context.args))


@app.command()
def lint() -> None:
    """Check style and types."""
    _ready("dev")
    raise typer.Exit(max([_run("ruff", "check"), _run("ruff", "format", "--check"), _run("mypy")]))


@app.command()
def warm() -> None:
    """Install what is missing and compile what is compiled on first use."""
    _ready()
    console.print("All ready.")


def main() -> None:
    """Run the command line; a failure is one sentence."""
    try:
        app()
    except SetupError as error:
        console.print(str(error), markup=False)
    except OSError as error:
        console.print(setup_environment.explain_os(error), markup=False)
    else:
        return
    sys.exit(1)


if __name__ == "__main__":
    main()
