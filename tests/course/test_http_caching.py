import math
import threading

import httpx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from course import http_caching as hc
from course import http_resource as resource
from course.http_conditions import (
    CASES,
    evaluate,
    http_date,
    parse_date,
    parse_tags,
    strong_match,
    weak_match,
)
from course.http_origin import origin, serve

# --- conditions ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.why)
def test_conditional_request(case):
    assert evaluate(case.method, case.headers, case.etag, case.last_modified, case.now) == case.status


def test_there_are_cases_of_every_kind():
    assert len(CASES) >= 10 and len({case.why for case in CASES}) == len(CASES)
    assert {case.status for case in CASES} == {200, 206, 304, 412}


def test_tag_comparison_is_the_table_of_rfc_9110():
    # section 8.8.3.2: tag, tag, strong, weak
    for a, b, strong, weak in [
        ('W/"1"', 'W/"1"', False, True),
        ('W/"1"', 'W/"2"', False, False),
        ('W/"1"', '"1"', False, True),
        ('"1"', '"1"', True, True),
    ]:
        assert (strong_match(a, b), weak_match(a, b)) == (strong, weak)
        assert (strong_match(b, a), weak_match(b, a)) == (strong, weak)


@given(st.lists(st.tuples(st.booleans(), st.text("ab,; \t!", max_size=5)), max_size=5))
def test_tags_survive_being_listed(tags):
    written = [("W/" if weak else "") + f'"{opaque}"' for weak, opaque in tags]
    assert parse_tags(", ".join(written)) == written


def test_dates_round_down_and_back():
    assert http_date(1_700_000_000.99) == "Tue, 14 Nov 2023 22:13:20 GMT"
    assert parse_date(http_date(1_700_000_000.99)) == 1_700_000_000
    assert parse_date("nonsense") is None


# --- the real server -------------------------------------------------------------------------------------


@pytest.fixture
def lab():
    """Clock, document, and a function that asks a server with the given policy."""

    class Lab:
        clock = hc.Clock(resource.EPOCH + 1_000.0)
        document = resource.Document(1_000)

        def ask(self, policy, method="GET", content=None, **fields):
            headers = {name.replace("_", "-"): value for name, value in fields.items()}
            with serve(origin(self.document, policy, self.clock)) as address:
                return httpx.request(
                    method, f"{address}/document", headers=headers, content=content, trust_env=False
                )

    return Lab()


def test_a_304_repeats_what_caches_need_and_has_no_body(lab):
    full = lab.ask(resource.Policy())
    assert full.status_code == 200 and len(full.content) == 1_000
    assert full.headers["date"] == http_date(lab.clock.now)  # the experiment's clock and no second Date
    assert len(full.headers.get_list("date")) == 1
    again = lab.ask(resource.Policy(), if_none_match=full.headers["etag"])
    assert again.status_code == 304 and again.content == b""
    for name in ("date", "etag", "cache-control"):
        assert again.headers[name] == full.headers[name]


def test_weak_tag_survives_an_edit_of_white_space_and_a_strong_one_does_not(lab):
    tags = {kind: lab.ask(resource.Policy(etag=kind)).headers["etag"] for kind in ("weak", "strong")}
    lab.document.edit(lab.clock.now, white_space_only=True)
    assert lab.ask(resource.Policy(etag="weak"), if_none_match=tags["weak"]).status_code == 304
    assert lab.ask(resource.Policy(etag="strong"), if_none_match=tags["strong"]).status_code == 200
    lab.document.edit(lab.clock.now)
    assert lab.ask(resource.Policy(etag="weak"), if_none_match=tags["weak"]).status_code == 200


def test_if_match_averts_a_lost_update(lab):
    tag = lab.ask(resource.Policy()).headers["etag"]
    assert lab.ask(resource.Policy(), "PUT", b"x", if_match=tag).status_code == 204
    assert lab.ask(resource.Policy(), "PUT", b"x", if_match=tag).status_code == 412
    assert lab.document.revision == 1


@pytest.mark.parametrize(
    ("asked", "status", "got", "told"),
    [
        ("bytes=0-9", 206, slice(0, 10), "bytes 0-9/1000"),
        ("bytes=990-", 206, slice(990, 1000), "bytes 990-999/1000"),
        ("bytes=-10", 206, slice(990, 1000), "bytes 990-999/1000"),
        ("bytes=0-5000", 206, slice(0, 1000), "bytes 0-999/1000"),
        ("bytes=5000-", 416, slice(0, 0), "bytes */1000"),
        ("bytes=9-5", 200, slice(0, 1000), None),
        ("bytes=0-1,5-6", 200, slice(0, 1000), None),
        ("pages=1-2", 200, slice(0, 1000), None),
    ],
)
def test_ranges(lab, asked, status, got, told):
    response = lab.ask(resource.Policy(), range=asked)
    assert response.status_code == status
    assert response.content == lab.document.body[got]
    assert response.headers.get("content-range") == told


