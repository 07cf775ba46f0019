import asyncio

import pytest

from course import virtual_time
from course.cache_samples import (
    KEY,
    SCENES,
    Cache,
    Database,
    OrderedFlusher,
    TimerRefresh,
    demonstrate,
)


@pytest.mark.parametrize("scene", SCENES)
def test_each_scene_shows_its_bug_and_its_cure(scene):
    c = demonstrate(scene)
    assert c.erratum.startswith("E") and c.scene
    assert c.broken != c.mended
    # whatever the bug: in the end the cure's cache holds what the database holds, and its last reader was
    # told so
    assert c.mended.cached == c.mended.stored == c.mended.answers[-1]
    assert demonstrate(scene) == c


def test_all_errata_are_there():
    assert {demonstrate(scene).erratum for scene in SCENES} == {"E77", "E83", "E85", "E88", "E89", "E90"}


def test_a_get_that_is_not_awaited_never_asks_the_database():
    broken = demonstrate("unawaited get").broken
    assert broken.answers == (None, None, None) and broken.database_calls == 0


def test_a_falsy_value_is_loaded_every_time():
    c = demonstrate("falsy value")
    assert (c.broken.database_calls, c.mended.database_calls) == (3, 1)


def test_a_patch_hides_the_rest_of_the_row():
    c = demonstrate("cached patch")
    assert "name" not in c.broken.answers[0] and c.mended.answers[0]["name"] == "Ada"


def test_write_around_serves_the_old_value():
    c = demonstrate("write-around")
    assert c.broken.answers == ("v0", "v0") and c.broken.stored == "v1"


def test_deleting_before_the_write_has_ended_brings_the_old_row_back_for_good():
    broken = demonstrate("unawaited write").broken
    assert broken.cached == "v0" and broken.stored == "v1"


def test_the_queue_of_the_guide_ends_with_two_in_the_cache_and_one_in_the_database():
    broken = demonstrate("write-back order").broken
    assert (broken.cached, broken.stored) == ("v2", "v1")
    assert "not marked dirty" in broken.note


def test_the_queue_of_the_guide_forgets_a_batch_that_failed():
    c = demonstrate("write-back error")
    assert c.broken.stored == "v0" and c.broken.answers == ("v1",)
    assert c.mended.stored == "v1" and c.mended.note == "clean"


def test_the_timer_stores_a_pending_call_for_six_weeks():
    c = demonstrate("refresh-ahead")
    assert c.broken.cached == "<Task>" and "41.67 days" in c.broken.note
    assert "0.04 days" in c.mended.note


def test_the_timer_loads_what_nobody_reads():
    async def main():
        database = Database({f"user:{i}": i for i in range(50)})
        store = TimerRefresh(Cache(entries=dict.fromkeys(database.rows, (0, 100.0))), database)
        await store.refresh()
        return database.calls

    assert virtual_time.run(main()) >= 49  # the last call may not have begun yet


@pytest.mark.parametrize("delays", [(0.04, 0.01), (0.01, 0.04), (0.05, 0.03, 0.01), (0.01,)])
@pytest.mark.parametrize("failing", [(), (0,), (1,), (0, 1, 2)])
@pytest.mark.parametrize("gap_s", [0.0, 0.005, 0.02, 0.1])
def test_the_flusher_ends_right_in_every_order(delays, failing, gap_s):
    async def main(make):
        database = Database({KEY: "v0", "user:2": "w0"}, delays, failing)
        store = make(Cache(), database)
        for value in ("v1", "v2", "v3"):
            await store.write(KEY, value)
            await store.write("user:2", "w" + value[1])
            await asyncio.sleep(gap_s)
        await asyncio.sleep(5)
        return database.rows, store.dirty

    assert virtual_time.run(main(OrderedFlusher)) == ({KEY: "v3", "user:2": "w3"}, set())


def test_unknown_scene_is_refused():
    with pytest.raises(ValueError, match=r"^scene = 'x': must be one of 'unawaited get'"):
        demonstrate("x")
