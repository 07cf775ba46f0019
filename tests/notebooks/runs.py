"""Notebooks run from outside, by the programs people use, with a limit on everything.

Starting a kernel now and then fails on a busy machine.  That, and nothing else, is tried a second time.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from widgets.explorable import STRICT

#: Seconds that one cell may take; one that takes longer has stalled.
CELL_TIMEOUT = 120
#: Seconds that a whole notebook may take.
NOTEBOOK_TIMEOUT = 600
_NOT_STARTED = re.compile(
    r"Kernel didn't respond in|Kernel died before replying to kernel_info|[Tt]imed? ?out waiting for kernel"
)


@dataclass(frozen=True)
class Run:
    """How a run ended, and what it said."""

    status: int
    said: str


def run(*command: str, folder: Path, timeout: float = NOTEBOOK_TIMEOUT) -> Run:
    """Run a Python module in `folder`; an error in a picture counts as an error.

    Raises
    ------
    subprocess.TimeoutExpired
        If it takes longer than `timeout` seconds.
    """
    environment = {**os.environ, STRICT: "1", "PYTHONUNBUFFERED": "1"}
    for _attempt in range(2):
        done = subprocess.run(
            [sys.executable, "-m", *command],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            timeout=timeout,
        )
        if not _NOT_STARTED.search(done.stdout):
            break
    return Run(done.returncode, done.stdout)


@dataclass(frozen=True)
class Comparison:
    """What nbval found in one notebook: cells compared, and those that differ."""

    cells: int
    different: int
    said: str


def nbval(notebook: Path, *, cell_timeout: float = CELL_TIMEOUT) -> Comparison:
    """Run a notebook again and compare every text output with the stored one."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        done = run(
            *(
                "pytest",
                "--nbval",
                str(notebook),
                "-p",
                "no:cacheprovider",
                "--rootdir",
                str(notebook.parent),
            ),
            *("-c", os.devnull, "--nbval-current-env", f"--nbval-cell-timeout={cell_timeout:g}"),
            *(f"--junitxml={report}", "-q"),
            folder=notebook.parent,
        )
        if not report.exists():
            raise AssertionError(f"nbval did not run:\n{done.said}")
        suite = ElementTree.parse(report).getroot().find("testsuite")
    assert suite is not None, done.said
    count = {key: int(suite.attrib[key]) for key in ("tests", "failures", "errors", "skipped")}
    different = count["failures"] + count["errors"] + count["skipped"]
    # 5: nothing collected, which the number of cells says.
    assert (done.status in (0, 5)) == (different == 0), done.said
    return Comparison(count["tests"], different, done.said)


def papermill(notebook: Path, folder: Path, parameters: dict[str, Any]) -> Run:
    """Run a notebook in `folder` with other parameters; its output stays there."""
    return run(
        *("papermill", str(notebook), str(folder / notebook.name), "-k", "python3"),
        *("-y", json.dumps(parameters), "--no-progress-bar", "--cwd", str(folder)),
        *("--execution-timeout", str(CELL_TIMEOUT), "--start-timeout", "60"),
        folder=folder,
    )


def check(name: str, folder: Path) -> Run:
    """Run the full comparison of a committed notebook with its source."""
    return run("widgets.authoring", "check", name, folder=folder)


def tagged(notebook: dict[str, Any], tag: str) -> list[str]:
    """Return the sources of the code cells with this tag."""
    return [
        "".join(cell["source"])
        for cell in notebook["cells"]
        if cell["cell_type"] == "code" and tag in cell["metadata"].get("tags", ())
    ]


def conclusions(notebook: dict[str, Any]) -> list[str]:
    """Return the assertions in a chapter's cells tagged ``conclusion``.

    Raises
    ------
    AssertionError
        If a cell of that tag asserts nothing.
    """
    found = []
    for source in tagged(notebook, "conclusion"):
        asserts = re.findall(r"^\s*assert .+", source, flags=re.MULTILINE)
        assert asserts, f"a conclusion asserts something:\n{source}"
        found += asserts
    return found
