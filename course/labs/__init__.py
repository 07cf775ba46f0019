"""Real systems: find, start, connect, stop.

    with labs.start("redis") as lab:
        lab.client().set(lab.key("greeting"), "hello")

:func:`start` looks for an existing server named in the environment, then for the program on the PATH, then
for an embedded stand-in, and says which one it took (``lab.label``). What it started it stops: at the end of
the ``with`` block, by ``lab.stop()``, when Python exits, and when Python is killed.
"""

from __future__ import annotations

from course.labs._lab import Lab, LabUnavailable, start

__all__ = ["Lab", "LabUnavailable", "start"]
