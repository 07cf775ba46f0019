"""Capacity estimates: requests, bytes and servers from a few assumptions, as ranges where those are guesses.

Bytes are bytes and bits are bits; ``kB`` is 1,000 bytes (SI) and ``KiB`` 1,024 (IEC 80000-13).
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from statistics import NormalDist
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from course import checks

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]

DAY_S = 86_400.0
SYSTEMS = ("SI", "IEC")
GROWTH = ("compound", "linear", "guide")

MAX_SAMPLES = 1_000_000
MAX_BYTES = 1e30
MAX_YEARS = 100.0
MAX_SEED = 2**63 - 1

_Z90 = 1.2815515655446004  # 90 % of a normal distribution lie below so many standard deviations

UNITS: Mapping[str, float] = MappingProxyType(
    {"B": 1.0}
    | {f"{prefix}B": 1000.0 ** (k + 1) for k, prefix in enumerate("kMGTPE")}
    | {f"{prefix}iB": 1024.0 ** (k + 1) for k, prefix in enumerate("KMGTPE")}
)
"""Bytes in each unit."""


# --- units --------------------------------------------------------------------------------------------------


def to_bytes(value: float, unit: str) -> float:
    """Convert a size to bytes.

    Parameters
    ----------
    value : float
        From 0 to 10³⁰.
    unit : str
        One of :data:`UNITS`, such as ``"kB"`` or ``"KiB"``.

    Returns
    -------
    float
        Bytes.

    Raises
    ------
    ValueError
        If a parameter is outside its range.
    """
    checks.option("unit", unit, tuple(UNITS))
    return checks.number("value", value, 0, MAX_BYTES) * UNITS[unit]


def scaled(value: float, unit: str, system: str = "SI") -> tuple[float, str]:
    """Write a quantity with the prefix that leaves 1 to 999 (or 1,023) before the point.

    Parameters
    ----------
    value : float
        At least 0, in `unit`.
    unit : str
        ``"B"`` or ``"bit/s"`` take prefixes; anything else stays as it is.
    system : str
        ``"SI"`` or ``"IEC"``, for bytes; bit rates are always SI.

    Returns
    -------
    value : float
        In the new unit.
    unit : str
        Such as ``"TiB"`` or ``"Mbit/s"``.

    Raises
    ------
    ValueError
        If a parameter is outside its range.
    """
    value = checks.number("value", value, 0)
    checks.option("system", system, SYSTEMS)
    if unit not in ("B", "bit/s"):
        return value, unit
    binary = system == "IEC" and unit == "B"
    step = 1024.0 if binary else 1000.0
    prefixes = ["", *("KMGTPE" if binary else "kMGTPE")]
    k = 0
    while value >= step and k < len(prefixes) - 1:
        value /= step
        k += 1
    return value, prefixes[k] + ("i" if binary and k else "") + unit


# --- assumptions --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LogNormal:
    """A guess by its P10 and P90: one time in ten it is lower, one time in ten higher; both above 0.

    For what multiplies and cannot be negative: users, sizes, requests.
    """

    p10: float
    p90: float

    def __post_init__(self) -> None:
        low = checks.number("p10", self.p10, 0, open_low=True)
        checks.number("p90", self.p90, low, open_low=True)

    @property
    def bounds(self) -> tuple[float, float]:
        """What must lie in the allowed range."""
        return self.p10, self.p90

    def sample(self, rng: np.random.Generator, samples: int) -> Floats:
        """Draw; the logarithm is normal, half-way between those of P10 and P90.

        For each draw there is one on the other side, so the median of a product is what the middles give.
        """
        low, high = math.log(self.p10), math.log(self.p90)
        half = rng.standard_normal((samples + 1) // 2)
        normal = np.concatenate((half, -half))[:samples]
        return np.asarray(np.exp((low + high) / 2 + (high - low) / (2 * _Z90) * normal))

    def quantile(self, share: float) -> float:
        """Value that a share of the cases, above 0 to below 1, do not exceed."""
        spread = math.log(self.p90 / self.p10) / (2 * _Z90)
        return math.sqrt(self.p10 * self.p90) * math.exp(spread * NormalDist().inv_cdf(share))


@dataclass(frozen=True)
class Triangular:
    """A guess by its least, most likely and greatest value."""

    low: float
    mode: float
    high: float

    def __post_init__(self) -> None:
        low = checks.number("low", self.low)
        high = checks.number("high", self.high, low, open_low=True)
        checks.number("mode", self.mode, low, high)

    @property
    def bounds(self) -> tuple[float, float]:
        """What must lie in the allowed range."""
        return self.low, self.high

    def sample(self, rng: np.random.Generator, samples: int) -> Floats:
        """Draw."""
        return rng.triangular(self.low, self.mode, self.high, samples)

    def quantile(self, share: float) -> float:
        """Value that a share of the cases, above 0 to below 1, do not exceed."""
        width, rise, fall = self.high - self.low, self.mode - self.low, self.high - self.mode
        if share * width < rise:
            return self.low + math.sqrt(share * width * rise)
        return self.high - math.sqrt((1 - share) * width * fall)


Guess = float | LogNormal | Triangular

# Lowest and highest value of each assumption.
RANGES: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "users": (1, 1e11),
        "requests_per_user": (0, 1e6),
        "peak_factor": (1, 1000),
        "reads_per_write": (0, 1e9),
        "request_bytes": (0, 1e15),
        "response_bytes": (0, 1e15),
        "overhead": (0, 10),
        "bytes_per_user": (0, 1e15),
        "copies": (1, 100),
        "growth": (-0.99, 100),
        "years": (0, MAX_YEARS),
        "log_bytes": (0, 1e9),
        "retention_days": (0, 36_500),
        "server_rps": (1e-3, 1e9),
        "utilisation": (0.01, 1),
        "spare_servers": (0, 1e6),
    }
)


@dataclass(frozen=True)
class Assumptions:
    """What an estimate is made of; each is a number or a guess (:class:`LogNormal`, :class:`Triangular`).

    The defaults are the guide's. :data:`RANGES` has the allowed values, to which the samples of a guess are cut.

    Attributes
    ----------
    users : float
        Daily active users, who also own the stored data.
    requests_per_user : float
        A day.
    peak_factor : float
        Peak over mean requests a second.
    reads_per_write : float
        Requests that read, for each that writes.
    request_bytes, response_bytes : float
        Payload of one request and of one response.
    overhead : float
        What headers, TLS and TCP add, as a share of the payload.
    bytes_per_user : float
        Stored.
    copies : float
        Replication factor, the original included.
    growth : float
        A year: 0.2 is 20 %.
    years : float
        Until when to plan.
    log_bytes, retention_days : float
        Log of one request, and how long logs are kept.
    server_rps : float
        Requests a second that saturate one server.
    utilisation : float
        How busy a server may be at the peak.
    spare_servers : float
        Servers that may be out at the peak.
    """

    users: Guess = 1e6
    requests_per_user: Guess = 10.0
    peak_factor: Guess = 3.0
    reads_per_write: Guess = 100.0
    request_bytes: Guess = 1e3
    response_bytes: Guess = 10e3
    overhead: Guess = 0.0
    bytes_per_user: Guess = 1e6
    copies: Guess = 3.0
    growth: Guess = 0.2
    years: Guess = 5.0
    log_bytes: Guess = 500.0
    retention_days: Guess = 30.0
    server_rps: Guess = 100.0
    utilisation: Guess = 0.7
    spare_servers: Guess = 1.0

    def __post_init__(self) -> None:
        for name, (low, high) in RANGES.items():
            value = getattr(self, name)
            for one in value.bounds if isinstance(value, LogNormal | Triangular) else (value,):
                checks.number(name, one, low, high)


def assume(
    *,
    users: float = 1e6,
    requests_per_user: float = 10.0,
    peak_factor: float = 3.0,
    request_kb: float = 1.0,
    response_kb: float = 10.0,
    mb_per_user: float = 1.0,
    copies: float = 3.0,
    growth_percent: float = 20.0,
    years: float = 5.0,
    uncertainty: float = 1.0,
    system: str = "SI",
) -> Assumptions:
    """Make assumptions of numbers as people say them; the names are those of the capacity calculator's controls.

    Parameters
    ----------
    users, requests_per_user, peak_factor, copies, years
        As in :class:`Assumptions`.
    request_kb, response_kb, mb_per_user : float
        Sizes in kB and MB, or with `system` ``"IEC"`` in KiB and MiB.
    growth_percent : float
        A year.
    uncertainty : float
        From 1 to 1,000. What nobody knows (users, requests, peak, sizes, growth) lies within this factor of the
        number given, eight times in ten. Copies and years are decisions, and stay.
    system : str
        ``"SI"`` or ``"IEC"``.

    Returns
    -------
    Assumptions
        What is not named here, such as the size of a log line, is as the guide has it.

    Raises
    ------
    ValueError
        If a parameter is outside its range.
    """
    checks.option("system", system, SYSTEMS)
    factor = checks.number("uncertainty", uncertainty, 1, 1000)
    kilo, mega = ("KiB", "MiB") if system == "IEC" else ("kB", "MB")

    def size(name: str, value: float, unit: str) -> float:
        return checks.number(name, value, 0, 1e9) * UNITS[unit]

    known = {
        "users": users,
        "requests_per_user": requests_per_user,
        "peak_factor": peak_factor,
        "request_bytes": size("request_kb", request_kb, kilo),
        "response_bytes": size("response_kb", response_kb, kilo),
        "bytes_per_user": size("mb_per_user", mb_per_user, mega),
        "growth": checks.number("growth_percent", growth_percent, -99, 10_000) / 100,
    }
    exact = Assumptions(copies=copies, years=years, **known)
    guesses = {name: _guess(name, value, factor) for name, value in known.items()}
    return replace(exact, **guesses)


def _guess(name: str, value: float, factor: float) -> Guess:
    """Return a guess with its median at `value`, as wide as the allowed range lets it be."""
    low, high = RANGES[name]
    if value <= 0:
        return value
    factor = min(factor, value / low if low > 0 else math.inf, high / value)
    return LogNormal(value / factor, value * factor) if factor > 1 else value


# --- estimates ----------------------------------------------------------------------------------------------


def grow(value: float, growth: float, years: float, mode: str = "compound") -> float:
    """Size after some years.

    Parameters
    ----------
    value : float
        Now, from 0 to 10³⁰.
    growth : float
        A year, from -0.99 to 100.
    years : float
        From 0 to 100.
    mode : str
        ``"compound"``: value (1 + g)ʸ. ``"linear"``: value (1 + g y), not below 0. ``"guide"``: value gʸ, as the
        guide's summary prints it, which shrinks whatever grows by less than 100 % a year.

    Returns
    -------
    float
        In the unit of `value`.

    Raises
    ------
    ValueError
        If a parameter is outside its range.
    """
    value = checks.number("value", value, 0, MAX_BYTES)
    growth = checks.number("growth", growth, *RANGES["growth"])
    years = checks.number("years", years, 0, MAX_YEARS)
    checks.option("mode", mode, GROWTH)
    if mode == "linear":
        return max(value * (1 + growth * years), 0.0)
    if mode == "guide":
        if growth < 0:
            raise ValueError(f"growth = {growth}: must be a number of at least 0 in the guide's formula")
        return float(value * growth**years)
    return float(value * (1 + growth) ** years)


@dataclass(frozen=True)
class Quantity:
    """One line of an estimate.

    Attributes
    ----------
    key : str
        Its name in a program.
    label : str
        Its name for people.
    unit : str
        Of the next three.
    p10, p50, p90 : float
        Exceeded nine, five and one time in ten; all the same if no assumption behind it is a guess.
    formula : str
        How it is computed, in the names of :class:`Assumptions` and of the keys above it.
    """

    key: str
    label: str
    unit: str
    p10: float
    p50: float
    p90: float
    formula: str


@dataclass(frozen=True)
class Estimate:
    """All quantities that follow from some assumptions, in the order in which they are computed."""

    assumptions: Assumptions
    quantities: tuple[Quantity, ...]

    def __getitem__(self, key: str) -> Quantity:
        """Quantity of that key; ValueError if there is none."""
        checks.option("key", key, tuple(one.key for one in self.quantities))
        return next(one for one in self.quantities if one.key == key)

    def rows(self, system: str = "SI", keys: tuple[str, ...] | None = None) -> list[dict[str, str | float]]:
        """Table with one dictionary a line, in readable units, ready for a data frame or a CSV file.

        Parameters
        ----------
        system : str
            ``"SI"`` or ``"IEC"``.
        keys : tuple of str, optional
            Which lines; all, if left out.
        """
        checks.option("system", system, SYSTEMS)
        table: list[dict[str, str | float]] = []
        for one in self.quantities if keys is None else tuple(self[key] for key in keys):
            middle, unit = scaled(one.p50, one.unit, system)
            factor = middle / one.p50 if one.p50 else 1.0
            table.append(
                {
                    "quantity": one.label,
                    "P10": one.p10 * factor,
                    "P50": middle,
                    "P90": one.p90 * factor,
                    "unit": unit,
                    "formula": one.formula,
                }
            )
        return table


Values = dict[str, Floats]
# Key, label, unit, formula in words, and the same formula in NumPy.
_LINES: tuple[tuple[str, str, str, str, Callable[[Values], Floats]], ...] = (
    (
        *("requests_per_day", "requests a day", "requests/day", "users × requests_per_user"),
        lambda v: v["users"] * v["requests_per_user"],
    ),
    (
        *("mean_rps", "mean traffic", "requests/s", "requests_per_day / 86,400"),
        lambda v: v["requests_per_day"] / DAY_S,
    ),
    (
        *("peak_rps", "peak traffic", "requests/s", "mean_rps × peak_factor"),
        lambda v: v["mean_rps"] * v["peak_factor"],
    ),
    (
        *("peak_writes", "peak writes", "requests/s", "peak_rps / (reads_per_write + 1)"),
        lambda v: v["peak_rps"] / (v["reads_per_write"] + 1),
    ),
    (
        *("peak_reads", "peak reads", "requests/s", "peak_rps − peak_writes"),
        lambda v: v["peak_rps"] - v["peak_writes"],
    ),
    (
        *("incoming", "peak incoming bandwidth", "bit/s", "peak_rps × request_bytes × (1 + overhead) × 8"),
        lambda v: v["peak_rps"] * v["request_bytes"] * (1 + v["overhead"]) * 8,
    ),
    (
        *("outgoing", "peak outgoing bandwidth", "bit/s", "peak_rps × response_bytes × (1 + overhead) × 8"),
        lambda v: v["peak_rps"] * v["response_bytes"] * (1 + v["overhead"]) * 8,
    ),
    (
        *("stored", "data, one copy", "B", "users × bytes_per_user"),
        lambda v: v["users"] * v["bytes_per_user"],
    ),
    (
        *("replicated", "data, all copies", "B", "stored × copies"),
        lambda v: v["stored"] * v["copies"],
    ),
    (
        *("planned", "data, all copies, at the end", "B", "replicated × (1 + growth) ^ years"),
        lambda v: v["replicated"] * (1 + v["growth"]) ** v["years"],
    ),
    (
        *("logs", "logs", "B", "requests_per_day × log_bytes × retention_days"),
        lambda v: v["requests_per_day"] * v["log_bytes"] * v["retention_days"],
    ),
    (
        *("servers", "servers", "servers", "⌈peak_rps / (server_rps × utilisation)⌉ + ⌈spare_servers⌉"),
        # A quotient that is whole but for rounding needs no server more.
        lambda v: (
            np.maximum(np.ceil(v["peak_rps"] / (v["server_rps"] * v["utilisation"]) * (1 - 1e-12)), 1)
            + np.ceil(v["spare_servers"])
        ),
    ),
)


def estimate(assumptions: Assumptions, *, samples: int = 20_000, seed: int = 1) -> Estimate:
    """Work out what the assumptions mean; guesses by Monte Carlo.

    Parameters
    ----------
    assumptions : Assumptions
        Numbers and guesses; guesses are independent of each other.
    samples : int
        From 100 to a million. A percentile of 20,000 is off by about 1.2 % of the logarithmic standard deviation.
    seed : int
        Each assumption has random numbers of its own, so one that becomes wider does not disturb the others.

    Returns
    -------
    Estimate
        From traffic to servers.

    Raises
    ------
    ValueError
        If a parameter is outside its range.

    Notes
    -----
    The product of ten pessimistic numbers is far more pessimistic than P90: independent errors partly cancel. For
    log-normal factors the logarithmic standard deviations add up as squares.
    """
    samples = checks.integer("samples", samples, 100, MAX_SAMPLES)
    seed = checks.integer("seed", seed, 0, MAX_SEED)
    names = [one.name for one in fields(assumptions)]
    values: Values = {}
    for name, stream in zip(names, np.random.SeedSequence(seed).spawn(len(names)), strict=True):
        given = getattr(assumptions, name)
        if isinstance(given, LogNormal | Triangular):
            values[name] = np.clip(given.sample(np.random.default_rng(stream), samples), *RANGES[name])
        else:
            values[name] = np.array([float(given)])
    quantities = []
    for key, label, unit, formula, compute in _LINES:
        values[key] = compute(values)
        # A percentile that is one of the samples: there are no fractions of a server.
        p10, p50, p90 = np.percentile(values[key], (10, 50, 90), method="inverted_cdf").tolist()
        quantities.append(Quantity(key, label, unit, p10, p50, p90, formula))
    return Estimate(assumptions, tuple(quantities))


# Label and unit of each assumption.
_ASSUMED: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "users": ("daily active users", "users"),
        "requests_per_user": ("requests of a user", "requests/day"),
        "peak_factor": ("peak over mean", ""),
        "reads_per_write": ("reads for each write", ""),
        "request_bytes": ("size of a request", "B"),
        "response_bytes": ("size of a response", "B"),
        "overhead": ("overhead on the payload", ""),
        "bytes_per_user": ("stored for a user", "B"),
        "copies": ("copies", ""),
        "growth": ("growth", "a year"),
        "years": ("planned for", "years"),
        "log_bytes": ("log of a request", "B"),
        "retention_days": ("logs are kept", "days"),
        "server_rps": ("a server can do", "requests/s"),
        "utilisation": ("a server may be busy", ""),
        "spare_servers": ("spare servers", "servers"),
    }
)


def table(assumptions: Assumptions | None = None, *, system: str = "SI", **numbers: float) -> pd.DataFrame:
    """Write an estimate as a data frame that explains itself: what is assumed, then what follows.

    Parameters
    ----------
    assumptions : Assumptions, optional
        Those of :func:`assume` with `numbers` if left out: ``table(users=2e6, years=3)``.
    system : str
        ``"SI"`` or ``"IEC"``.
    **numbers : float
        Any of :func:`assume`. ``table(**calculator.parameters)`` is the table of a capacity calculator as it stands.

    Returns
    -------
    DataFrame
        Columns name, quantity, estimate, P10, P50, P90, unit and formula; one row for each assumption and each
        quantity. The estimate takes every guess at its median; the formulas are written in the names.

    Raises
    ------
    ValueError
        If a parameter is outside its range or unknown, or assumptions come twice.
    """
    import pandas as pd

    known = tuple(name for name in inspect.signature(assume).parameters if name != "system")
    for name in numbers:
        checks.option("name of a number", name, known)
    if assumptions is None:
        assumptions = assume(system=system, **numbers)
    elif numbers:
        raise ValueError(
            f"{next(iter(numbers))}: must not be given beside assumptions, which have it already"
        )
    rows, middles = [], {}
    for name, (label, unit) in _ASSUMED.items():
        given = getattr(assumptions, name)
        guessed = isinstance(given, LogNormal | Triangular)
        values = [given.quantile(share) if guessed else float(given) for share in (0.5, 0.1, 0.5, 0.9)]
        # Not 999.999… kB for 1 MB, for want of the last bit.
        middles[name] = values[0] = float(f"{values[0]:.12g}")
        rows.append(_row(name, label, values, unit, "assumed", system))
    middle = estimate(Assumptions(**middles))
    for one in estimate(assumptions).quantities:
        values = [middle[one.key].p50, one.p10, one.p50, one.p90]
        rows.append(_row(one.key, one.label, values, one.unit, one.formula, system))
    return pd.DataFrame(rows)


def _row(
    name: str, label: str, values: list[float], unit: str, formula: str, system: str
) -> dict[str, str | float]:
    """Row of the table, in the unit in which its estimate reads well."""
    size = abs(values[0])
    shown, prefixed = scaled(size, unit, system)
    factor = shown / size if size else 1.0
    # Twelve digits: not 124999.99999999997 in a file that people read.
    columns = zip(
        ("estimate", "P10", "P50", "P90"), (float(f"{value * factor:.12g}") for value in values), strict=True
    )
    return {"name": name, "quantity": label, **dict(columns), "unit": prefixed, "formula": formula}


@dataclass(frozen=True)
class Preset:
    """A worked example of the guide.

    Attributes
    ----------
    lines : str
        Where it stands.
    assumptions : Assumptions
        What it assumes.
    printed : mapping of str to float
        What the guide says, by key, in bytes, bit/s or requests/s.
    """

    lines: str
    assumptions: Assumptions
    printed: Mapping[str, float]


PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "traffic": Preset(
            "209–215",
            Assumptions(),
            MappingProxyType({"requests_per_day": 10e6, "mean_rps": 116.0, "peak_rps": 348.0}),
        ),
        "storage": Preset(
            "226–232",
            Assumptions(),
            MappingProxyType({"stored": 1e12, "replicated": 3e12, "planned": 7.5e12}),
        ),
        "bandwidth": Preset(
            "240–246",
            Assumptions(),
            MappingProxyType({"incoming": 2.78e6, "outgoing": 27.8e6}),
        ),
    }
)
"""The worked examples of chapter 1, by name."""
