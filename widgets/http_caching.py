"""HTTP caching as an explorable."""

from __future__ import annotations

import numpy as np

from course import http_caching as model
from course.http_resource import Policy
from widgets.controls import choice, log_slider, seed, slider
from widgets.explorable import choose, explorable
from widgets.plot import Axis, Panel, View, bars, count, line, percent

_VALIDATORS = {
    "none": ("none", False),
    "date": ("none", True),
    "weak tag": ("weak", False),
    "strong tag": ("strong", False),
}
_RULES = ("may be kept", "ask each time (no-cache)", "may not be kept (no-store)")


@explorable(
    "Who notices an edit?",
    predict=choose(
        "The server sends no tag, only a date, and the browser asks before every use. The page is edited twice within "
        "one second, and the browser asks between the two edits. Which version does it show an hour later?",
        "the second: it asks each time",
        "the first",
    ),
    leaves_out="shared caches on the way, and browsers that keep a page for going back whatever the headers say.",
    max_age=slider(0, 60, 0, "max-age", unit="s"),
    validator=choice(tuple(_VALIDATORS), "date", "what the browser can ask with"),
    rule=choice(_RULES, _RULES[0], "Cache-Control"),
    edit_every_s=log_slider(0.1, 100, 0.3, "an edit every", unit="s"),
    request_every_s=log_slider(0.1, 10, 0.3, "a request every", unit="s"),
    seed=seed(),
)
def revalidation(
    max_age: int, validator: str, rule: str, edit_every_s: float, request_every_s: float, seed: int
) -> View:
    """Count what 400 requests cost, and how often the answer was out of date."""
    etag, dated = _VALIDATORS[validator]
    policy = Policy(
        max_age=max_age,
        etag=etag,
        last_modified=dated,
        no_cache=rule == _RULES[1],
        no_store=rule == _RULES[2],
    )
    plan = model.schedule(400, request_every_s, edit_every_s, seed)
    run = model.revalidation(plan, policy)
    old = np.cumsum(run.out_of_date_request)
    answers = [run.from_cache, run.not_modified, run.full]
    saved = 1 - (run.body_bytes + run.header_bytes) / run.uncached_bytes
    return View(
        [
            Panel(
                [bars(np.arange(3), answers, "answers", color=0, text=[f"{number:,}" for number in answers])],
                Axis(
                    "answered by",
                    labels=["own copy", "304<br>not modified", "200<br>with the body"],
                    range=(-0.6, 2.6),
                ),
                Axis("requests", range=(0, 440)),
                title="What 400 requests became",
            ),
            Panel(
                [line(plan.request_s, old, "answers out of date so far", step=True, color=1)],
                Axis("time", "s"),
                Axis("answers out of date", range=(0, max(10, float(old[-1]) * 1.1))),
                title="What it cost in truth",
            ),
        ],
        f"Of 400 answers {run.from_cache} came from the browser’s own copy, {run.not_modified} were confirmed, {run.full} sent; "
        f"{percent(saved)} of the bytes were saved, and {count(run.out_of_date, 'answer')} "
        f"{'was' if run.out_of_date == 1 else 'were'} out of date.",
        answer="the first",
    )