def test_head_has_the_fields_and_no_body(lab):
    response = lab.ask(resource.Policy(), "HEAD")
    assert response.status_code == 200 and response.content == b""
    assert response.headers["content-length"] == "1000" and "etag" in response.headers


def test_server_is_gone_afterwards_even_after_an_error():
    address = ""

    def broken():
        nonlocal address
        with serve(origin(resource.Document(), resource.Policy())) as address:
            raise KeyError("in the cell")

    with pytest.raises(KeyError):
        broken()
    with pytest.raises(httpx.ConnectError):
        httpx.get(address, trust_env=False)
    assert not [thread for thread in threading.enumerate() if thread.name == "origin"]


# --- freshness and the private cache ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"cache-control": "public, max-age=60"}, 60),
        ({"cache-control": 'MAX-AGE="60"'}, 60),
        ({"cache-control": "max-age=soon", "date": http_date(0), "expires": http_date(99)}, 0),
        ({"cache-control": "s-maxage=9", "date": http_date(0), "expires": http_date(99)}, 99),
        ({"cache-control": "max-age=5", "date": http_date(0), "expires": http_date(99)}, 5),
        ({"date": http_date(0), "expires": "0"}, 0),
        ({"date": http_date(1_000), "last-modified": http_date(0)}, 100),
        ({"date": http_date(0)}, 0),
        ({}, 0),
    ],
)
def test_freshness_lifetime(headers, seconds):
    assert hc.freshness_s(headers) == seconds


def private_cache(answer):
    clock, asked = hc.Clock(), []

    def handle(request):
        asked.append(request)
        return answer(request)

    return hc.PrivateCache(httpx.Client(transport=httpx.MockTransport(handle)), clock), clock, asked


def test_cache_uses_validates_and_replaces():
    def answer(request):
        if request.headers.get("if-none-match") == '"a"':
            return httpx.Response(304, headers={"etag": '"a"', "cache-control": "max-age=100"})
        return httpx.Response(200, headers={"etag": '"a"', "cache-control": "max-age=10"}, content=b"one")

    cache, clock, asked = private_cache(answer)
    sources = []
    for second in (0, 9.9, 10, 109, 110.5):
        clock.now = resource.EPOCH + second
        sources.append(cache.get("http://x/").source)
    # the 304 of second 10 also brings a longer life
    assert sources == ["origin", "cache", "validated", "cache", "validated"]
    assert cache.status == {200: 1, 304: 2} and cache.body_bytes == 3 and len(asked) == 3


@pytest.mark.parametrize(
    ("headers", "source"),
    [
        ({"cache-control": "no-store, max-age=60"}, "origin"),
        ({"cache-control": "max-age=60", "vary": "accept"}, "origin"),
        ({"cache-control": "max-age=60"}, "cache"),
        ({"cache-control": "private, max-age=60"}, "cache"),
        ({"cache-control": "no-cache, max-age=60"}, "origin"),
        ({"cache-control": "max-age=0, stale-while-revalidate=60"}, "stale"),
        ({"cache-control": "max-age=0, stale-while-revalidate=60, must-revalidate"}, "origin"),
    ],
)
def test_what_a_second_request_gets(headers, source):
    cache, clock, _ = private_cache(lambda _: httpx.Response(200, headers=headers, content=b"x"))
    cache.get("http://x/")
    clock.now += 1
    assert cache.get("http://x/").source == source


def test_a_put_makes_the_cache_forget_if_it_succeeded():
    def answer(request):
        status = 200 if request.method == "GET" else int(request.content)
        return httpx.Response(status, headers={"cache-control": "max-age=60"})

    cache, _, _ = private_cache(answer)
    cache.get("http://x/")
    assert cache.put("http://x/", b"412") == 412
    assert cache.get("http://x/").source == "cache"
    assert cache.put("http://x/", b"204") == 204
    assert cache.get("http://x/").source == "origin"


# --- the model against the server ------------------------------------------------------------------------


def assert_same(model, real):
    for name in model.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(model, name), getattr(real, name), err_msg=name)


