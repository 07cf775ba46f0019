"""The set-up: what it does when all is well, and the one sentence it says when it is not.

No test needs a network: where one would be used, the package index is a closed port on this machine.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import socket
import subprocess
import sys
import venv
from pathlib import Path
from types import SimpleNamespace

import pytest

from course import setup_environment
from course.setup_environment import SetupError, explain, explain_os, main, prepare, read_stamp, write_stamp

ROOT = Path(__file__).resolve().parents[2]
BASE = getattr(sys, "_base_executable", sys.executable)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a copy of what the set-up reads, in a folder with a space in its name."""
    copy = tmp_path / "my checkout"
    (copy / "course" / "kernels").mkdir(parents=True)
    for name in ["Makefile", "constraints.txt", "pyproject.toml", "course/setup_environment.py"]:
        shutil.copy(ROOT / name, copy / name)
    return copy


@pytest.fixture
def offline(tmp_path: Path) -> dict[str, str]:
    """Return the environment of an empty account whose package index does not answer."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    return {
        "HOME": str(tmp_path),
        "PATH": os.environ["PATH"],
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_INDEX_URL": f"http://127.0.0.1:{port}/simple",
        "PIP_RETRIES": "0",
    }


def fake_python(folder: Path, body: str, *names: str) -> None:
    folder.mkdir(exist_ok=True)
    for name in names:
        path = folder / name
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)


def run_make(checkout: Path, *arguments: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", *arguments], cwd=checkout, env=env, capture_output=True, text=True, timeout=120
    )


def only_sentence(result: subprocess.CompletedProcess[str]) -> str:
    """Return the one line that is not a numbered step or make's own last word; the run must have failed."""
    assert result.returncode != 0
    lines = [line for line in (result.stdout + result.stderr).splitlines() if line]
    said = [line for line in lines if not line.startswith(("[", "make:", "make["))]
    assert len(said) == 1, lines
    return said[0]


@pytest.mark.needs("make")
def test_python_too_old(checkout: Path, tmp_path: Path) -> None:
    """Every Python on the PATH runs the real script as if it were 3.9."""
    names = ["python3", "python3.14", "python3.13", "python3.12", "python3.11", "python"]
    pretend = "import sys, runpy; sys.version_info = (3, 9, 2); sys.version = '3.9.2 (x)'; "
    run = 'sys.argv = sys.argv[2:]; runpy.run_path(sys.argv[0], run_name=\\"__main__\\")'
    body = f'case "$1" in -c) exec "{BASE}" -c "{pretend}exec(sys.argv[1])" "$2";; '
    body += f'*) exec "{BASE}" -c "{pretend}{run}" "$@";; esac'
    fake_python(tmp_path / "bin", body, *names)
    result = run_make(checkout, "lab", env={"PATH": f"{tmp_path / 'bin'}{os.pathsep}/usr/bin:/bin"})
    sentence = only_sentence(result)
    assert sentence.startswith("Python 3.9.2 is too old: install Python 3.11 or newer")
    assert not (checkout / ".venv").exists()


@pytest.mark.needs("make")
def test_a_newer_python_is_found_behind_an_old_one(
    checkout: Path, tmp_path: Path, offline: dict[str, str]
) -> None:
    fake_python(tmp_path / "bin", "exit 1", "python3", "python3.14", "python3.13", "python3.12")
    fake_python(
        tmp_path / "bin", 'case "$1" in -c) exit 0;; *) echo "found me: $@"; exit 3;; esac', "python3.11"
    )
    env = {**offline, "PATH": f"{tmp_path / 'bin'}{os.pathsep}/usr/bin:/bin"}
    assert only_sentence(run_make(checkout, "lab", env=env)) == "found me: -I course/setup_environment.py lab"


