"""What a learner sees: their own mistakes in words, never a traceback of ours, and a check that always comes back."""

from __future__ import annotations

import asyncio
import json
import linecache
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from course import exercises
from course.classroom import check, hint, progress
from course.classroom.check import Result, examine
from course.classroom.record import Entry
from course.exercises import limits


def cell(source: str, **names: object) -> dict[str, Any]:
    """Run a cell as a kernel does, so that its lines can be found again."""
    name = f"<cell {hash(source)}>"
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    namespace: dict[str, Any] = {"check": check, "hint": hint, "progress": progress, **names}
    exec(compile(source, name, "exec"), namespace)
    return namespace


def checked(exercise_id: str, source: str, limit_s: float = 5) -> Result:
    return examine(replace(exercises.find(exercise_id), limit_s=limit_s), cell(source))


def in_a_notebook(exercise_id: str, source: str, limit_s: float = 5) -> Result:
    """Check while a loop runs in this thread, as it does in a kernel."""

    async def kernel() -> Result:
        return checked(exercise_id, source, limit_s)

    return asyncio.run(kernel())


def in_another_thread(exercise_id: str, source: str, limit_s: float = 5) -> Result:
    found: list[Result] = []
    thread = threading.Thread(target=lambda: found.append(checked(exercise_id, source, limit_s)))
    thread.start()
    thread.join()
    return found[0]


everywhere = pytest.mark.parametrize("where", [checked, in_a_notebook, in_another_thread])
Where = Callable[..., Result]

RIGHT = """
def hit_ratio_for(target_ms, hit_ms, miss_ms):
    return max(0, (hit_ms + miss_ms - target_ms) / miss_ms)
"""


# --- the answer and the result ------------------------------------------------------------------------------


def test_the_answer_is_found_where_check_is_called() -> None:
    result = cell(f"{RIGHT}\nresult = check('caching.hit_ratio')")["result"]
    assert result.state == "right"
    assert repr(result) == "\n".join(
        [
            "Compute: which hit ratio?: right, 3 of 3 points",
            "  ✓ targets that need a cache (2 of 2)",
            "  ✓ targets that misses alone may meet (1 of 1)",
            "It held for 60 cases.",
        ]
    )


def test_an_answer_that_is_not_there_is_asked_for(record_path: Path) -> None:
    result = cell("result = check('caching.hit_ratio')")["result"]
    assert result.state == "missing"
    assert "There is no `hit_ratio_for` yet: run the cell with your answer first" in repr(result)
    assert not record_path.exists()


def test_what_was_proved_is_counted() -> None:
    exercise = exercises.find("caching.lru")
    operations = [len(case.given["operations"]) for part in exercise.parts for case in exercise.cases(part)]
    said = examine(exercise, {"LRU": exercise.right}).said
    assert said == f"It held for {sum(operations):,} operations in {len(operations)} sequences."


def test_html_says_the_same_and_escapes() -> None:
    result = checked("caching.hit_ratio", "def hit_ratio_for(*_):\n    raise KeyError('<b>&')")
    html = result._repr_html_()
    assert "KeyError: &#x27;&lt;b&gt;&amp;&#x27;" in html
    assert "<b>&" not in html
    for text in ("not yet, 0 of 3 points", "hit_ratio_for(20, 1, 100)", "✗ targets that need a cache"):
        assert text in html


@pytest.mark.parametrize(("source", "colour"), [(RIGHT, "#009e73"), (RIGHT.replace("max", "min"), "#d55e00")])
def test_green_is_right_and_red_is_not(source: str, colour: str) -> None:
    assert colour in checked("caching.hit_ratio", source)._repr_html_()


def test_what_the_answer_prints_is_kept_out_and_shown_with_the_case_that_goes_wrong(
    capsys: pytest.CaptureFixture[str],
) -> None:
    printing = "def hit_ratio_for(*given):\n    print('asked for', given)\n    return 0.5"
    result = checked("caching.hit_ratio", printing)
    assert result.printed == "asked for (20, 1, 100)\n"
    assert "printed   asked for (20, 1, 100)" in repr(result)
    assert "right, 3 of 3" in repr(
        checked("caching.hit_ratio", RIGHT.replace("return", "print(1)\n    return"))
    )
    assert capsys.readouterr() == ("", "")


