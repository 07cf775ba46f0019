"""Set up the environment: the first thing that runs, on a Python with nothing installed.

``python3 -I course/setup_environment.py <command>`` makes ``.venv``, installs the pinned packages, tells
Jupyter about the course, warms the compiled code, and hands over to ``course <command>``.  ``course`` itself
calls :func:`prepare` for the environment it runs in, so conda and Binder get the same.

Standard library only, and no syntax newer than Python 3.6: an old Python must be able to say that
it is too old.
"""

import hashlib
import json
import os
import queue
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

OLDEST = (3, 11)
ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
LOG = ROOT / "build" / "setup.log"
STAMP = "system-design-workbook.json"
NEEDS_DEV = frozenset({"bench", "lint", "sync", "test"})
# Installed (590 and 930, measured on Linux), and room for what is unpacked on the way.
NEEDED_MB = {"": 900, "dev": 1400}

JUPYTER_FILES = {
    "etc/jupyter/jupyter_server_config.d/system-design-workbook.json": {
        "ServerApp": {"jpserver_extensions": {"widgets.server": True}}
    },
    "etc/jupyter/jupyter_lab_config.json": {
        "LabApp": {
            "check_for_updates_class": "jupyterlab.NeverCheckForUpdate",
            "extension_manager": "readonly",
        }
    },
    "share/jupyter/lab/settings/overrides.d/system-design-workbook.json": {
        "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False},
        "@jupyterlab/docmanager-extension:plugin": {"defaultViewers": {"markdown": "Markdown Preview"}},
    },
}

# What pip says, and what to tell the reader; the first that is found counts.
PIP_FAULTS = (
    (
        r"No space left on device|not enough space on the disk",
        "The disk is full: free some space, then run the same command again.",
    ),
    (
        r"Read-only file system|Permission denied|Access is denied",
        "Files could not be written: check that you own {root} and that its disk is writable, then run the "
        "same command again.",
    ),
    (
        r"Temporary failure in name resolution|Name or service not known|getaddrinfo failed"
        r"|nodename nor servname|NewConnectionError|Failed to establish a new connection"
        r"|Network is unreachable|Connection refused"
        r"|ConnectTimeout|ReadTimeout|Read timed out|ProxyError|SSLError|CERTIFICATE_VERIFY_FAILED"
        r"|from versions: none\)(?![\s\S]*require a different python version)",
        "No network: pip cannot reach its package index. Connect (behind a proxy, set HTTPS_PROXY), then run "
        "the same command again; what was fetched is kept.",
    ),
    (
        r"No matching distribution found for (?P<what>[^\s(]+)",
        "There is no {what} for this Python and system: take Python 3.11 to 3.14, "
        "for example make lab PYTHON=python3.12.",
    ),
)


class SetupError(Exception):
    """The set-up cannot go on; the message is one sentence that says what to do."""


class Step:
    """One numbered step: a line that is rewritten on a terminal, and a line now and then elsewhere."""

    QUIET_SECONDS = 15.0

    def __init__(self, number: int, title: str) -> None:
        self.title = f"[{number}/3] {title}"
        self.began = self.said = time.monotonic()
        self.terminal = sys.stdout.isatty()
        if not self.terminal:
            print(self.title + " ...", flush=True)

    def show(self, text: str) -> None:
        """Say what is going on; cheap enough to be called five times a second."""
        now = time.monotonic()
        line = f"{self.title} · {now - self.began:.0f} s · {text}"
        if self.terminal:
            width = shutil.get_terminal_size().columns - 1
            print("\r" + line[:width].ljust(width), end="", flush=True)
        elif now - self.said >= self.QUIET_SECONDS:
            self.said = now
            print(line, flush=True)

    def end(self, text: str) -> None:
        """Close the step with what it did."""
        self.said = -self.QUIET_SECONDS
        self.show(text)
        if self.terminal:
            print(flush=True)


def environment(python: str) -> "dict[str, str]":
    """Return the variables for what runs in `python`'s environment: its programs, no foreign modules."""
    result = {key: value for key, value in os.environ.items() if key not in {"PYTHONHOME", "PYTHONPATH"}}
    result["PATH"] = os.pathsep.join([str(Path(python).parent), os.environ.get("PATH", os.defpath)])
    result["PYTHONUNBUFFERED"] = "1"
    return result


def venv_python(prefix: Path) -> str:
    """Return the path of the interpreter of the virtual environment at `prefix`."""
    return str(prefix / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))


