"""A check in a real kernel: what a notebook stores, and that the kernel lives on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbclient
import nbformat

ENDLESS = "class MySingleFlight:\n    def __init__(self, load): pass\n    async def get(self, key):\n        while True: pass"
RAISES = "class LRU:\n    def __init__(self, capacity):\n        self.d = {}\n\n    def get(self, key):\n        return self.d[key]"


def outputs(tmp_path: Path, *cells: str) -> list[list[Any]]:
    first = (
        "from pathlib import Path\nfrom course.classroom import check, hint, progress, record\n"
        f"record.default_path = lambda: Path({str(tmp_path / 'progress.json')!r})"
    )
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(source) for source in (first, *cells)]
    )
    nbclient.NotebookClient(notebook, timeout=60, kernel_name="python3").execute(cwd=Path.cwd())
    return [cell.outputs for cell in notebook.cells[1:]]


def test_a_notebook_shows_results_and_no_traceback_of_ours(tmp_path: Path) -> None:
    endless, raises, hinted, table = outputs(
        tmp_path,
        f"{ENDLESS}\ncheck('caching.single_flight')",
        f"{RAISES}\ncheck('caching.lru')",
        "hint('caching.lru')",
        "progress()",
    )
    for found in (endless, raises, hinted, table):
        assert [output.output_type for output in found] == ["execute_result"]
    assert "did not come back within 2 s" in endless[0].data["text/plain"]
    assert "in line 6 of your cell: return self.d[key]" in raises[0].data["text/plain"]
    assert "in line 6 of your cell" in raises[0].data["text/html"]
    assert hinted[0].data["text/markdown"].startswith("**Build: an LRU cache**\n\n**Hint 1 of 4.**")
    assert "<table>" in table[0].data["text/html"]
