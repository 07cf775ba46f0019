"""What a learner calls in a notebook: ``check``, ``hint`` and ``progress``."""

from __future__ import annotations

from course.classroom.check import check, hint, progress

__all__ = ["check", "hint", "progress"]
