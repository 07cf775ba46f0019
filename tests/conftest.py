"""What some tests need beyond Python: found, or listed at the end of the run with how to get it.

A test says ``@pytest.mark.needs("chromium")``, or asks for the fixture ``program`` and calls
``program("redis-server")`` to get the path.  Where the program is missing the test is skipped, and the end of
the run says what was left out and how to get it.  With ``COURSE_REQUIRE_ALL=1`` (set in CI) every skip is a
failure, whatever its reason: a run that checked less than everything is not green.
"""

from __future__ import annotations

import os
import re
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

# The same examples every time, and no clock: what fails here fails everywhere.
settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("steady")


class Need(NamedTuple):
    """A program that tests use, under the names it goes by, and how to get it."""

    names: tuple[str, ...]
    places: tuple[str, ...]
    how: str


NEEDS = {
    "chromium": Need(
        ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge"),
        (
            "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
            "/Applications/Chromium.app/Contents/MacOS/Chromium",
            r"C:\Program Files\Google\Chrome\Application\chrome.exe",
            r"C:\Program Files (x86)\Microsoft\Edge\Application\msedge.exe",
        ),
        "sudo apt install chromium · brew install --cask chromium · or any installed Chrome or Edge",
    ),
    "redis-server": Need(
        ("redis-server",),
        (),
        "sudo apt install redis-server · brew install redis · conda install -c conda-forge redis-server",
    ),
    "memcached": Need(
        ("memcached",),
        (),
        "sudo apt install memcached · brew install memcached",
    ),
    "make": Need(("make",), (), "sudo apt install make · xcode-select --install"),
    "git": Need(("git",), (), "sudo apt install git · xcode-select --install"),
}
REQUIRE_ALL = "COURSE_REQUIRE_ALL"


def find(name: str) -> str | None:
    """Return the path of the program that `NEEDS` knows as `name`, or None where there is none."""
    need = NEEDS[name]
    found = next(filter(None, map(shutil.which, need.names)), None)
    return found or next((place for place in need.places if Path(place).is_file()), None)


def require(name: str) -> str:
    """Return the program's path, or skip the running test."""
    path = find(name)
    if path is None:
        pytest.skip(f"needs {name}: {NEEDS[name].how}")
    return path


class Together(LoadScopeScheduling):
    """Gives one process what shares a page or a fixture: a file, or what a file tests of one chapter."""

    def _split_scope(self, nodeid: str) -> str:
        file, _, test = nodeid.partition("::")
        chapter = re.search(r"\[(\d\d_[a-z_]+)", test)
        return f"{file} {chapter[1]}" if chapter else file


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", f"needs(name, ...): programs the test uses; known: {', '.join(NEEDS)}")


def pytest_xdist_auto_num_workers() -> int:
    # Two for each core: most tests wait for a kernel or a browser, which are processes of their own.
    return min(8, 2 * (os.cpu_count() or 1))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for name in (name for mark in item.iter_markers("needs") for name in mark.args):
            if name not in NEEDS:
                raise pytest.UsageError(f"{item.nodeid}: needs({name!r}) is not in tests/conftest.py's NEEDS")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    # Not --dist=loadgroup: pytest 9.2 knows the attribute no more by which pytest-xdist 3.8 hands on the group.
    return Together(config, log)


def pytest_runtest_setup(item: pytest.Item) -> None:
    for name in (name for mark in item.iter_markers("needs") for name in mark.args):
        require(name)


@pytest.fixture
def program() -> Callable[[str], str]:
    """Return a function from a program's name to its path; it skips the test where there is none."""
    return require


def _no_skip(report: Any) -> None:
    """With COURSE_REQUIRE_ALL=1, turn a skip into a failure; an expected failure stays what it is."""
    if os.environ.get(REQUIRE_ALL) == "1" and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        report.outcome = "failed"
        report.longrepr = f"{REQUIRE_ALL}=1 allows no skip. {reason}"


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport() -> Any:
    _no_skip((yield).get_result())


@pytest.hookimpl(hookwrapper=True)
def pytest_make_collect_report() -> Any:
    _no_skip((yield).get_result())


def pytest_terminal_summary(terminalreporter: Any) -> None:
    # From the reports, which come from every process.
    reasons = Counter(report.longrepr[2] for report in terminalreporter.stats.get("skipped", []))
    missing = {name: reasons[f"Skipped: needs {name}: {NEEDS[name].how}"] for name in NEEDS}
    if any(missing.values()):
        terminalreporter.section("left out, and how to get it")
        for name, tests in sorted(missing.items()):
            if tests:
                terminalreporter.line(f"{name} ({tests} test{'s' if tests > 1 else ''}): {NEEDS[name].how}")
