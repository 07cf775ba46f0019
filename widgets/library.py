"""The browser's side of every explorable, sent once a page: plotly.js and ``explorable.js``.

plotly.js is the one of the installed plotly package.  It travels compressed through the kernel's own channel,
so a page needs no network, and a page of twenty pictures carries it once, not twenty times.
"""

from __future__ import annotations

import gzip
import hashlib
from functools import cache
from pathlib import Path

import anywidget
import traitlets

_HERE = Path(__file__).parent
_SCRIPT = (_HERE / "explorable.js").read_text(encoding="utf-8")
_STYLE = (_HERE / "explorable.css").read_text(encoding="utf-8")


@cache
def plotly_js() -> tuple[str, bytes]:
    """Return the version of the installed plotly.js and its source, gzip-compressed."""
    from plotly.offline import get_plotlyjs, get_plotlyjs_version

    # mtime=0: the same bytes every time.
    return get_plotlyjs_version(), gzip.compress(get_plotlyjs().encode(), compresslevel=6, mtime=0)


class Library(anywidget.AnyWidget):
    """Carries the shared code to a page; nothing of it is displayed."""

    _esm = _SCRIPT
    plotly_version = traitlets.Unicode().tag(sync=True)
    plotly = traitlets.Bytes().tag(sync=True)
    style = traitlets.Unicode(_STYLE).tag(sync=True)
    key = traitlets.Unicode().tag(sync=True)


def library_key() -> str:
    """Return what names this version of the shared code on a page."""
    return hashlib.sha256((_SCRIPT + _STYLE).encode()).hexdigest()[:12]


@cache
def library() -> Library:
    """Return the one library of this kernel, sending it to the page on the first call."""
    version, source = plotly_js()
    return Library(plotly_version=version, plotly=source, key=library_key())
