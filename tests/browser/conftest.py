"""One JupyterLab and one Chromium for all tests of this folder, ended with the last of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.browser.lab import browser, lab_server

BUILD = Path(__file__).resolve().parents[2] / "build"


@dataclass(frozen=True)
class Server:
    """A JupyterLab, and the folder it serves."""

    base: str
    root: Path


# Not for the whole session: Playwright's loop runs on in its thread, and asyncio.run would refuse elsewhere.
@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    with browser() as running:
        yield running


@pytest.fixture(scope="package")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    root = tmp_path_factory.mktemp("lab")
    with lab_server(root) as base:
        yield Server(base, root)
