"""How much faster more processors or servers make things: Amdahl, Gustafson, Karp–Flatt and the universal law."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from course import checks
from course.queueing import MAX_SERVERS, MarkovQueue, mmc

MAX_N = 1e9
MAX_POINTS = 10_000
MAX_COEFFICIENT = 1e6
MAX_THROUGHPUT = 1e15

Floats = NDArray[np.float64]


def _processors(n: ArrayLike, name: str = "n") -> Floats:
    numbers = np.asarray(n, np.float64)
    checks.integer(f"number of values in {name}", numbers.size, 1, MAX_POINTS)
    for extreme in (numbers.min(), numbers.max()):
        checks.number(name, float(extreme), 1, MAX_N)
    return numbers


def amdahl(serial_fraction: float, n: ArrayLike) -> Floats:
    """Speed-up of a fixed amount of work on n processors.

    Parameters
    ----------
    serial_fraction : float
        S, the share of the time on one processor that cannot be split, from 0 to 1.
    n : array_like of float
        Processors, each from 1 to 10⁹; at most 10,000 numbers.

    Returns
    -------
    ndarray of float64
        1 / (S + (1 − S)/n), of the shape of `n`; never above 1/S.

    Raises
    ------
    ValueError
        If a parameter is outside its range.

    Notes
    -----
    Amdahl 1967.
    """
    serial = checks.number("serial_fraction", serial_fraction, 0, 1)
    return np.asarray(1 / (serial + (1 - serial) / _processors(n)))


def gustafson(serial_fraction: float, n: ArrayLike) -> Floats:
    """Speed-up where the work grows with the processors, so that the time stays the same.

    Parameters
    ----------
    serial_fraction : float
        s, the share of the time *on n processors* that is serial, from 0 to 1. It is not Amdahl's S.
    n : array_like of float
        Processors, each from 1 to 10⁹; at most 10,000 numbers.

    Returns
    -------
    ndarray of float64
        n − s·(n − 1), of the shape of `n`.

    Raises
    ------
    ValueError
        If a parameter is outside its range.

    Notes
    -----
    Gustafson 1988.
    """
    serial = checks.number("serial_fraction", serial_fraction, 0, 1)
    processors = _processors(n)
    return np.asarray(processors - serial * (processors - 1))


def karp_flatt(speedup: float, n: float) -> float:
    """Find the serial fraction that a measured speed-up betrays.

    Parameters
    ----------
    speedup : float
        ψ, measured on `n` processors, above 0 to 10⁹.
    n : float
        Processors, from 2 to 10⁹.

    Returns
    -------
    float
        e = (1/ψ − 1/n) / (1 − 1/n). If it grows with n, overhead is what grows; below 0 the speed-up is more
        than linear, as when the work comes to fit into caches.

    Raises
    ------
    ValueError
        If a parameter is outside its range.

    Notes
    -----
    Karp & Flatt 1990.
    """
    speed = checks.number("speedup", speedup, 0, MAX_N, open_low=True)
    processors = checks.number("n", n, 2, MAX_N)
    return (1 / speed - 1 / processors) / (1 - 1 / processors)


def amdahl_processors(serial_fraction: float, share_of_limit: float) -> int:
    """Fewest processors that reach a share of Amdahl's limit 1/S.

    Parameters
    ----------
    serial_fraction : float
        S, above 0 to 1.
    share_of_limit : float
        From 0 to below 1.

    Returns
    -------
    int
        n ≥ a·(1 − S) / (S·(1 − a)), at least 1.

    Raises
    ------
    ValueError
        If a parameter is outside its range.
    """
    serial = checks.number("serial_fraction", serial_fraction, 0, 1, open_low=True)
    share = checks.number("share_of_limit", share_of_limit, 0, 1, open_high=True)
    # Rounding must not turn a whole number into the next one.
    return max(1, math.ceil(share * (1 - serial) / (serial * (1 - share)) * (1 - 1e-12)))


@dataclass(frozen=True)
class Usl:
    """The universal scalability law: X(n) = γ·n / (1 + σ·(n − 1) + κ·n·(n − 1)).

    Attributes
    ----------
    contention : float
        σ, what is done one after the other.
    coherency : float
        κ, what every pair has to agree on.
    single_throughput : float
        γ, the throughput of one.

    Notes
    -----
    Gunther, *Guerrilla Capacity Planning* (2007). With κ = 0 it is Amdahl's law.
    """

    contention: float
    coherency: float
    single_throughput: float

    def throughput(self, n: ArrayLike) -> Floats:
        """Throughput at each number n, from 1 to 10⁹, of servers, threads or users."""
        number = _processors(n)
        return np.asarray(
            self.single_throughput
            * number
            / (1 + self.contention * (number - 1) + self.coherency * number * (number - 1))
        )

    def speedup(self, n: ArrayLike) -> Floats:
        """Throughput in units of that of one."""
        return self.throughput(n) / self.single_throughput

    @property
    def peak_n(self) -> float:
        """Where the curve is highest, √((1 − σ)/κ), but at least 1; infinite without coherency."""
        if self.contention >= 1:
            return 1.0
        return max(1.0, math.sqrt((1 - self.contention) / self.coherency)) if self.coherency > 0 else math.inf

    @property
    def peak_throughput(self) -> float:
        """The highest throughput, at `peak_n`; γ/σ in the limit without coherency."""
        if math.isfinite(self.peak_n):
            return float(self.throughput(min(self.peak_n, MAX_N)))
        return self.single_throughput / self.contention if self.contention else math.inf

    def queue(self, servers: int, arrival_rate: float) -> MarkovQueue:
        """M/M/c whose servers get slower as they get more.

        Parameters
        ----------
        servers : int
            n, from 1 to 1,000. Each serves X(n)/n requests a second, so all of them X(n).
        arrival_rate : float
            Requests per second, above 0 to below X(n).

        Returns
        -------
        MarkovQueue

        Raises
        ------
        ValueError
            If a parameter is outside its range, or the servers cannot keep up.
        """
        number = checks.integer("servers", servers, 1, MAX_SERVERS)
        return mmc(arrival_rate, float(self.throughput(number)) / number, number)


def usl(contention: float, coherency: float, single_throughput: float = 1.0) -> Usl:
    """Make a universal scalability law.

    Parameters
    ----------
    contention : float
        σ, from 0 to 1.
    coherency : float
        κ, from 0 to 1.
    single_throughput : float
        γ, above 0 to 10¹⁵ per second.

    Returns
    -------
    Usl

    Raises
    ------
    ValueError
        If a parameter is outside its range.
    """
    return Usl(
        checks.number("contention", contention, 0, 1),
        checks.number("coherency", coherency, 0, 1),
        checks.number("single_throughput", single_throughput, 0, MAX_THROUGHPUT, open_low=True),
    )


@dataclass(frozen=True)
class UslFit:
    """A universal scalability law fitted to measurements.

    Attributes
    ----------
    law : Usl
        The fit; both coefficients are at least 0.
    r_squared : float
        Share of the variance of the throughputs that it explains.
    residuals : ndarray of float64, shape (points,)
        Measured less fitted throughput.
    """

    law: Usl
    r_squared: float
    residuals: Floats


def fit_usl(n: ArrayLike, throughput: ArrayLike) -> UslFit:
    """Fit the universal scalability law to measured points by least squares.

    Parameters
    ----------
    n : array_like of float, shape (points,)
        Servers, threads or users, each from 1 to 10⁹; at least three different ones, at most 10,000 points.
    throughput : array_like of float, shape (points,)
        What was measured with each, above 0 to 10¹⁵ per second.

    Returns
    -------
    UslFit

    Raises
    ------
    ValueError
        If a parameter is outside its range, or the points do not tell the three coefficients.

    Notes
    -----
    n/X is a polynomial in n, and linear in 1/γ, σ/γ and κ/γ, which gives a start; a few steps of Gauss and
    Newton (Levenberg 1944, Marquardt 1963) then make the squares of the residuals of X itself smallest. A
    coefficient that would fall below 0 stays 0: the points show none of it.
    """
    numbers = np.atleast_1d(_processors(n))
    measured = np.atleast_1d(np.asarray(throughput, np.float64))
    if numbers.ndim != 1 or measured.shape != numbers.shape:
        raise ValueError(
            f"n of shape {numbers.shape} and throughput of shape {measured.shape}: must be two rows alike"
        )
    for extreme in (measured.min(), measured.max()):
        checks.number("throughput", float(extreme), 0, MAX_THROUGHPUT, open_low=True)
    checks.integer("number of different values in n", np.unique(numbers).size, 3, MAX_POINTS)
    best = min(
        (_least_squares(numbers, measured, free) for free in ((1, 1), (1, 0), (0, 1), (0, 0))),
        key=lambda found: found[0],
    )
    law = Usl(*best[1])
    residuals = measured - law.throughput(numbers)
    spread = float(((measured - measured.mean()) ** 2).sum())
    explained = 1 - float(residuals @ residuals) / spread if spread else 1.0
    return UslFit(law, explained, residuals)


def _least_squares(
    numbers: Floats, measured: Floats, free: tuple[int, int]
) -> tuple[float, tuple[float, float, float]]:
    """Fit with σ and κ free or 0; return the sum of squares, infinite if a coefficient is negative."""
    kept = np.array([True, *map(bool, free)])
    # In units of the largest throughput and number, so that the sums are of order one.
    scale, most = measured.max(), numbers.max()
    columns = np.column_stack((np.ones(numbers.size), numbers - 1, numbers * (numbers - 1)))[:, kept]
    columns = columns / np.array([1.0, most, most**2])[kept]
    target = measured / scale

    def model(parameters: Floats) -> Floats:
        return np.asarray(numbers / most / (columns @ parameters))

    weight = target[:, None] / (numbers[:, None] / most)
    parameters = np.linalg.lstsq(columns * weight, target / target, rcond=None)[0]
    damping = 1e-3
    if not np.all(columns @ parameters > 0):
        return math.inf, (0.0, 0.0, 0.0)
    squares = float(((target - model(parameters)) ** 2).sum())
    for _ in range(200):
        predicted = model(parameters)
        jacobian = -(predicted / (columns @ parameters))[:, None] * columns
        normal = jacobian.T @ jacobian
        step = np.linalg.lstsq(
            normal + damping * np.diag(np.diag(normal)), jacobian.T @ (target - predicted), rcond=None
        )[0]
        tried = parameters + step
        ahead = float(((target - model(tried)) ** 2).sum()) if np.all(columns @ tried > 0) else math.inf
        if ahead <= squares:
            done = float(np.abs(step).max()) <= 1e-14 * float(np.abs(parameters).max())
            parameters, squares, damping = tried, ahead, damping / 10
            if done:
                break
        else:
            damping *= 10
            if damping > 1e12:
                break
    full = np.zeros(3)
    full[kept] = parameters / np.array([1.0, most, most**2])[kept]
    if full[0] <= 0 or full.min() < 0:
        return math.inf, (0.0, 0.0, 0.0)
    # full holds 1/γ, σ/γ and κ/γ in units of scale/most.
    return squares, (full[1] / full[0], full[2] / full[0], scale / most / full[0])