def test_an_answer_cannot_spoil_its_case() -> None:
    """It gets a copy of each case: what it does to its arguments is its own affair."""
    spoiling = """
import itertools
def hot_columns(widths, queries):
    def bytes_read(first):
        tables = [first, set(names) - first]
        rows = [8 + sum(names[column] for column in table) for table in tables]
        return sum(t * sum(r for table, r in zip(tables, rows) if table & columns) for columns, t in asked)
    names, asked = dict(widths), [(set(columns), times) for columns, times in queries]
    for columns, _ in queries:
        columns.clear()
    queries.clear()
    widths.clear()
    return min((set(s) for n in range(9) for s in itertools.combinations(names, n)), key=bytes_read)
"""
    for _ in range(2):
        result = checked("scalability.hot_columns", spoiling, 5)
        assert result.state == "right", result


# --- exceptions ---------------------------------------------------------------------------------------------


def test_an_exception_is_shown_with_their_line_and_none_of_ours() -> None:
    source = "class LRU:\n    def __init__(self, capacity):\n        self.d = {}\n\n    def get(self, key):\n"
    source += (
        "        return self.d[key]  # here\n\n    def put(self, key, value):\n        self.d[key] = value"
    )
    text = repr(checked("caching.lru", source))
    assert "input     LRU(2), then get(1)" in text or "input     LRU(3), then get(" in text
    assert "in line 6 of your cell: return self.d[key]  # here" in text
    assert "Your code raised an exception." in text
    for ours in ("Traceback", "drivers", "limits", "course/", "__tracebackhide__"):
        assert ours not in text


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero, in line 2 of your cell: 1 / 0"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("exit()", "NameError"),
        ("raise ValueError", "ValueError, in line 2"),
        ("return hit_ratio_for(*given)", "RecursionError: maximum recursion depth exceeded"),
        ("__import__('json').loads('{')", "in line 2 of your cell: __import__('json').loads('{')"),
        ("raise type('Odd', (Exception,), {'__str__': lambda self: 1 / 0})", "got       Odd, in line 2"),
        ("raise ValueError('x' * 10**7)", "ValueError: xxx"),
        ("raise GeneratorExit", "GeneratorExit"),
        ("raise MemoryError", "MemoryError"),
    ],
)
def test_whatever_is_raised_is_shown_as_theirs(line: str, said: str) -> None:
    builtins = {key: value for key, value in __import__("builtins").__dict__.items() if key != "exit"}
    source = f"def hit_ratio_for(*given):\n    {line}"
    exercise = exercises.find("caching.hit_ratio")
    text = repr(examine(exercise, cell(source, __builtins__=builtins)))
    assert said in text
    assert len(text) < 5_000
    assert "Traceback" not in text


