"""AMD GPUs by ``rocm-smi --json``: names, memory, and whether xGMI connects them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from autopart.cluster.detect.found import Run, Wire

QUERY = ("rocm-smi", "--showproductname", "--showmeminfo", "vram", "--json")
TOPOLOGY = ("rocm-smi", "--showtopotype", "--json")

XGMI_BYTES_PER_S: Mapping[str, float] = {"MI300X-192GB": 64e9}
"""Of the link between any two of a node, each direction: the AMD Instinct MI300X platform data sheet has 128 GB/s for both."""
XGMI_LATENCY_S = 3e-6  # no tool says it; as the examples have it of NVLink


@dataclass(frozen=True, slots=True)
class Card:
    """As the driver reports it: of a card with two dies each is one."""

    index: int
    name: str
    memory_bytes: int


def parse_cards(text: str) -> tuple[Card, ...]:
    """Keys are spelt "Card series" or "Card Series" by release."""
    found = []
    for key, raw in _decoded(text).items():
        if (number := re.fullmatch(r"card(\d+)", key)) and isinstance(raw, dict):
            own = {name.lower(): str(value) for name, value in raw.items()}
            memory = own.get("vram total memory (b)", "")
            name = own.get("card series") or own.get("device name", "")
            if memory.isdigit() and name:
                found.append(Card(int(number[1]), name, int(memory)))
    return tuple(sorted(found, key=lambda card: card.index))


def parse_links(text: str) -> Mapping[tuple[int, int], str]:
    """By pair, the smaller index first: "XGMI" or "PCIE"."""
    system = _decoded(text).get("system", {})
    found: dict[tuple[int, int], str] = {}
    for key, value in system.items() if isinstance(system, dict) else ():
        if pair := re.search(r"Link type between DRM devices (\d+) and (\d+)", key):
            found[int(pair[1]), int(pair[2])] = str(value)
    return found


def _decoded(text: str) -> dict[str, Any]:
    """The tool may print warnings before its JSON."""
    try:
        raw = json.loads(text[text.index("{") :])
    except ValueError:
        return {}
    return raw if isinstance(raw, dict) else {}


def visible(cards: Sequence[Card], wanted: str | None) -> tuple[Card, ...]:
    """Those that HIP_VISIBLE_DEVICES or ROCR_VISIBLE_DEVICES names by their numbers, which are places among the cards."""
    if wanted is None:
        return tuple(cards)
    places = [int(word) for word in wanted.replace(" ", "").split(",") if word.isdigit()]
    return tuple(cards[place] for place in places if place < len(cards))


def interconnect(cards: Sequence[Card], types: Sequence[str], run: Run) -> Wire | None:
    """Known of xGMI between cards of a type whose links are all alike; None of all others."""
    links = parse_links(run(TOPOLOGY) or "")
    between = {links.get((a.index, b.index), "") for a, b in combinations(sorted(cards, key=lambda card: card.index), 2)}
    if between != {"XGMI"} or len(set(types)) > 1 or types[0] not in XGMI_BYTES_PER_S:
        return None
    rate = XGMI_BYTES_PER_S[types[0]]
    return Wire(rate, XGMI_LATENCY_S, f"one xGMI link of {rate / 1e9:g} GB/s; the latency is typical")
