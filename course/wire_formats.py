"""The same records as JSON, MessagePack and Protocol Buffers: how many bytes, and how long it takes.

Guide, "API Design": which data format? JSON and MessagePack describe themselves: every record carries the names
of its fields. Protocol Buffers sends a number instead of each name, and both sides must hold the schema.

The libraries are the real ones. The message type of Protocol Buffers is built at run time from a descriptor,
which is what ``protoc`` makes of a ``.proto`` file.
"""

from __future__ import annotations

import gzip
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import msgpack
import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import Message

from course import checks

FORMATS = ("JSON", "MessagePack", "Protocol Buffers")
PAYLOADS = ("numbers", "prices", "text")
Value = int | float | str
Record = dict[str, Value]
Schema = tuple[tuple[str, type[Value]], ...]

_NAMES = ["id", "latitude", "count", "longitude", "version"]
_NAMES += ["temperature", "visits", "humidity", "age", "pressure"]
_SENTENCE = (
    "a request waits while the server reads one page from disk and another client asks for what nobody has "
    "written yet so the queue grows until somebody notices that every answer now takes longer than its reader"
)
_WORDS = _SENTENCE.split()


def field_names(fields: int) -> list[str]:
    """Return the names of the first `fields` fields, 1 to 1,000: ten words, then the same with a number."""
    fields = checks.integer("fields", fields, 1, 1_000)
    return [
        _NAMES[i % len(_NAMES)] + (f"_{i // len(_NAMES) + 1}" if i >= len(_NAMES) else "")
        for i in range(fields)
    ]


def make_records(items: int, fields: int, payload: str, seed: int = 1) -> list[Record]:
    """Return made-up records that all have the same fields.

    Parameters
    ----------
    items : int
        Number of records, 1 to 100,000.
    fields : int
        Fields of each, 1 to 1,000.
    payload : str
        ``numbers``: in turn a whole number below a million and a measurement with all its digits (a double).
        ``prices``: amounts below 100 with two decimals. ``text``: three to eight words
        out of a few dozen, in which gzip finds more to repeat than in prose.
    seed : int

    Raises
    ------
    ValueError
        If a parameter is outside its range.
    """
    items = checks.integer("items", items, 1, 100_000)
    names = field_names(fields)
    checks.option("payload", payload, PAYLOADS)
    rng = np.random.default_rng(checks.integer("seed", seed, 0, 2**63 - 1))
    if payload == "text":
        lengths = rng.integers(3, 9, (items, fields))
        words = iter(rng.integers(0, len(_WORDS), int(lengths.sum())).tolist())
        texts = [[" ".join(_WORDS[next(words)] for _ in range(n)) for n in row] for row in lengths.tolist()]
        return [dict(zip(names, row, strict=True)) for row in texts]
    if payload == "prices":
        amounts = np.round(rng.uniform(0, 100, (items, fields)), 2).tolist()
        return [dict(zip(names, row, strict=True)) for row in amounts]
    whole = rng.integers(0, 1_000_000, (items, fields)).tolist()
    measured = rng.normal(20, 5, (items, fields)).tolist()
    return [
        {name: (m if i % 2 else w) for i, (name, w, m) in enumerate(zip(names, ws, ms, strict=True))}
        for ws, ms in zip(whole, measured, strict=True)
    ]


def schema_of(records: Sequence[Record]) -> Schema:
    """Return the names and types of the fields, in their order.

    Raises
    ------
    ValueError
        If there is no record, a record differs from the first, a type is not int, float or str, or a name is
        no identifier.
    """
    if not records:
        raise ValueError("records = []: must hold at least one record")
    schema: Schema = tuple((name, type(value)) for name, value in records[0].items())
    for name, kind in schema:
        if kind not in _TYPES or not name.isidentifier() or not name.isascii():
            raise ValueError(
                f"{name!r} is {kind.__name__}: a field must be int, float or str, named by an identifier"
            )
    for number, record in enumerate(records):
        if {name: type(value) for name, value in record.items()} != dict(schema):
            raise ValueError(
                f"records[{number}]: must have the same fields, of the same types, as records[0]"
            )
    return schema


_FIELD = descriptor_pb2.FieldDescriptorProto
_TYPES: dict[type, Any] = {
    int: _FIELD.TYPE_INT64,
    float: _FIELD.TYPE_DOUBLE,
    str: _FIELD.TYPE_STRING,
}


@lru_cache(maxsize=256)
def message_type(schema: Schema) -> type[Message]:
    """Return the message type of a list of records, as ``protoc`` would compile it.

    ``message Record { int64 id = 1; double latitude = 2; ... }``
    ``message Records { repeated Record items = 1; }``
    """
    file = descriptor_pb2.FileDescriptorProto(name="records.proto", package="course", syntax="proto3")
    record = file.message_type.add(name="Record")
    for number, (name, kind) in enumerate(schema, start=1):
        # 19,000 to 19,999 are reserved by the format.
        record.field.add(name=name, number=number, type=_TYPES[kind], label=_FIELD.LABEL_OPTIONAL)
    file.message_type.add(name="Records").field.add(
        name="items",
        number=1,
        type=_FIELD.TYPE_MESSAGE,
        label=_FIELD.LABEL_REPEATED,
        type_name=".course.Record",
    )
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("course.Records"))


