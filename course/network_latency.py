"""Where the time goes while a message crosses a network, one way.

Propagation + transmission + queueing + processing (Kurose & Ross, *Computer Networking*, chapter 1): the way, the
bandwidth, the others on the link, and the routers.

What this leaves out: connections that have to be opened, TCP's slow start, packets that are lost, and routes that
are longer than the distance.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from course import checks, queueing

LIGHT_KM_S = 299_792.458
MEDIA: Mapping[str, float] = MappingProxyType({"vacuum": 1.0, "fibre": 2 / 3})
"""Speed in each medium, as a share of the speed of light."""

PACKET_BYTES = 1500
MAX_KM = 1e9
MAX_MBPS = 1e9
MAX_BYTES = 1e15
MAX_HOPS = 1_000


def propagation(km: float, medium: str = "fibre") -> float:
    """Time for a bit to cover the distance.

    Parameters
    ----------
    km : float
        0 to 10⁹.
    medium : str
        One of :data:`MEDIA`.

    Returns
    -------
    float
        Distance / speed in the medium, in s. No bandwidth shortens it.

    Raises
    ------
    ValueError
        If a parameter is outside its range.
    """
    checks.option("medium", medium, tuple(MEDIA))
    return checks.number("km", km, 0, MAX_KM, unit="km") / (LIGHT_KM_S * MEDIA[medium])


def transmission(size_bytes: float, mbps: float) -> float:
    """Time to put a message on the link.

    Parameters
    ----------
    size_bytes : float
        0 to 10¹⁵.
    mbps : float
        Bandwidth in Mbit/s (10⁶ bit/s), above 0 to 10⁹.

    Returns
    -------
    float
        8·bytes / bandwidth, in s.

    Raises
    ------
    ValueError
        If a parameter is outside its range.
    """
    size = checks.number("size_bytes", size_bytes, 0, MAX_BYTES, unit="bytes")
    return 8 * size / (1e6 * checks.number("mbps", mbps, 0, MAX_MBPS, unit="Mbit/s", open_low=True))


def queueing_delay(mbps: float, utilisation: float) -> float:
    """Mean wait for the packets of others in front of the link.

    Parameters
    ----------
    mbps : float
        Bandwidth in Mbit/s, above 0 to 10⁹.
    utilisation : float
        Share of the time that others keep the link busy, 0 to below 1.

    Returns
    -------
    float
        In s: M/D/1 with packets of 1,500 bytes, ρ/(2(1 − ρ)) of their transmission time.

    Raises
    ------
    ValueError
        If a parameter is outside its range.
    """
    busy = checks.number("utilisation", utilisation, 0, 1, open_high=True)
    packets_per_s = 1 / transmission(PACKET_BYTES, mbps)
    return queueing.md1(busy * packets_per_s, packets_per_s).wait_s if busy else 0.0


@dataclass(frozen=True)
class NetworkLatency:
    """How long a message takes, one way, and what for.

    Attributes
    ----------
    propagation_s, transmission_s, queueing_s, processing_s : float
        The four parts, in s.
    """

    propagation_s: float
    transmission_s: float
    queueing_s: float
    processing_s: float

    @property
    def parts(self) -> dict[str, float]:
        """The four parts in s, by name."""
        return {
            "propagation": self.propagation_s,
            "transmission": self.transmission_s,
            "queueing": self.queueing_s,
            "processing": self.processing_s,
        }

    @property
    def total_s(self) -> float:
        """From the first bit sent to the last received."""
        return sum(self.parts.values())

    @property
    def largest(self) -> str:
        """Name of the part that takes most."""
        return max(self.parts, key=self.parts.__getitem__)


def network_latency(
    km: float,
    mbps: float,
    size_bytes: float = PACKET_BYTES,
    *,
    medium: str = "fibre",
    utilisation: float = 0.0,
    hops: int = 10,
    processing_us: float = 10.0,
) -> NetworkLatency:
    """Time of a message from one end to the other.

    Parameters
    ----------
    km, medium
        As for :func:`propagation`.
    mbps : float
        Of the narrowest link, in Mbit/s; the others count for nothing.
    size_bytes
        As for :func:`transmission`.
    utilisation
        As for :func:`queueing_delay`.
    hops : int
        Routers on the way, 0 to 1,000.
    processing_us : float
        What each of them takes to look at a packet, 0 to 10⁶ µs.

    Returns
    -------
    NetworkLatency

    Raises
    ------
    ValueError
        If a parameter is outside its range.
    """
    routers = checks.integer("hops", hops, 0, MAX_HOPS)
    each = checks.number("processing_us", processing_us, 0, 1e6, unit="µs")
    return NetworkLatency(
        propagation(km, medium),
        transmission(size_bytes, mbps),
        queueing_delay(mbps, utilisation),
        routers * each / 1e6,
    )