def test_a_wrong_signature_is_said() -> None:
    text = repr(checked("caching.hit_ratio", "def hit_ratio_for(target_ms):\n    return 1"))
    assert "takes 1 positional argument but 3 were given" in text
    assert "hit_ratio_for(20, 1, 100)" in text


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("async def hit_ratio_for(*given):\n    return 0.81", "leave out `async`"),
        ("def hit_ratio_for(*given):\n    yield 0.81", "gives a generator"),
        ("def hit_ratio_for(*given):\n    return print", "not what it returns"),
        ("def hit_ratio_for(*given):\n    return object()", "an object of type object"),
        ("def hit_ratio_for(*given):\n    return 10 ** 100_000", "digits"),
        ("def hit_ratio_for(*given):\n    return range(10 ** 9)", "too much to be compared"),
        ("def hit_ratio_for(*given):\n    a = []\n    a.append(a)\n    return a", "too much to be compared"),
        ("def hit_ratio_for(*given):\n    return {1: 2}", "keys are not text"),
        ("hit_ratio_for = 0.81", "must be a function"),
        ("class hit_ratio_for:\n    pass", "must be a function"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_what_cannot_be_compared_is_refused_in_a_sentence(source: str, said: str) -> None:
    result = checked("caching.hit_ratio", source)
    assert result.state == "wrong"
    assert said in repr(result)


def test_stop_is_not_a_traceback(record_path: Path) -> None:
    source = "def hit_ratio_for(*_):\n    raise KeyboardInterrupt\nresult = check('caching.hit_ratio')"
    result = cell(source)["result"]
    assert result.state == "stopped"
    assert "You stopped the check." in repr(result)
    assert not record_path.exists()


@pytest.mark.skipif(os.name == "nt", reason="Windows does not interrupt a wait")
def test_stop_ends_an_answer_that_runs_in_a_thread_of_its_own() -> None:
    stop = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    stop.start()
    result = checked("caching.single_flight", COROUTINE.format("while True: pass"), 60)
    stop.join()
    assert result.state == "stopped"
    assert "an answer" not in [thread.name for thread in threading.enumerate()]


# --- answers that do not come back --------------------------------------------------------------------------

SHORT_S = 0.3


@pytest.mark.parametrize(
    "body",
    [
        "while True: pass",
        "while True:\n        try:\n            1 + 1\n        except: pass",
        "while True:\n        try: raise ValueError\n        except Exception: continue",
        "while True: print('x' * 1000)",
        "return sum(1 for _ in iter(int, 1))",
    ],
)
@everywhere
def test_an_endless_loop_is_stopped(where: Where, body: str) -> None:
    before = threading.active_count()
    result = where("caching.hit_ratio", f"def hit_ratio_for(*given):\n    {body}", SHORT_S)
    assert "did not come back within 0.3 s and was stopped" in repr(result)
    assert [part.tried for part in result.parts] == [True, False]
    assert len(result.printed) <= 2_000
    assert threading.active_count() == before


@pytest.mark.parametrize(
    "body", ["time.sleep(60)", "while True:\n        try: time.sleep(60)\n        except: pass"]
)
@pytest.mark.parametrize("where", [checked, in_a_notebook])
@pytest.mark.skipif(not hasattr(limits.signal, "setitimer"), reason="Windows has no interval timer")
def test_a_blocking_sleep_is_interrupted_on_the_main_thread(where: Where, body: str) -> None:
    before = threading.active_count()
    result = where("caching.hit_ratio", f"import time\ndef hit_ratio_for(*given):\n    {body}", SHORT_S)
    assert "did not come back within 0.3 s" in repr(result)
    assert threading.active_count() == before


def test_a_blocking_sleep_in_another_thread_is_not_waited_for() -> None:
    """It gets its exception when it wakes; its thread is a daemon and keeps no process from ending."""
    result = in_another_thread(
        "caching.hit_ratio", "import time\ndef hit_ratio_for(*given):\n    time.sleep(3)", SHORT_S
    )
    assert "did not come back within 0.3 s" in repr(result)
    left = [thread for thread in threading.enumerate() if thread.name == "an answer"]
    assert len(left) == 1 and left[0].daemon
    left[0].join(10)
    assert not left[0].is_alive()


COROUTINE = """
import asyncio, time
class MySingleFlight:
    def __init__(self, load):
        self.load = load
    async def get(self, key):
        {}
"""


@pytest.mark.parametrize(
    "body",
    [
        "while True: pass",
        "while True: await asyncio.sleep(1)",
        "while True:\n            try: await self.load(key)\n            except: pass",
    ],
)
@everywhere
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_endless_coroutine_is_stopped(where: Where, body: str) -> None:
    before = threading.active_count()
    result = where("caching.single_flight", COROUTINE.format(body), SHORT_S)
    assert "did not come back within 0.3 s" in repr(result)
    assert threading.active_count() == before


def test_a_blocking_sleep_in_a_coroutine_is_not_waited_for() -> None:
    result = in_a_notebook("caching.single_flight", COROUTINE.format("time.sleep(3)"), SHORT_S)
    assert "did not come back within 0.3 s" in repr(result)
    left = [thread for thread in threading.enumerate() if thread.name == "an answer"]
    assert all(thread.daemon for thread in left)
    for thread in left:
        thread.join(10)


@everywhere
def test_a_coroutine_that_waits_for_ever_is_told_so_at_once(where: Where) -> None:
    body = "await asyncio.get_running_loop().create_future()"
    assert "waits for something that never happens" in repr(
        where("caching.single_flight", COROUTINE.format(body))
    )


@everywhere
def test_a_coroutine_may_sleep_for_long(where: Where) -> None:
    """Its time is virtual."""
    body = "await asyncio.sleep(10**6); return await self.load(key)"
    result = where("caching.single_flight", COROUTINE.format(body), 5)
    assert "waits for that one" in repr(result)


def test_points_earned_before_a_hang_stay() -> None:
    source = RIGHT.replace("return", "while target_ms > hit_ms + miss_ms: pass\n    return")
    result = checked("caching.hit_ratio", source, 1)
    assert (result.state, result.points) == ("wrong", 2)
    assert "hit_ratio_for(200, 1, 100)" in repr(result)


def test_an_answer_with_state_is_stopped_once_for_all_cases() -> None:
    """Slow at each case, endless at none: the limit is for all of them together."""
    source = RIGHT.replace("return", "import time; time.sleep(0.02)\n    return")
    assert "did not come back within 0.3 s" in repr(checked("caching.hit_ratio", source, SHORT_S))


# --- hints and progress -------------------------------------------------------------------------------------


def test_each_hint_climbs_one_step_and_stays_at_the_top(record_path: Path) -> None:
    ladder = exercises.find("caching.lru").ladder
    assert [len(hint("caching.lru").steps) for _ in range(5)] == [1, 2, 3, 4, 4]
    assert hint("caching.lru").steps == ladder
    assert json.loads(record_path.read_text("utf-8"))["caching.lru"]["hints"] == 4


def test_hints_go_on_after_a_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    hint("caching.lru")
    monkeypatch.setattr(sys.modules["course.classroom.check"], "_given", {})
    text = repr(hint("caching.lru"))
    assert "Hint 1 of 4. You need the entries in the order of their last use." in text
    assert "Hint 2 of 4. `dict` remembers" in text
    assert "Hint 3" not in text


def test_hints_climb_where_nothing_can_be_kept(record_path: Path) -> None:
    record_path.parent.write_text("a file where the folder should be")
    assert [len(hint("caching.ttl").steps) for _ in range(3)] == [1, 2, 3]


def test_the_solution_is_called_so() -> None:
    for _ in range(3):
        hint("caching.size")
    markdown = hint("caching.size")._repr_markdown_()
    assert "**The solution.**" in markdown and "my_size = size_for_the_ratio()" in markdown


def test_checks_are_counted_and_the_best_is_kept(record_path: Path) -> None:
    cell(RIGHT + "\ncheck('caching.hit_ratio')")
    cell(RIGHT.replace("max(0, ", "(") + "\ncheck('caching.hit_ratio')")
    cell("def hit_ratio_for(*_): pass\ncheck('caching.hit_ratio')")
    assert json.loads(record_path.read_text("utf-8")) == {
        "caching.hit_ratio": {"best": 3, "checks": 2, "hints": 0}
    }


def test_a_check_shows_its_result_where_nothing_can_be_kept(record_path: Path) -> None:
    record_path.parent.write_text("a file where the folder should be")
    result = cell(RIGHT + "\nresult = check('caching.hit_ratio')")["result"]
    assert result.state == "right"
    assert (
        "Your progress was not kept" in repr(result) and "Your progress was not kept" in result._repr_html_()
    )


def test_progress_begins_with_the_first_exercise() -> None:
    text = repr(progress())
    assert "Caching                  0 of 6 solved" in text
    assert "Start with “Compute: what the load test says” in Scalability: check('scalability.law')." in text


def test_progress_counts_and_says_where_to_go_on() -> None:
    cell(RIGHT + "\ncheck('caching.hit_ratio')")
    hint("caching.lru")
    shown = progress()
    assert "1 of 6" in repr(shown) and "3 of 18" in repr(shown)
    assert "Go on with “Build: an LRU cache” in Caching: check('caching.lru')." in repr(shown)
    assert "<td style='text-align:left'>3 of 18</td>" in shown._repr_html_()


def test_progress_goes_back_to_what_was_left_out_and_comes_to_an_end() -> None:
    rows = progress().rows
    solved = [(exercise, Entry(exercise.points, 1)) for exercise, _ in rows]
    assert "You have solved every exercise there is." in repr(replace(progress(), rows=tuple(solved)))
    left_out = [(solved[0][0], Entry()), *solved[1:]]
    assert replace(progress(), rows=tuple(left_out)).next is solved[0][0]
