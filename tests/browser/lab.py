"""A real JupyterLab and a real Chromium, for tests, benchmarks and a look."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Page, Playwright, Route, sync_playwright

TOKEN = "workbook"
#: A notebook that runs longer than this has stalled (milliseconds).
RUN_TIMEOUT = 180_000


def chromium() -> str | None:
    """Return the path of an installed Chromium or Chrome, or None."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
    return next((path for name in names if (path := shutil.which(name))), None)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def lab_server(root: Path) -> Iterator[str]:
    """Run JupyterLab over `root`; yields its base URL."""
    port = free_port()
    settings = root / ".lab"
    overrides = settings / "lab" / "settings"
    overrides.mkdir(parents=True)
    quiet = {"@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False}}
    (overrides / "overrides.json").write_text(json.dumps(quiet))
    command = [
        *(sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1", f"--port={port}"),
        *("--ServerApp.port_retries=0", f"--IdentityProvider.token={TOKEN}", f"--ServerApp.root_dir={root}"),
        *("--expose-app-in-browser", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"),
        *("--LabApp.extension_manager=readonly", f"--LabApp.app_settings_dir={overrides}", "--allow-root"),
        "--ServerApp.jpserver_extensions={'widgets.server': True}",
    ]
    log = root / "lab.log"
    environment = {**os.environ, "JUPYTER_CONFIG_DIR": str(settings), "IPYTHONDIR": str(settings / "ipython")}
    with log.open("w") as output:
        process = subprocess.Popen(command, cwd=root, stdout=output, stderr=subprocess.STDOUT, env=environment)
        try:
            base = f"http://127.0.0.1:{port}"
            for _ in range(240):
                if process.poll() is not None:
                    raise RuntimeError(f"JupyterLab ended at once:\n{log.read_text()[-3000:]}")
                try:
                    urllib.request.urlopen(f"{base}/api?token={TOKEN}", timeout=1).read()
                    break
                except OSError:
                    time.sleep(0.25)
            else:
                raise RuntimeError(f"JupyterLab was not ready after 60 s:\n{log.read_text()[-3000:]}")
            yield base
        finally:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()


@dataclass
class Visit:
    """One open page, with what it received and asked for."""

    page: Page
    base: str
    received: int = 0
    external: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def open(self, path: str) -> None:
        """Open a notebook and wait for its kernel."""
        self.page.goto(f"{self.base}/lab/tree/{path}?reset&token={TOKEN}")
        self.page.locator("#jupyterlab-splash").wait_for(state="detached", timeout=60_000)
        self.page.wait_for_function(
            "() => globalThis.jupyterapp?.shell?.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'",
            timeout=60_000,
        )
        # All outputs in the page, not only those in sight.
        self.page.evaluate("() => jupyterapp.commands.execute('application:reset-layout').catch(() => {})")

    def run_all(self) -> None:
        """Run every cell and wait until the kernel has nothing left to do."""
        self.page.evaluate("() => jupyterapp.commands.execute('runmenu:run-all')")
        self.settle()

    def settle(self) -> None:
        """Wait until no cell waits or runs."""
        self.page.wait_for_function(
            """() => {
                const panel = jupyterapp.shell.currentWidget;
                const waiting = panel.content.widgets.filter(
                    (cell) => cell.model.type === 'code' && cell.model.executionState === 'running');
                const prompts = [...panel.node.querySelectorAll('.jp-InputPrompt')]
                    .filter((node) => node.textContent.includes('*'));
                return panel.sessionContext.session.kernel.status === 'idle' && !waiting.length && !prompts.length;
            }""",
            timeout=RUN_TIMEOUT,
        )

    def open_all(self) -> int:
        """Open every explorable past its question, wait until drawn; returns how many there are."""
        self.page.evaluate(
            """() => document.querySelectorAll('.sdw').forEach((node) => {
                const button = node.querySelector('.sdw-question:not([hidden]) .sdw-quiet');
                if (button) button.click();
            })"""
        )
        self.page.wait_for_function(
            """() => [...document.querySelectorAll('.sdw')].every(
                (node) => node.querySelector('.sdw-plot')?.dataset.drawn !== undefined)""",
            timeout=60_000,
        )
        return self.page.locator(".sdw").count()


@contextmanager
def visit(browser: Browser, base: str, **options: Any) -> Iterator[Visit]:
    """Open a page that may speak to this machine only, and note what it does."""
    options.setdefault("viewport", {"width": 1280, "height": 1000})
    context = browser.new_context(**options)
    page = context.new_page()
    result = Visit(page, base)
    host = urlsplit(base).netloc

    def guard(route: Route) -> None:
        url = urlsplit(route.request.url)
        if url.scheme in ("http", "https", "ws", "wss") and url.netloc != host:
            result.external.append(route.request.url)
            route.abort()
        else:
            route.continue_()

    def count(payload: str | bytes) -> None:
        result.received += len(payload) if isinstance(payload, bytes) else len(payload.encode())

    page.route("**/*", guard)
    page.on("websocket", lambda socket_: socket_.on("framereceived", count))
    page.on("pageerror", lambda error: result.problems.append(str(error)))
    page.on("console", lambda message: result.problems.append(message.text) if message.type == "error" else None)
    try:
        yield result
    finally:
        context.close()


@contextmanager
def browser() -> Iterator[Browser]:
    """Run headless Chromium."""
    with sync_playwright() as playwright:
        yield launch(playwright)


def launch(playwright: Playwright) -> Browser:
    arguments = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        arguments.append("--no-sandbox")
    return playwright.chromium.launch(executable_path=chromium(), args=arguments)