@pytest.mark.needs("make")
def test_no_python_at_all(checkout: Path, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "sh").symlink_to("/bin/sh")
    result = subprocess.run(
        [str(shutil.which("make")), "lab"],
        cwd=checkout,
        env={"PATH": str(tmp_path / "bin")},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 2
    assert "There is no Python: install Python 3.11 or newer" in result.stderr


def test_no_ensurepip(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(setup_environment, "VENV", tmp_path / ".venv")
    monkeypatch.setitem(
        sys.modules, "ensurepip", None
    )  # what Debian's Python without python3-venv looks like
    assert main(["lab"]) == 1
    out = capsys.readouterr()
    assert "cannot make virtual environments" in out.err and "apt install python3-venv" in out.err
    assert out.err.count("\n") == 1 and out.out == ""


@pytest.mark.needs("make")
def test_no_network(checkout: Path, offline: dict[str, str]) -> None:
    """And a second run, with the .venv of the first, says the same."""
    for run in range(2):
        result = run_make(checkout, "lab", f"PYTHON={BASE}", env=offline)
        assert only_sentence(result).startswith("No network: ")
        assert ("[1/3]" in result.stdout) == (run == 0)
    assert "Traceback" not in result.stdout + result.stderr
    assert "pip install" in (checkout / "build" / "setup.log").read_text("utf-8")


@pytest.mark.parametrize(
    ("number", "sentence"),
    [
        (errno.ENOSPC, "The disk is full: "),
        (errno.EROFS, "Files could not be written: "),
        (errno.EACCES, "Files could not be written: "),
        (errno.EIO, "The set-up failed: "),
    ],
)
def test_disk(
    number: int,
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail() -> str:
        raise OSError(number, os.strerror(number), ".venv")

    monkeypatch.setattr(setup_environment, "make_venv", fail)
    assert main(["lab"]) == 1
    err = capsys.readouterr().err
    assert err.startswith(sentence) and err.count("\n") == 1
    assert explain_os(OSError(number, os.strerror(number))).startswith(sentence)


def test_disk_nearly_full(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=100 * 2**20))
    with pytest.raises(SetupError, match=r"free 800 MB"):
        prepare(sys.executable, tmp_path, set())


@pytest.mark.parametrize(
    ("output", "sentence"),
    [
        (
            "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device",
            "The disk is full",
        ),
        (
            "WARNING: Retrying: NewConnectionError\nERROR: No matching distribution found for numpy==2",
            "No network",
        ),
        ("ERROR: Could not find a version that satisfies numpy (from versions: none)", "No network"),
        (
            "ERROR: none satisfies (from versions: none)\n"
            "ERROR: Ignored the following versions that require a different python version: 2.4.6\n"
            "ERROR: No matching distribution found for numpy==2.4.6",
            "There is no numpy==2.4.6 for this Python",
        ),
        (
            "ERROR: No matching distribution found for numpy==2.4.6 (from x)",
            "There is no numpy==2.4.6 for this Python",
        ),
        ("ERROR: Something else", "The installation failed (Something else): see "),
        ("", "The installation failed (no reason given): see "),
    ],
)
def test_what_pip_says_becomes_one_sentence(output: str, sentence: str) -> None:
    assert explain(output).startswith(sentence)
    assert "\n" not in explain(output)


def test_interruption(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt() -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(setup_environment, "make_venv", interrupt)
    assert main(["lab"]) == 130
    assert capsys.readouterr().err.strip() == "Stopped; the same command goes on from here."


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, checkout: Path) -> list[str]:
    """Set up `checkout` with installing and compiling replaced by a record that they were asked for."""
    result: list[str] = []

    def install(python: str, prefix: Path, extras: set[str]) -> None:
        result.append(f"install {','.join(sorted(extras))}".strip())
        site = prefix / ("Lib" if os.name == "nt" else "lib/python3.11") / "site-packages"
        (site / "numpy-2.dist-info").mkdir(parents=True, exist_ok=True)

    def warm(python: str) -> bool:
        result.append("warm")
        return True

    monkeypatch.setattr(setup_environment, "ROOT", checkout)
    monkeypatch.setattr(setup_environment, "VENV", checkout / ".venv")
    monkeypatch.setattr(setup_environment, "install", install)
    monkeypatch.setattr(setup_environment, "warm", warm)
    return result


def test_the_second_time_nothing_is_done_and_changes_are_followed(calls: list[str], checkout: Path) -> None:
    prefix = checkout / ".venv"
    prefix.mkdir()

    def what_it_does(*extras: str) -> list[str]:
        calls.clear()
        prepare(sys.executable, prefix, set(extras))
        return calls.copy()

    assert what_it_does() == ["install", "warm"]
    assert what_it_does() == []
    assert what_it_does("dev") == ["install dev"]
    assert what_it_does() == [], "what make test has installed stays"
    (checkout / "course" / "kernels" / "caching.py").write_text("x = 1\n")
    assert what_it_does() == ["warm"]
    for name in ["constraints.txt", "pyproject.toml"]:
        with (checkout / name).open("a") as file:
            file.write("# changed\n")
        assert what_it_does() == ["install dev", "warm"]
        assert what_it_does() == []
    next(prefix.rglob("numpy-2.dist-info")).rmdir()
    assert what_it_does() == ["install dev"], "a package is gone"
    write_stamp(prefix, half=True)
    assert what_it_does() == ["install dev"], "the last installation was interrupted"
    (prefix / setup_environment.STAMP).write_text("{ no JSON")
    assert what_it_does() == ["install", "warm"]


def test_a_broken_venv_is_made_again(
    calls: list[str], checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[list[str]] = []

    def follow(step: object, command: list[str], python: str, tell: object) -> tuple[int, str]:
        made.append(command)
        venv.create(checkout / ".venv", clear=True, symlinks=os.name != "nt")
        return 0, ""

    monkeypatch.setattr(setup_environment, "follow", follow)
    monkeypatch.setattr(setup_environment, "probe", lambda python: "3.11" if Path(python).exists() else "")

    def is_made() -> bool:
        made.clear()
        python = setup_environment.make_venv()
        assert Path(python).exists()
        return [command[-2:] for command in made] == [["--clear", str(checkout / ".venv")]]

    prefix = checkout / ".venv"
    assert is_made() and not is_made()
    Path(setup_environment.venv_python(prefix)).unlink()
    assert is_made() and not is_made()
    write_stamp(prefix, half=True)
    assert is_made() and not is_made()
    write_stamp(prefix, root=str(checkout.parent / "before it was moved"))
    assert is_made() and not is_made()
    write_stamp(prefix, root=str(checkout))
    assert not is_made()


def test_probe_sees_a_python_without_pip(tmp_path: Path) -> None:
    venv.create(tmp_path / "bare", with_pip=False, symlinks=os.name != "nt")
    assert setup_environment.probe(setup_environment.venv_python(tmp_path / "bare")) == ""
    assert setup_environment.probe(str(tmp_path / "absent")) == ""
    assert setup_environment.probe(sys.executable) == sys.version


def test_pip_is_followed_and_jupyter_is_told(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A stand-in for pip shows that a run that breaks off while it unpacks is marked."""
    fake = tmp_path / "python"
    fake_python(
        tmp_path,
        'echo "Collecting numpy==2"; echo "Installing collected packages: a, b"; exit $FAKE_CODE',
        "python",
    )
    prefix = tmp_path / "prefix"
    prefix.mkdir()
    monkeypatch.setattr(setup_environment, "ROOT", checkout)
    monkeypatch.setattr(setup_environment, "LOG", checkout / "build" / "setup.log")
    monkeypatch.setenv("FAKE_CODE", "1")
    with pytest.raises(SetupError, match="installation failed"):
        setup_environment.install(str(fake), prefix, {"dev"})
    assert read_stamp(prefix) == {"half": True}
    monkeypatch.setenv("FAKE_CODE", "0")
    setup_environment.install(str(fake), prefix, {"dev"})
    log = (checkout / "build" / "setup.log").read_text("utf-8")
    assert "-c constraints.txt -e .[dev]" in log
    assert capsys.readouterr().out.splitlines()[-1].startswith("[2/3] Packages · ")
    servers = json.loads(next((prefix / "etc/jupyter/jupyter_server_config.d").iterdir()).read_text())
    assert servers["ServerApp"]["jpserver_extensions"] == {"widgets.server": True}