@given(
    policy=st.builds(
        resource.Policy,
        max_age=st.sampled_from([None, 0, 1, 3, 20]),
        etag=st.sampled_from(resource.ETAGS),
        last_modified=st.booleans(),
        no_cache=st.booleans(),
        no_store=st.booleans(),
        stale_while_revalidate=st.sampled_from([0, 2, 15]),
    ),
    edit_every_s=st.floats(0.1, 30),
    request_every_s=st.floats(0.1, 5),
    seed=st.integers(0, 1_000),
)
@settings(max_examples=25)
def test_model_counts_what_the_server_and_the_cache_count(policy, edit_every_s, request_every_s, seed):
    plan = hc.schedule(30, request_every_s, edit_every_s, seed)
    assert_same(hc.revalidation(plan, policy, 500), hc.browse(plan, policy, 500))


def plan(requests, edits):
    return hc.Schedule(np.array(requests, float), np.array(edits, float))


def test_last_modified_misses_the_second_edit_of_a_second():
    twice = plan([0.1, 10.5, 20.0, 30.0], [10.2, 10.7])
    by_date = hc.browse(twice, resource.Policy(max_age=0, etag="none"))
    assert by_date.out_of_date_request.tolist() == [False, False, True, True]
    assert by_date.not_modified == 2
    by_tag = hc.browse(twice, resource.Policy(max_age=0, etag="strong"))
    assert by_tag.out_of_date == 0 and by_tag.not_modified == 1


def test_fresh_means_old_for_at_most_max_age():
    edits = plan(np.arange(0, 100, 0.5), [10.25])
    r = hc.revalidation(edits, resource.Policy(max_age=7))
    # stored at 0, 7, 14: out of date from 10.25 until 14
    assert np.flatnonzero(r.out_of_date_request).tolist() == list(range(21, 28))
    assert r.full == 2 and r.not_modified == 13


def test_no_cache_is_never_old_and_no_store_never_saves():
    history = hc.schedule(300, 1, 3)
    fresh = hc.revalidation(history, resource.Policy(no_cache=True))
    assert fresh.out_of_date == 0 < fresh.not_modified
    assert 0 < fresh.body_bytes < fresh.uncached_bytes
    plain = hc.revalidation(history, resource.Policy(no_store=True))
    assert plain.full == 300 and plain.body_bytes + plain.header_bytes == plain.uncached_bytes


def test_a_304_is_not_free():
    r = hc.revalidation(plan(range(100), []), resource.Policy(max_age=0), size=64)
    assert r.not_modified == 99 and r.body_bytes == 64
    assert r.header_bytes > 100 * 64  # for so small a document the fields weigh more than the body saved


def test_poisson_schedule_has_the_rates_asked_for():
    s = hc.schedule(10_000, 2.0, 5.0)
    # Poisson: relative error 1/sqrt(n), five of them
    assert s.request_s[-1] / 10_000 == pytest.approx(2.0, rel=5 / 100)
    n = s.request_s[-1] / 5
    assert len(s.edit_s) == pytest.approx(n, abs=5 * math.sqrt(n))


def test_the_http_cache_is_not_local_storage():
    stores = {row["store"]: row for row in hc.BROWSER_STORES}
    assert set(stores) == {"HTTP cache", "localStorage", "sessionStorage", "IndexedDB"}
    assert "script" not in stores["HTTP cache"]["filled by"]
    for name in ("localStorage", "sessionStorage"):
        assert "script" in stores[name]["filled by"] and "5 MiB" in stores[name]["size"]


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("max_age", lambda: resource.Policy(max_age=-1)),
        ("etag", lambda: resource.Policy(etag="medium")),
        ("stale_while_revalidate", lambda: resource.Policy(stale_while_revalidate=10**9)),
        ("size", lambda: resource.Document(0)),
        ("size", lambda: hc.revalidation(plan([0], []), resource.Policy(), size=10**9)),
        ("requests", lambda: hc.schedule(10**6)),
        ("request_every_s", lambda: hc.schedule(10, 0)),
        ("edit_every_s", lambda: hc.schedule(10, 1, math.nan)),
        ("number of requests", lambda: hc.revalidation(plan([], []), resource.Policy())),
        ("request_s", lambda: hc.revalidation(plan([2, 1], []), resource.Policy())),
        ("edit_s", lambda: hc.browse(plan([1], [math.nan]), resource.Policy())),
    ],
)
def test_impossible_experiment_is_refused_by_name(name, make):
    with pytest.raises(ValueError, match=f"^{name} = "):
        make()