def digest(paths: "list[Path]", *more: str) -> str:
    """Return one hash of the files' contents and of `more`."""
    result = hashlib.sha256("\0".join(more).encode())
    for path in paths:
        result.update(path.read_bytes())
    return result.hexdigest()


def read_stamp(prefix: Path) -> "dict[str, object]":
    """Return what the last set-up of the environment at `prefix` left, or nothing."""
    try:
        stamp = json.loads((prefix / STAMP).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) else {}


def write_stamp(prefix: Path, **changes: object) -> None:
    """Change entries of the stamp of the environment at `prefix`."""
    text = json.dumps(dict(read_stamp(prefix), **changes), indent=1, sort_keys=True)
    (prefix / STAMP).write_text(text + "\n", "utf-8")


def probe(python: str) -> str:
    """Return the version of the interpreter at `python`, or "" where it does not run, is old or lacks pip."""
    code = (
        "import importlib.util, sys; "
        f"print(sys.version if sys.version_info >= {OLDEST} and importlib.util.find_spec('pip') else '')"
    )
    try:
        return subprocess.check_output(
            [python, "-I", "-c", code], stderr=subprocess.DEVNULL, text=True
        ).strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def distributions(prefix: Path) -> "list[str]":
    """Return the names of the installed distributions' folders."""
    places = [prefix / "Lib"] if os.name == "nt" else (prefix / "lib").glob("python3.*")
    return sorted(path.name for place in places for path in (place / "site-packages").glob("*.dist-info"))


def follow(step: Step, command: "list[str]", python: str, tell: "Callable[[str], str]") -> "tuple[int, str]":
    """Run `command` and show what `tell` makes of each line; the output goes to the log.

    Returns
    -------
    code : int
        The exit code.
    output : str
        All that was printed.
    """
    process = subprocess.Popen(
        command,
        cwd=str(ROOT),
        env=environment(python),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    )
    lines: queue.Queue[str] = queue.Queue()
    assert process.stdout is not None
    stream = process.stdout

    def read() -> None:
        for line in stream:
            lines.put(line)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    output: list[str] = []
    state = "starting"
    try:
        while reader.is_alive() or not lines.empty():
            try:
                output.append(lines.get(timeout=0.2))
                state = tell(output[-1].strip()) or state
            except queue.Empty:
                pass
            step.show(state)
        code = process.wait()
        if code and step.terminal:
            print()
        return code, "".join(output)
    finally:
        process.kill()
        LOG.parent.mkdir(exist_ok=True)
        with LOG.open("a", encoding="utf-8") as log:
            log.write(f"$ {' '.join(command)}\n{''.join(output)}\n")


def explain(output: str) -> str:
    """Return the sentence for a failure of pip whose output is given."""
    for pattern, sentence in PIP_FAULTS:
        match = re.search(pattern, output)
        if match:
            return sentence.format(root=ROOT, **match.groupdict())
    errors = re.findall(r"^(?:ERROR|error): *(.+)$", output, re.MULTILINE)
    return f"The installation failed ({errors[-1] if errors else 'no reason given'}): see {LOG}."


def explain_os(error: OSError) -> str:
    """Return the sentence for a failure of the file system."""
    known = any(re.search(pattern, str(error)) for pattern, _ in PIP_FAULTS)
    return explain(str(error)) if known else f"The set-up failed: {error}."


def make_venv() -> str:
    """Make ``.venv`` if there is none, or if it is broken, half-made or was moved; return its interpreter."""
    python = venv_python(VENV)
    stamp = read_stamp(VENV)
    if probe(python) and not stamp.get("half") and stamp.get("root", str(ROOT)) == str(ROOT):
        return python
    try:
        import ensurepip
        import venv
    except ImportError:
        raise SetupError(
            f"This Python ({sys.executable}) cannot make virtual environments: install what it lacks "
            "(Debian, Ubuntu: sudo apt install python3-venv), or name one: make lab PYTHON=/path/to/python3."
        ) from None
    del ensurepip, venv
    step = Step(1, f"Python {sys.version_info[0]}.{sys.version_info[1]} in .venv")
    # An activated .venv that is to be made again cannot make itself.
    base = getattr(sys, "_base_executable", None) or sys.executable
    code, output = follow(step, [base, "-I", "-m", "venv", "--clear", str(VENV)], base, lambda line: "")
    if code or not probe(python):
        raise SetupError(explain(output))
    step.end("made")
    return python


