"""The size of the same records in three wire formats, as an explorable."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from course import wire_formats as model
from widgets.controls import choice, log_slider, slider, toggle
from widgets.explorable import estimate, explorable
from widgets.plot import Axis, Panel, View, bars, count, line, percent, points, quantity

_FIELDS = (1, 2, 3, 5, 10, 20, 50, 100)
#: Records from which the curves are drawn: bytes an item do not depend on their number but for a few.
_SAMPLE = 8


@lru_cache(maxsize=8)
def _curves(payload: str) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {format: [] for format in model.FORMATS}
    for fields in _FIELDS:
        for size in model.sizes(model.make_records(_SAMPLE, fields, payload)):
            found[size.format].append(size.bytes / _SAMPLE)
    return found


@lru_cache(maxsize=64)
def _sizes(payload: str, fields: int, items: int) -> list[model.Size]:
    return model.sizes(model.make_records(items, fields, payload))


@lru_cache(maxsize=64)
def _compressed(payload: str, fields: int, items: int) -> dict[str, int]:
    return model.compressed(model.make_records(items, fields, payload))


@explorable(
    "The same records, three formats",
    predict=estimate(
        "Records of ten fields, half of them whole numbers and half measurements, go over the wire as JSON. The same "
        "records as Protocol Buffers: what share of the bytes is that?",
        unit="%",
    ),
    leaves_out="the schema, which Protocol Buffers must ship once to both sides; and time, which the next cell measures.",
    payload=choice(model.PAYLOADS, "numbers", "the fields hold"),
    fields=slider(1, 100, 10, "fields of a record"),
    items=log_slider(1, 200, 100, "records", whole=True),
    gzip=toggle(False, "compressed with gzip"),
)
def sizes(payload: str, fields: int, items: int, gzip: bool) -> View:
    """Draw the bytes of a record in each format: over the number of fields, and what they are spent on."""
    found = _sizes(payload, fields, items)
    share = {size.format: size.bytes / found[0].bytes for size in found}
    curves = _curves(payload)
    at = np.arange(len(found))
    parts = [
        bars(at, [size.names / items for size in found], "field names", color=3),
        bars(at, [size.values / items for size in found], "values", color=4),
        bars(at, [size.framing / items for size in found], "marks, tags, lengths", color=6),
    ]
    zipped = ""
    if gzip:
        small = _compressed(payload, fields, items)
        parts.append(
            points(at, [small[size.format] / items for size in found], "after gzip", size=14, color=5)
        )
        zipped = f" After gzip: {', '.join(f'{name} {quantity(small[name] / items)}' for name in small)} bytes a record."
    json, proto = found[0], found[-1]
    return View(
        [
            Panel(
                [
                    *(line(_FIELDS, curve, format) for format, curve in curves.items()),
                    points([fields] * 3, [size.bytes / items for size in found], "now", size=9, color=6),
                ],
                Axis("fields", log=True, range=(0.9, 110)),
                Axis("bytes a record", log=True, range=(3, 6_000)),
                title="Every field costs",
            ),
            Panel(
                parts,
                Axis("format", labels=["JSON", "Message-<br>Pack", "Protocol<br>Buffers"], range=(-0.6, 2.6)),
                Axis("bytes a record"),
                title="What they are spent on",
                stacked=True,
            ),
        ],
        f"{count(items, 'record')} with {count(fields, 'field')}: {quantity(json.bytes / items)} bytes a record as JSON; "
        f"MessagePack takes {percent(share['MessagePack'])} of that, Protocol Buffers "
        f"{percent(share['Protocol Buffers'])}. Field names are {percent(json.names / json.bytes)} of the JSON.{zipped}",
        answer=100 * proto.bytes / json.bytes,
    )
