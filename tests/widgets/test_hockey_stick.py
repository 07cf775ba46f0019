"""A drag of the hockey stick replays what is drawn already, and the simulation lies on the formula."""

from __future__ import annotations

from typing import Any

import pytest

import widgets
from course import queueing


def test_a_drag_draws_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    stick = widgets.queueing.hockey_stick
    stick.view()

    def refuse(*_arguments: Any, **_settings: Any) -> None:
        raise AssertionError("drawn anew")

    monkeypatch.setattr(queueing, "draw", refuse)
    first = stick.view(utilisation=0.5)
    assert stick.view(utilisation=0.51).fingerprint() != first.fingerprint()
    with pytest.raises(AssertionError, match="drawn anew"):
        stick.view(seed=77)


@pytest.mark.parametrize("utilisation", [0.5, 0.7, 0.9, 0.95])
@pytest.mark.parametrize("servers", [1, 8])
def test_now_lies_on_the_curve(utilisation: float, servers: int) -> None:
    view = widgets.queueing.hockey_stick.view(utilisation=utilisation, servers=servers)
    queue = queueing.mmc(100 * utilisation * servers, 100, servers)
    for panel, exact in zip(
        view.panels, (1000 * queue.response_s, 1000 * queue.response_percentile(99)), strict=True
    ):
        now = next(trace for trace in panel.traces if trace.name == "now").arrays["y"]
        (low, high, _gap) = panel.traces[-2].arrays["y"]
        # Twice the 95 % interval, four standard errors: those are themselves estimates, from eight groups.
        assert float(now[0]) == pytest.approx(exact, abs=float(high - low))
