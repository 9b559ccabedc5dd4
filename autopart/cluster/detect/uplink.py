"""A node's own way to others: InfiniBand ports, else the fastest Ethernet card, as the kernel has them under /sys/class."""

from __future__ import annotations

import re
from pathlib import Path

from autopart.cluster.detect.found import Wire

INFINIBAND_LATENCY_S, ETHERNET_LATENCY_S = 5e-6, 30e-6  # of an end; no file says them


def uplink(root: Path) -> Wire | None:
    """None where no card says how fast it is."""
    ports = [_rate(rate) for rate in sorted(root.glob("sys/class/infiniband/*/ports/*/rate")) if _active(rate.parent)]
    rates = [rate for rate in ports if rate]
    if rates:
        said = f"{len(rates)} InfiniBand port{'s' * (len(rates) != 1)} of this machine, full rate; the latency is typical"
        return Wire(sum(rates), INFINIBAND_LATENCY_S, said)
    cards = {card.parent.name: _megabits(card) for card in sorted(root.glob("sys/class/net/*/speed")) if _real(card.parent)}
    if not cards or not max(cards.values()):
        return None
    name = max(cards, key=lambda card: cards[card])
    return Wire(cards[name] * 1e6 / 8, ETHERNET_LATENCY_S, f"{name} of this machine, full rate; the latency is typical")


def _rate(path: Path) -> float:
    """Bytes/s of "200 Gb/sec (4X HDR)"."""
    found = re.match(r"([\d.]+) Gb/sec", _text(path))
    return float(found[1]) * 1e9 / 8 if found else 0.0


def _active(port: Path) -> bool:
    return "ACTIVE" in _text(port / "state")


def _megabits(path: Path) -> int:
    """0 where the card does not say: it is off, or virtual (-1)."""
    text = _text(path)
    return int(text) if text.isdigit() else 0


def _real(card: Path) -> bool:
    """A device, not a bridge or a tunnel."""
    return (card / "device").exists()


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""
