"""Run the benchmarks: ``python -m tests.benchmarks [--only NAME] [--rounds N]``.

Writes ``build/bench.json``, prints the same as a table, and ends with an error if a goal is missed.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import pkgutil
import platform
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from rich.console import Console
from rich.table import Table

import tests.benchmarks
from tests.benchmarks import Row

RESULTS = Path(__file__).resolve().parents[2] / "build" / "bench.json"
PREFIX = "bench_"
VERSIONS = (
    "numpy",
    "numba",
    "cachetools",
    "libcachesim",
    "simpy",
    "uhashring",
    "ciw",
    "plotly",
    "ipywidgets",
    "anywidget",
    "jupyterlab",
    "playwright",
)


def names() -> list[str]:
    """Names of the benchmark modules, without their prefix."""
    found = sorted(
        module.name.removeprefix(PREFIX)
        for module in pkgutil.iter_modules(tests.benchmarks.__path__)
        if module.name.startswith(PREFIX)
    )
    assert found, "no benchmark module was found"
    return found


def merge(rows: Iterable[Row], path: Path = RESULTS) -> None:
    """Put rows into the file of results in the place of older ones of the same name and peer."""
    kept: dict[tuple[str, str], Row] = {}
    if path.exists():
        kept = {(row["name"], row["peer"]): row for row in json.loads(path.read_text(encoding="utf-8"))}
    here = machine()
    kept |= {(row["name"], row["peer"]): {**row, "machine": here} for row in rows}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(list(kept.values()), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def machine() -> str:
    """One line on the processor and the versions of what is compared."""
    model = platform.processor() or platform.machine()
    described = Path("/proc/cpuinfo")
    if described.exists():
        models = [line for line in described.read_text().splitlines() if line.startswith("model name")]
        model = models[0].partition(":")[2].strip() if models else model
    versions = [f"Python {platform.python_version()}"]
    for package in VERSIONS:
        try:
            versions.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            continue
    return f"{model}, {os.cpu_count()} cores, {platform.system()}; {', '.join(versions)}"


def table(rows: list[Row]) -> Table:
    """Lay rows out for people."""
    result = Table("what", "against", "ours", "theirs", "unit", "times better", "goal", "", "of which")
    for column in (2, 3, 5, 6):
        result.columns[column].justify = "right"
    for row in rows:
        numbers = (f"{row[key]:.3g}" for key in ("our_rate", "peer_rate"))  # type: ignore[literal-required]
        verdict = "[green]met[/]" if row["ratio"] >= row["goal"] else "[red]missed[/]"
        ratio, goal = f"{row['ratio']:.2f}", f"{row['goal']:.3g}"
        parts = ", ".join(f"{part} {value:.3g}" for part, value in row.get("parts", {}).items())
        result.add_row(row["name"], row["peer"], *numbers, row["unit"], ratio, goal, verdict, parts)
    return result


def main(arguments: list[str] | None = None) -> int:
    """Measure, keep, print; return 1 if a goal was missed."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--only", choices=names(), help="one benchmark instead of all")
    parser.add_argument("--rounds", type=int, default=5, help="how often each pair is measured (default: 5)")
    chosen = parser.parse_args(arguments)
    if chosen.rounds < 1:
        parser.error(f"--rounds {chosen.rounds}: must be at least 1")
    rows: list[Row] = []
    for name in [chosen.only] if chosen.only else names():
        measured = importlib.import_module(f"{tests.benchmarks.__name__}.{PREFIX}{name}").measure(
            chosen.rounds
        )
        assert measured, f"{name} measured nothing"
        merge(measured)
        rows += measured
    # Written to a file it need not fit a window.
    console = Console() if sys.stdout.isatty() else Console(width=200)
    console.print(table(rows))
    console.print(machine(), highlight=False)
    return int(any(row["ratio"] < row["goal"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
