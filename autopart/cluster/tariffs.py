"""What devices draw while they belong to a plan: money by the hour, or watts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from autopart.cluster.cluster import Cluster
from autopart.cluster.units import format_energy, format_money, format_power
from autopart.errors import ClusterError

HOUR_S = 3600.0


@dataclass(frozen=True, slots=True)
class Tariff:
    """``each[g]`` is what one device of group g draws: ``unit``, a currency, by the hour; or watts, and ``unit`` is J."""

    unit: str
    each: tuple[float, ...]

    def rate(self, cluster: Cluster, ranks: Iterable[int]) -> float:
        """Of these ranks together."""
        return sum(self.each[cluster.ranks[rank].group] for rank in ranks)

    def value(self, rate: float, step_s: float) -> float:
        """What a step takes: money, or joules."""
        return rate * step_s / (1.0 if self.unit == "J" else HOUR_S)

    def by_node(self, cluster: Cluster) -> Mapping[str, float]:
        """``each`` under the names of the groups."""
        return {group.name: rate for group, rate in zip(cluster.groups, self.each, strict=True)}


def prices(cluster: Cluster) -> Tariff | None:
    """None unless every device has a price."""
    known = [group.price for group in cluster.groups if group.price]
    return Tariff(known[0].currency, tuple(price.per_h for price in known)) if len(known) == len(cluster.groups) else None


def powers(cluster: Cluster) -> Tariff | None:
    """None unless the power of every device is known."""
    known = [group.power_w for group in cluster.groups if group.power_w]
    return Tariff("J", tuple(known)) if len(known) == len(cluster.groups) else None


def tariff(cluster: Cluster, objective: str) -> Tariff:
    """Of the objective "cost" or "energy"; ClusterError where the file does not say enough."""
    found = prices(cluster) if objective == "cost" else powers(cluster)
    if found:
        return found
    missing = [group for group in cluster.groups if not (group.price if objective == "cost" else group.power_w)]
    what, key = ("price", "price: 3.67 USD/h") if objective == "cost" else ("power", "power: 400 W")
    names = ", ".join(f"{group.name} ({group.device.name})" for group in missing)
    raise ClusterError(
        f"no {what} is known of the devices of {names}",
        where=cluster.path,
        remedy=f"Write `{key}` with your number under `devices` of the node, or under its type in `types`.",
    )


def format_draw_rate(rate: float, unit: str) -> str:
    """As in "41.20 USD/h" or "2.8 kW"."""
    return format_power(rate) if unit == "J" else f"{format_money(rate, unit)}/h"


def format_draw(value: float, unit: str) -> str:
    """As in "0.0123 USD" or "1.25 kJ"."""
    return format_energy(value) if unit == "J" else format_money(value, unit)
