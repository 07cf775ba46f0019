from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from course.wire_formats import (
    FORMATS,
    PAYLOADS,
    compressed,
    decode,
    encode,
    field_names,
    make_records,
    measure,
    schema_of,
    sizes,
)

VALUES = {
    int: st.integers(-(2**63), 2**63 - 1),
    float: st.floats(allow_nan=False, allow_infinity=False),
    str: st.text(max_size=20),
}


@st.composite
def record_lists(draw):
    kinds = draw(st.lists(st.sampled_from(list(VALUES)), min_size=1, max_size=8))
    return draw(
        st.lists(
            st.fixed_dictionaries({f"f{i}": VALUES[kind] for i, kind in enumerate(kinds)}),
            min_size=1,
            max_size=5,
        )
    )


@given(record_lists(), st.sampled_from(FORMATS))
def test_what_is_encoded_is_decoded(records, format):
    back = decode(encode(records, format), format, schema_of(records))
    assert back == records
    assert schema_of(back) == schema_of(records), "an int stays an int, 1.0 a float"


@given(record_lists())
def test_the_parts_make_the_whole(records):
    for size in sizes(records):
        assert size.bytes == len(encode(records, size.format)) == size.names + size.values + size.framing
        assert size.framing > 0


@given(st.integers(-(2**63), 2**63 - 1))
def test_a_whole_number_takes_seven_bits_a_byte(number):
    """The encoding page of Protocol Buffers: varints; a negative int64 takes ten bytes; zero is not sent."""
    (size,) = [size for size in sizes([{"f": number}]) if size.format == "Protocol Buffers"]
    expected = 10 if number < 0 else math.ceil(number.bit_length() / 7)
    assert size.values == expected
    # Around it: tag and length of the item, and the tag of the field if it is sent.
    assert size.framing == 2 + (number != 0)


@pytest.mark.parametrize(
    ("number", "packed"), [(0, 1), (127, 1), (128, 2), (65_535, 3), (65_536, 5), (1.5, 9)]
)
def test_message_pack_sizes_are_those_of_its_specification(number, packed):
    (size,) = [size for size in sizes([{"f": number}]) if size.format == "MessagePack"]
    assert size.values == packed


def test_json_is_what_the_standard_library_writes_without_white_space():
    records = make_records(3, 4, "numbers")
    assert encode(records, "JSON").decode() == json.dumps(records).replace(" ", "")
    assert encode([{"a": "Zürich"}], "JSON") == '[{"a":"Zürich"}]'.encode()


def ratios(payload, items=200, fields=10):
    found = {size.format: size.bytes for size in sizes(make_records(items, fields, payload))}
    return {format: found[format] / found["JSON"] for format in FORMATS}


def test_binary_wins_on_numbers_and_barely_on_text():
    assert ratios("numbers")["Protocol Buffers"] < 0.4 < 0.7 < ratios("text")["Protocol Buffers"] < 1
    assert 0.6 < ratios("numbers")["MessagePack"] < 0.8 and 0.9 < ratios("text")["MessagePack"] < 1


def test_a_short_decimal_is_longer_as_a_double():
    for_prices = {size.format: size for size in sizes(make_records(200, 10, "prices"))}
    assert for_prices["JSON"].values < for_prices["Protocol Buffers"].values == 8 * 200 * 10
    # MessagePack names every field as JSON does, and sends nine bytes for five: it loses.
    assert for_prices["MessagePack"].bytes > for_prices["JSON"].bytes > for_prices["Protocol Buffers"].bytes


def test_json_repeats_the_names_and_protocol_buffers_none():
    records = make_records(50, 20, "numbers")
    once = sum(map(len, field_names(20)))
    assert {size.format: size.names for size in sizes(records)} == {
        "JSON": 50 * once,
        "MessagePack": 50 * once,
        "Protocol Buffers": 0,
    }


def test_gzip_takes_the_names_away():
    """What is said once and repeated costs next to nothing: the formats come within a third of each other."""
    records = make_records(1_000, 10, "numbers")
    before = {size.format: size.bytes for size in sizes(records)}
    after = compressed(records)
    assert before["JSON"] > 2.5 * before["Protocol Buffers"]
    assert after["JSON"] < 0.6 * before["JSON"] and after["JSON"] < 1.4 * after["Protocol Buffers"]


@pytest.mark.parametrize("payload", PAYLOADS)
def test_records_are_seeded_and_of_one_schema(payload):
    records = make_records(20, 30, payload, seed=3)
    assert records == make_records(20, 30, payload, seed=3) != make_records(20, 30, payload, seed=4)
    assert [name for name, _ in schema_of(records)] == field_names(30) and len(set(field_names(30))) == 30


def test_measure_says_what_the_formats_weigh():
    records = make_records(20, 5, "text")
    rows = measure(records, repeats=2)
    assert [row.format for row in rows] == list(FORMATS)
    assert [row.bytes_per_item * 20 for row in rows] == [size.bytes for size in sizes(records)]
    assert all(row.encode_us > 0 and row.decode_us > 0 and row.gzip_bytes_per_item > 0 for row in rows)


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([], "at least one record"),
        ([{"a": 1}, {"a": 1.0}], r"records\[1\]: must have the same fields"),
        ([{"a": 1}, {"b": 1}], r"records\[1\]: must have the same fields"),
        ([{"a": True}], "'a' is bool"),
        ([{"a b": 1}], "'a b' is int: .* named by an identifier"),
    ],
)
def test_what_is_no_table_is_refused(records, message):
    with pytest.raises(ValueError, match=message):
        encode(records, "JSON")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: make_records(0, 1, "text"), "items = 0"),
        (lambda: make_records(1, 0, "text"), "fields = 0"),
        (lambda: make_records(1, 1, "video"), "payload = 'video'"),
        (lambda: encode([{"a": 1}], "XML"), "format = 'XML'"),
        (lambda: decode(b"", "XML", ()), "format = 'XML'"),
        (lambda: measure([{"a": 1}], repeats=0), "repeats = 0"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
