"""A real JupyterLab and a real Chromium, for tests, benchmarks and a look."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Error, Locator, Page, Playwright, Route, sync_playwright

from tests.conftest import find

TOKEN = "workbook"
#: A notebook that runs longer than this has stalled (milliseconds).
RUN_TIMEOUT = 180_000

#: A cell with the least that an answer from Python can cost.
FLOOR = """import ipywidgets
slider, label = ipywidgets.IntSlider(value=50, max=100), ipywidgets.Label("50")
slider.add_class("floor-slider")
label.add_class("floor-label")
slider.observe(lambda change: setattr(label, "value", str(change["new"])), "value")
ipywidgets.VBox([slider, label])"""


def p95(values: list[float]) -> float:
    return quantiles(values, n=20, method="inclusive")[-1]


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
    environment = {**os.environ, "JUPYTER_CONFIG_DIR": str(settings), "IPYTHONDIR": str(settings / "ipython")}
    with running(command, root, port, environment) as base:
        yield base


@contextmanager
def running(
    command: list[str], root: Path, port: int, environment: Mapping[str, str] | None = None
) -> Iterator[str]:
    """Run ``python -m <server>`` until the block ends; yields its base URL once it answers."""
    base = f"http://127.0.0.1:{port}"
    log = root / f"{command[2]}.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            command, cwd=root, stdout=output, stderr=subprocess.STDOUT, env=environment
        )
        try:
            for _ in range(240):
                if process.poll() is not None:
                    raise RuntimeError(f"{command[2]} ended at once:\n{log.read_text()[-3000:]}")
                try:
                    urllib.request.urlopen(f"{base}/api", timeout=5).read()
                    break
                except urllib.error.HTTPError:
                    # It answers, if only that it has no such page.
                    break
                except OSError:
                    time.sleep(0.25)
            else:
                raise RuntimeError(f"{command[2]} was not ready after 60 s:\n{log.read_text()[-3000:]}")
            yield base
        finally:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()


def write_notebook(path: Path, *sources: str) -> None:
    """Write a notebook of code cells that has never been run."""
    cell: dict[str, Any] = {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": []}
    notebook = {
        "cells": [
            {**cell, "id": f"cell-{number}", "source": source} for number, source in enumerate(sources)
        ],
        "metadata": {
            "kernelspec": {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    path.write_text(json.dumps(notebook), encoding="utf-8")


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
        self.wait_for_kernel(path)

    def wait_for_kernel(self, path: str) -> None:
        """Wait until this notebook is in front and its kernel is idle."""
        self.page.wait_for_function(
            """(path) => {
                const panel = globalThis.jupyterapp?.shell?.currentWidget;
                return panel?.context?.path === path && panel.sessionContext?.session?.kernel?.status === 'idle';
            }""",
            arg=path,
            timeout=60_000,
        )

    def run_all(self) -> None:
        """Run every cell and wait until the kernel has nothing left to do."""
        self.page.evaluate("() => jupyterapp.commands.execute('runmenu:run-all')")
        self.settle()
        # At the end of a run JupyterLab takes the focus back to the notebook.
        self.page.wait_for_timeout(500)

    def settle(self) -> None:
        """Wait until no cell waits or runs."""
        self.page.wait_for_function(
            """() => {
                const panel = jupyterapp.shell.currentWidget;
                const waiting = panel.content.widgets.filter(
                    (cell) => cell.model.type === 'code' && cell.model.executionState === 'running');
                const prompts = [...panel.node.querySelectorAll('.jp-InputPrompt')]
                    .filter((node) => node.textContent.includes('*'));
                const idle = panel.sessionContext.session.kernel.status === 'idle';
                return idle && !waiting.length && !prompts.length;
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
        return len(self.sections())

    def sections(self) -> list[Section]:
        """Return the explorables of the page, top to bottom."""
        return [Section(root) for root in self.page.locator(".sdw").all()]

    def theme(self, name: str) -> None:
        """Change to the theme "JupyterLab Light" or "JupyterLab Dark"."""
        self.page.evaluate("(theme) => jupyterapp.commands.execute('apputils:change-theme', { theme })", name)
        light = str(name == "JupyterLab Light").lower()
        self.page.wait_for_function("(light) => document.body.dataset.jpThemeLight === light", arg=light)
        # The style sheet of the theme arrives a little after its name.
        self.page.wait_for_load_state("networkidle")
        self.page.wait_for_timeout(300)

    def close_kernels(self) -> None:
        """End every kernel of this server."""
        self.page.evaluate("() => jupyterapp.serviceManager.sessions.shutdownAll()")

    def latency(self, control: Locator, watched: Locator, key: str = "ArrowRight") -> float:
        """Press a key on `control`; returns the milliseconds until `watched` is redrawn and on the screen.

        Measured inside the page, from the time stamp of the key event to the frame after the first change of
        `watched`: its ``data-drawn`` for a picture, its text for anything else.
        """
        if not control.evaluate("(node) => node === document.activeElement"):
            control.focus()
            # JupyterLab now makes this the active cell: once, not per key, and longer than many a redraw.
            self.page.wait_for_timeout(300)
        self.page.evaluate(PROBE, watched.element_handle())
        self.page.keyboard.press(key)
        try:
            return float(self.page.evaluate("() => globalThis.probed"))
        except Error as silent:
            state = self.page.evaluate(
                """(node) => [document.activeElement.outerHTML, document.activeElement.value,
                    node.outerHTML.slice(0, 200), node.closest('.sdw')?.cloneNode().outerHTML,
                    node.closest('.sdw')?.querySelector('.sdw-error').textContent]""",
                watched.element_handle(),
            )
            raise AssertionError(f"{control} after {key}: {silent.message}; {state}") from silent


@dataclass(frozen=True)
class Section:
    """One explorable on a page."""

    root: Locator

    @property
    def name(self) -> str:
        return self.root.get_attribute("data-explorable") or ""

    @property
    def plot(self) -> Locator:
        return self.root.locator(".sdw-plot")

    @property
    def error(self) -> Locator:
        return self.root.locator(".sdw-error")

    @property
    def sentence(self) -> str:
        # Not inner_text, which is empty for what JupyterLab has not laid out yet.
        return self.root.locator(".sdw-sentence").text_content() or ""

    def button(self, name: str) -> Locator:
        return self.root.get_by_role("button", name=name, exact=True)

    def picture(self) -> str:
        """Return what the plot shows: every shape with its place and colour, every text."""
        shown: str = self.plot.evaluate(
            """(plot) => [...plot.querySelectorAll('.main-svg *')].map((node) => [
                node.getAttribute('d'), node.getAttribute('transform'), node.getAttribute('style'),
                node.children.length ? '' : node.textContent].join('|')).join(';')"""
        )
        return shown

    def drawn(self) -> int:
        return int(self.plot.get_attribute("data-drawn") or -1)

    def settle(self) -> None:
        """Wait until the newest setting is on the screen."""
        self.root.evaluate(SETTLED, None)

    def show(self) -> None:
        """Scroll there and let it be laid out: JupyterLab skips what is out of sight."""
        self.root.scroll_into_view_if_needed()
        self.root.page.wait_for_timeout(100)
        self.settle()

    def redraw(self, action: Callable[[], object]) -> None:
        """Do something and wait for the redraw that must follow."""
        before = self.plot.get_attribute("data-drawn")
        action()
        self.root.evaluate(SETTLED, before)

    def press(self, control: Locator, *keys: str) -> None:
        """Press keys on a control, one after the other, each redrawn before the next."""
        control.focus()
        for key in keys:
            self.redraw(lambda key=key: self.root.page.keyboard.press(key))  # type: ignore[misc]

    def reset(self) -> None:
        self.redraw(self.button("Reset").click)


#: Waits until the newest setting is on the screen, and the picture is another than the one given.
SETTLED = """async (root, before) => {
    const plot = root.querySelector('.sdw-plot'), error = root.querySelector('.sdw-error');
    // A setting that was refused is answered too, and nothing is drawn for it.
    const done = () => plot.dataset.drawn === root.dataset.sequence || (before === null && !error.hidden);
    for (const started = performance.now(); !done() || plot.ariaBusy || plot.dataset.drawn === before;) {
        if (performance.now() - started > 20000) throw new Error(`not drawn within 20 s. ${error.textContent}`);
        await new Promise(requestAnimationFrame);
    }
}"""

#: Arms the measurement of one key press; ``globalThis.probed`` is a promise of the milliseconds.
PROBE = """(node) => {
    const state = () => node.dataset.drawn ?? node.textContent;
    const before = state();
    let pressed;
    window.addEventListener('keydown', (event) => (pressed = event.timeStamp), { capture: true, once: true });
    globalThis.probed = new Promise((resolve, reject) => {
        const timer = setTimeout(() => reject(new Error("nothing changed within 20 s")), 20000);
        const observer = new MutationObserver(() => {
            if (state() === before) return;
            observer.disconnect();
            clearTimeout(timer);
            requestAnimationFrame(() => resolve(performance.now() - pressed));
        });
        observer.observe(node, { attributes: true, childList: true, characterData: true, subtree: true });
    });
    globalThis.probed.catch(() => {});
}"""


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
    page.on(
        "console", lambda message: result.problems.append(message.text) if message.type == "error" else None
    )
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
    arguments = [
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--no-first-run",
    ]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        arguments.append("--no-sandbox")
    return playwright.chromium.launch(executable_path=find("chromium"), args=arguments)
