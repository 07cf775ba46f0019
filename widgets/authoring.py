"""What authors run: ``python -m widgets.authoring sync`` and ``check``.

The ``.py`` beside each notebook is its source.  ``sync`` writes the ``.ipynb`` from it: executed, outputs
stored, widgets replaced by pictures, cell ids that depend only on the cell itself, nothing of the machine.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import os
import re
import sys
import tempfile
import textwrap
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from widgets.explorable import FIGURE_TYPE, RECORD, STRICT
from widgets.palette import LIGHT, paint
from widgets.server import HINT, outputs, picture_of, replace_widgets, stored_pictures

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = ROOT / "notebooks"
#: Tag of cells whose output is measured on this machine: kept as stored while their source is the same.
MEASURED = "nbval-ignore-output"
#: A cell that runs longer has stalled (seconds).
CELL_TIMEOUT = 120
_KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}

Notebook = dict[str, Any]


class AuthoringError(Exception):
    """Something an author has to mend; the message says what."""


def sources(root: Path = NOTEBOOKS) -> list[Path]:
    """Return the sources of all notebooks, in order.

    Raises
    ------
    AuthoringError
        If there is none.
    """
    found = sorted(root.glob("[0-9][0-9]_*.py")) + sorted((root / "solutions").glob("[0-9][0-9]_*.py"))
    if not found:
        raise AuthoringError(f"no notebook sources (NN_topic.py) in {root.name}/: is this the right folder?")
    return found


def read_source(path: Path) -> Notebook:
    """Return the notebook of a ``.py`` source, without outputs, with its stable ids."""
    import jupytext

    notebook: Notebook = jupytext.read(path, fmt="py:percent")
    seen: dict[str, int] = {}
    for cell in notebook["cells"]:
        digest = hashlib.sha256(f"{cell['cell_type']}\n{cell['source']}".encode()).hexdigest()[:10]
        again = seen.get(digest, 0)
        seen[digest] = again + 1
        cell["id"] = digest if not again else f"{digest}-{again}"
    notebook["metadata"] = {
        "jupytext": {"formats": "ipynb,py:percent"},
        "kernelspec": _KERNEL,
        "language_info": {"file_extension": ".py", "mimetype": "text/x-python", "name": "python"},
    }
    notebook["nbformat"], notebook["nbformat_minor"] = 4, 5
    return notebook


def execute(notebook: Notebook, folder: Path) -> None:
    """Run a notebook in place, in a fresh kernel.

    Raises
    ------
    AuthoringError
        If a cell fails or stalls.
    """
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError

    node = nbformat.from_dict(notebook)  # type: ignore[no-untyped-call]
    environment = {**os.environ, RECORD: "1", STRICT: "1"}
    client = NotebookClient(
        node,
        timeout=CELL_TIMEOUT,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
        store_widget_state=False,
        record_timing=False,
        # Where a stream is cut into messages is chance.
        coalesce_streams=True,
        # The kernel speaks to this process only; its advice on encryption is noise here.
        extra_arguments=["--log-level=ERROR"],
    )
    try:
        client.execute(env=environment)
    # nbclient says RuntimeError for a kernel that does not start, and for one that dies.
    except (CellExecutionError, CellTimeoutError, RuntimeError) as error:
        raise AuthoringError(str(error)) from error
    # Not the metadata: the kernel writes its own Python version there.
    notebook["cells"] = json.loads(nbformat.writes(node))["cells"]  # type: ignore[no-untyped-call]
    for cell in notebook["cells"]:
        cell["source"] = "".join(cell["source"])


def keep_measured(notebook: Notebook, stored: Notebook) -> None:
    """Put back the stored outputs of measured cells whose source has not changed."""
    before = {cell["id"]: cell for cell in stored.get("cells", [])}
    for cell in notebook["cells"]:
        old = before.get(cell["id"])
        if MEASURED in cell["metadata"].get("tags", ()) and old is not None and old.get("outputs"):
            cell["outputs"] = old["outputs"]


def draw_pictures(notebook: Notebook, known: dict[str, str]) -> None:
    """Replace figures in outputs by static pictures; those that are known are not drawn again."""
    pictures = dict(known)
    wanted = []
    for output in outputs(notebook):
        figure = output["data"].pop(FIGURE_TYPE, None)
        fingerprint = picture_of(output)
        if figure is not None and fingerprint is not None and fingerprint not in pictures:
            wanted.append((fingerprint, figure))
    if wanted:
        with picture_server() as draw:
            for fingerprint, figure in wanted:
                pictures[fingerprint] = b64encode(draw(figure)).decode()
    replace_widgets(notebook, pictures)
    for output in outputs(notebook):
        if picture_of(output) and "image/png" in output["data"]:
            title = output["data"]["text/plain"]
            title = title if isinstance(title, str) else "".join(title)
            output["metadata"]["image/png"] = {"alt": title.replace("\n", " "), "width": 760}


@contextmanager
def picture_server() -> Iterator[Any]:
    """Hold one browser open; yields a function from a recorded figure to the bytes of its PNG.

    Raises
    ------
    AuthoringError
        If there is no browser.
    """
    import kaleido
    from choreographer.errors import ChromeNotFoundError

    try:
        kaleido.start_sync_server(silence_warnings=True)
    except ChromeNotFoundError as error:
        raise AuthoringError(
            "static pictures need Chromium or Chrome: install one (Debian: apt install chromium), then retry"
        ) from error
    try:

        def draw(recorded: dict[str, Any]) -> bytes:
            figure = static_figure(recorded)
            options = {"format": "png", "width": 760, "height": figure["layout"]["height"], "scale": 1}
            return bytes(kaleido.calc_fig_sync(figure, opts=options))

        yield draw
    finally:
        kaleido.stop_sync_server(silence_warnings=True)


def static_figure(recorded: dict[str, Any]) -> dict[str, Any]:
    """Return the figure of a static picture: title above, sentence and hint below, light theme."""
    figure: dict[str, Any] = paint(recorded["figure"], LIGHT)
    layout = figure["layout"]
    # Names of rows push the picture, and what stands under it, to the right.
    rows_named = layout.get("yaxis", {}).get("ticktext", [])
    longest = max((len(part) for name in rows_named for part in name.split("<br>")), default=0)
    sentence = textwrap.wrap(recorded["sentence"], 86 - max(0, longest - 3))
    height = layout["height"]
    below = 20 * len(sentence) + 34
    # About how many rows the legend takes: nobody measures text before it is drawn.
    names = [trace["name"] for trace in figure["data"] if trace["showlegend"]]
    rows = math.ceil(sum(58 + 7 * len(name) for name in names) / 600) if layout["showlegend"] else 0
    legend = 26 * rows + 10
    margin = layout["margin"]
    layout |= {
        "margin": {**margin, "t": margin["t"] + 30, "b": margin["b"] + below + legend},
        "height": height + 30 + below + legend,
        "width": 760,
    }
    text = {"xref": "paper", "x": 0, "xanchor": "left", "yref": "paper", "showarrow": False, "align": "left"}
    bottom = -(layout["margin"]["b"] - 6)
    layout["annotations"] = [
        *layout["annotations"],
        {
            **text,
            "y": 1,
            "yanchor": "bottom",
            "yshift": margin["t"] + 2,
            "text": f"<b>{recorded['title']}</b>",
            "font": {"size": 16},
        },
        {
            **text,
            "y": 0,
            "yanchor": "bottom",
            "yshift": bottom + 22,
            "text": "<br>".join(f"<b>{part}</b>" for part in sentence),
        },
        {
            **text,
            "y": 0,
            "yanchor": "bottom",
            "yshift": bottom,
            "text": f"Static picture. {HINT}",
            "font": {"size": 11, "color": LIGHT["$soft"]},
        },
    ]
    return figure


def build(source: Path) -> Notebook:
    """Return the finished notebook of one source: executed, pictures drawn, tidy, free of the machine."""
    target = source.with_suffix(".ipynb")
    stored = json.loads(target.read_text(encoding="utf-8")) if target.exists() else {}
    notebook = read_source(source)
    execute(notebook, source.parent)
    keep_measured(notebook, stored)
    draw_pictures(notebook, stored_pictures(target))
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell["metadata"].pop("execution", None)
    problems = faults(notebook)
    if problems:
        raise AuthoringError("\n".join(f"{source.name}: {problem}" for problem in problems))
    return notebook


def serialize(notebook: Notebook) -> str:
    """Return the text of a notebook file: sources as lists of lines, keys sorted, so that diffs read well."""
    import nbformat

    node = nbformat.from_dict(notebook)  # type: ignore[no-untyped-call]
    return str(nbformat.writes(node)) + "\n"  # type: ignore[no-untyped-call]


# Wherever this checkout lies, written as in JSON.
_HERE = re.escape(json.dumps(str(ROOT))[1:-1])
_MACHINE = re.compile(
    rf"(/home/|/root/|/Users/|/tmp/|/var/folders/|[A-Z]:\\\\Users\\\\)[\w.-]+|{_HERE}\b|\bsite-packages\b"
)


def faults(notebook: Notebook) -> list[str]:
    """Return what must not be in a stored notebook: errors, widgets, paths of a machine, missing pictures."""
    found = ["the notebook stores widgets: run make sync"] if "widgets" in notebook["metadata"] else []
    for number, cell in enumerate(notebook["cells"]):
        for output in cell.get("outputs", []):
            text = json.dumps({key: value for key, value in output.items() if key != "metadata"})
            if output["output_type"] == "error":
                found.append(f"cell {number} stores an error: {output.get('evalue', '')}")
            if output["output_type"] == "stream" and output.get("name") == "stderr":
                found.append(f"cell {number} writes to stderr: {''.join(output['text']).strip()[:200]}")
            if "widget-view+json" in text:
                found.append(f"cell {number} stores a widget: run make sync")
            if picture_of(output) and "image/png" not in output["data"]:
                found.append(f"cell {number} has no static picture: run make sync")
            if match := _MACHINE.search(re.sub(r'"image/png": "[^"]*"', "", text)):
                found.append(f"cell {number} names a path of this machine: {match[0]}")
    return found


def drift(source: Path, *, fast: bool) -> list[str]:
    """Return how a stored notebook differs from its source; `fast` compares without running it."""
    target = source.with_suffix(".ipynb")
    if not target.exists():
        return [f"{target.name} is missing: run make sync"]
    stored = json.loads(target.read_text(encoding="utf-8"))
    if fast:
        fresh = read_source(source)
        found = faults(stored)
        if _authored(stored) != _authored(fresh):
            found.append("differs from its .py source: run make sync")
    else:
        fresh = json.loads(serialize(build(source)))
        found = []
        if _comparable(stored) != _comparable(fresh):
            places = [
                f"cell {number}"
                for number, (old, new) in enumerate(zip(stored["cells"], fresh["cells"], strict=False))
                if _comparable_cell(old) != _comparable_cell(new)
            ]
            found.append(
                f"is not what its source gives now ({', '.join(places) or 'metadata'}): run make sync"
            )
    return [f"{target.name}: {problem}" for problem in found]


def _authored(notebook: Notebook) -> list[Any]:
    return [
        (cell["cell_type"], cell["id"], "".join(cell["source"]), cell["metadata"])
        for cell in notebook["cells"]
    ]


def _comparable(notebook: Notebook) -> Any:
    return [notebook["metadata"], [_comparable_cell(cell) for cell in notebook["cells"]]]


def _comparable_cell(cell: dict[str, Any]) -> Any:
    """Return a cell without the bytes of its pictures: their fingerprints say what they show."""
    copy = json.loads(json.dumps(cell))
    for output in copy.get("outputs", []):
        if picture_of(output):
            output["data"].pop("image/png", None)
    return copy


def write_if_changed(target: Path, text: str) -> bool:
    """Write a file whole or not at all; returns whether it had to be written."""
    if target.exists() and target.read_text(encoding="utf-8") == text:
        return False
    with tempfile.NamedTemporaryFile(
        "w", encoding="utf-8", dir=target.parent, suffix=".part", delete=False
    ) as part:
        part.write(text)
    # The temporary file is private; a notebook is for everybody to read.
    Path(part.name).chmod(0o644)
    Path(part.name).replace(target)
    return True


def main(arguments: list[str] | None = None) -> int:
    """Run ``sync`` or ``check [--fast]``, of all notebooks or those named."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if os.name == "nt":
        asyncio.set_event_loop_policy(asyncio.WindowsSelectorEventLoopPolicy())  # type: ignore[attr-defined]
    fast = "--fast" in words
    verb, *names = [word for word in words if word != "--fast"] or [""]
    if verb not in ("sync", "check"):
        print("usage: python -m widgets.authoring sync|check [--fast] [NN_topic ...]", file=sys.stderr)
        return 2
    try:
        known = sources()
        if strangers := set(names) - {path.stem for path in known}:
            raise AuthoringError(f"no notebook is named {' or '.join(sorted(strangers))}")
        chosen = [path for path in known if not names or path.stem in names]
        problems = []
        for source in chosen:
            if verb == "check":
                problems += drift(source, fast=fast)
            else:
                target = source.with_suffix(".ipynb")
                written = write_if_changed(target, serialize(build(source)))
                print(f"{target.relative_to(ROOT)}: {'written' if written else 'unchanged'}")
    except AuthoringError as error:
        print(error, file=sys.stderr)
        return 1
    for problem in problems:
        print(problem, file=sys.stderr)
    if verb == "check" and not problems:
        print(f"{len(chosen)} notebooks agree with their sources")
    return 1 if problems else 0


if __name__ == "__main__":
    raise SystemExit(main())
