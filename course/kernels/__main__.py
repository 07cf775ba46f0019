"""Compile every kernel: ``python -m course.kernels``."""

from __future__ import annotations

from course.kernels import COMPILED, WarmUp, warm_up


def _say(done: WarmUp) -> None:
    print(f"{done.kernel:<32} {done.milliseconds:8.1f} ms", flush=True)


if __name__ == "__main__":
    ready = warm_up(_say)
    how = "compiled loops" if COMPILED else "plain loops, because Numba is not installed"
    print(f"{len(ready)} {how} ready in {sum(one.milliseconds for one in ready) / 1000:.1f} s")