def encode(records: Sequence[Record], format: str) -> bytes:
    """Return the records in one of :data:`FORMATS`.

    JSON is written without white space, in UTF-8. A whole number must fit into 64 bits.

    Raises
    ------
    ValueError
        If the format is unknown, or the records do not have one schema.
    """
    checks.option("format", format, FORMATS)
    return _encoder(records, format, schema_of(records))()


def decode(data: bytes, format: str, schema: Schema) -> list[Record]:
    """Return the records that :func:`encode` wrote; only Protocol Buffers needs the `schema`."""
    checks.option("format", format, FORMATS)
    return _decoder(data, format, schema)()


def _encoder(records: Sequence[Record], format: str, schema: Schema) -> Callable[[], bytes]:
    if format == "JSON":
        return lambda: json.dumps(records, separators=(",", ":"), ensure_ascii=False).encode()
    if format == "MessagePack":
        return lambda: bytes(msgpack.packb(records))
    kind: Any = message_type(schema)
    return lambda: bytes(kind(items=records).SerializeToString())


def _decoder(data: bytes, format: str, schema: Schema) -> Callable[[], list[Record]]:
    if format == "JSON":
        return lambda: list(json.loads(data))
    if format == "MessagePack":
        return lambda: list(msgpack.unpackb(data))
    kind: Any = message_type(schema)
    names = [name for name, _ in schema]
    return lambda: [{name: getattr(item, name) for name in names} for item in kind.FromString(data).items]


@dataclass(frozen=True)
class Size:
    """Where the bytes of one encoding go.

    Attributes
    ----------
    format : str
    bytes : int
        All together.
    names : int
        The names of the fields, without quotes.
    values : int
        Numbers as they are written (in MessagePack with their type byte), texts without quotes and length.
    framing : int
        The rest: quotes, commas, braces; lengths and tags.
    """

    format: str
    bytes: int
    names: int
    values: int
    framing: int


def sizes(records: Sequence[Record]) -> list[Size]:
    """Return the size of the records in each format."""
    schema = schema_of(records)
    all_names = len(records) * sum(len(name) for name, _ in schema)
    texts = sum(
        len(value.encode()) for record in records for value in record.values() if isinstance(value, str)
    )
    numbers = [value for record in records for value in record.values() if not isinstance(value, str)]
    values = {
        "JSON": texts + sum(len(json.dumps(number)) for number in numbers),
        "MessagePack": texts + sum(len(msgpack.packb(number)) for number in numbers),
        "Protocol Buffers": texts + sum(_protobuf_bytes(number) for number in numbers),
    }
    found = []
    for format in FORMATS:
        total = len(_encoder(records, format, schema)())
        names = 0 if format == "Protocol Buffers" else all_names
        found.append(Size(format, total, names, values[format], total - names - values[format]))
    return found


def _protobuf_bytes(number: int | float) -> int:
    """Return the bytes of a number without its tag: seven bits a byte, or a double; zero is not sent."""
    if isinstance(number, float):
        return 8 if number or str(number) == "-0.0" else 0
    bits = (number % 2**64).bit_length()
    return -(-bits // 7)


def compressed(records: Sequence[Record]) -> dict[str, int]:
    """Return the bytes of each format after gzip (level 6), which depend a little on the zlib at hand."""
    return {
        format: len(gzip.compress(encode(records, format), compresslevel=6, mtime=0)) for format in FORMATS
    }


@dataclass(frozen=True)
class Timing:
    """What :func:`measure` found for one format.

    Attributes
    ----------
    format : str
    bytes_per_item, gzip_bytes_per_item : float
    encode_us, decode_us : float
        Microseconds an item, from Python dictionaries and back to them; for Protocol Buffers that includes
        making the message objects.
    """

    format: str
    bytes_per_item: float
    gzip_bytes_per_item: float
    encode_us: float
    decode_us: float


def measure(records: Sequence[Record], repeats: int = 7) -> list[Timing]:
    """Measure encoding and decoding in each format, here and now.

    Parameters
    ----------
    records : sequence of dict
    repeats : int
        Runs of each, 1 to 1,000; their median counts.

    Raises
    ------
    ValueError
        As :func:`encode`, or if `repeats` is out of range.
    """
    repeats = checks.integer("repeats", repeats, 1, 1_000)
    schema = schema_of(records)
    gzipped = compressed(records)
    found = []
    for format in FORMATS:
        write = _encoder(records, format, schema)
        data = write()
        read = _decoder(data, format, schema)
        n = len(records)
        found.append(
            Timing(
                format,
                len(data) / n,
                gzipped[format] / n,
                _median_us(write, repeats) / n,
                _median_us(read, repeats) / n,
            )
        )
    return found


def _median_us(action: Callable[[], object], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        start = time.perf_counter_ns()
        action()
        times.append(time.perf_counter_ns() - start)
    return statistics.median(times) / 1000