def install(python: str, prefix: Path, extras: "set[str]") -> None:
    """Install the course with its pinned packages into the environment at `prefix`."""
    free = shutil.disk_usage(str(prefix)).free // 2**20
    needed = NEEDED_MB["dev" if "dev" in extras else ""]
    if not read_stamp(prefix).get("key") and free < needed:
        raise SetupError(
            f"The disk is nearly full: free {needed - free:,} MB, then run the same command again."
        )
    step = Step(2, "Packages")
    fetched: set[str] = set()

    def tell(line: str) -> str:
        match = re.match(r"(Collecting|Downloading|Using cached) ([^\s(;<>=!~\[]+)(.*)", line)
        if match and match.group(1) == "Collecting":
            fetched.add(match.group(2))
        if line.startswith("Installing collected packages"):
            # From here on an interruption leaves packages in pieces.
            write_stamp(prefix, half=True)
            return f"unpacking {line.count(',') + 1} packages"
        if match:
            size = re.search(r"\([\d.]+ [kMG]?B\)", match.group(3))
            name = match.group(2).rsplit("/", 1)[-1].split("-")[0]
            return f"{len(fetched)} found, {name} {size.group() if size else ''}"
        return ""

    target = f".[{','.join(sorted(extras))}]" if extras else "."
    command = [python, "-m", "pip", "install", "--no-input", "--disable-pip-version-check", "--no-compile"]
    command += ["--progress-bar=off", "--retries=2", "-c", "constraints.txt", "-e", target]
    code, output = follow(step, command, python, tell)
    if code:
        raise SetupError(explain(output))
    for name, content in JUPYTER_FILES.items():
        path = prefix / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=2) + "\n", "utf-8")
    step.end(f"{len(distributions(prefix))} installed")


def warm(python: str) -> bool:
    """Compile what is compiled on first use; return whether it worked."""
    step = Step(3, "Compiled code")
    code, output = follow(step, [python, "-m", "course.kernels"], python, lambda line: line)
    last = (output.strip() or "no reason given").splitlines()[-1]
    step.end(f"first uses will be slower: {last}" if code else last)
    return not code


def prepare(python: str, prefix: Path, extras: "set[str]") -> None:
    """Bring the environment at `prefix` up to date: installed, known to Jupyter, warm; does nothing if it is.

    Parameters
    ----------
    python : str
        Its interpreter.
    prefix : Path
        Its folder (``sys.prefix``).
    extras : set of str
        The extras of ``pyproject.toml`` that are asked for; those installed before stay.

    Raises
    ------
    SetupError
        With one sentence that says what to do.
    """
    stamp = read_stamp(prefix)
    names = stamp.get("extras")
    extras = extras | set(names if isinstance(names, list) else ())
    key = digest(
        [ROOT / "constraints.txt", ROOT / "pyproject.toml"], probe(python), json.dumps(JUPYTER_FILES)
    )
    there = distributions(prefix)
    known = stamp.get("distributions")
    whole = isinstance(known, list) and set(known) <= set(there)
    if stamp.get("half") or stamp.get("key") != key or sorted(extras) != names or not whole:
        install(python, prefix, extras)
        there = distributions(prefix)
        write_stamp(prefix, key=key, root=str(ROOT), extras=sorted(extras), distributions=there, half=False)
    kernels = digest(sorted((ROOT / "course" / "kernels").glob("*.py")), key)
    if stamp.get("kernels") != kernels and warm(python):
        write_stamp(prefix, kernels=kernels)


def main(arguments: "list[str]") -> int:
    """Set up ``.venv`` and run ``course`` with `arguments` in it; return the exit code."""
    try:
        if sys.version_info < OLDEST:
            raise SetupError(
                f"Python {sys.version.split()[0]} is too old: install Python 3.11 or newer, "
                "or name one: make lab PYTHON=/path/to/python3."
            )
        python = make_venv()
        prepare(python, VENV, {"dev"} if NEEDS_DEV.intersection(arguments[:1]) else set())
    except SetupError as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        print(explain_os(error), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped; the same command goes on from here.", file=sys.stderr)
        return 130
    command = [python, "-m", "course.cli", *arguments]
    if os.name != "nt":  # there is no exec there that keeps the console
        os.chdir(str(ROOT))
        sys.stdout.flush()
        os.execve(python, command, environment(python))
    return subprocess.call(command, cwd=str(ROOT), env=environment(python))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
