"""What was found, as the text of a cluster file with comments; what is missing, with its line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from autopart.cluster.detect.found import OwnType, Wire


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry under ``nodes``: these hosts, each with ``devices`` of a type."""

    name: str
    hosts: tuple[str, ...]
    type: str
    devices: int
    interconnect: Wire | None
    network: Wire | None


def written(
    entries: Sequence[Entry], own: Sequence[OwnType], remarks: Sequence[str], *, several: bool
) -> tuple[str, tuple[str, ...]]:
    """The text, and what must be filled in; ``several``: nodes need a network."""
    page = _Page([], [])
    page.lines.append("# Written by autopart devices --detect.")
    page.lines += [f"# {remark}" for remark in remarks]
    page.lines.append("nodes:")
    for entry in entries:
        _entry(page, entry, several=several)
    if own:
        page.lines.append("types:")
    for each in own:
        _type(page, each)
    return "\n".join(page.lines) + "\n", tuple(page.lacking)


@dataclass
class _Page:
    lines: list[str]
    lacking: list[str]

    def lacks(self, indent: str, key: str, value: str, what: str) -> None:
        """A comment in the place of a key."""
        self.lines.append(f"{indent}# {key}: {value}")
        self.lacking.append(f"line {len(self.lines)}: {what}")


def _entry(page: _Page, entry: Entry, *, several: bool) -> None:
    page.lines.append(f"  - name: {entry.name}{_hosts(entry)}")
    if len(entry.hosts) > 1:
        page.lines.append(f"    count: {len(entry.hosts)}")
    page.lines.append(f"    devices: {{type: {entry.type}, count: {entry.devices}}}")
    if entry.devices > 1:
        _link(page, entry.name, "interconnect", "300 GB/s", entry.interconnect)
    if several:
        _link(page, entry.name, "network", "100 Gb/s", entry.network)


def _hosts(entry: Entry) -> str:
    return f"    # {', '.join(entry.hosts)}, in the order of ranks" if len(entry.hosts) > 1 else ""


def _link(page: _Page, name: str, key: str, example: str, wire: Wire | None) -> None:
    if wire is None:
        what = f"the {key} of {name} is not known: write its bandwidth and latency, in the place of the comment"
        page.lacks("    ", key, f"{{bandwidth: {example}, latency: 10 us}}", what)
        return
    latency, rate = f"{wire.latency_s * 1e6:.3g} us", f"{wire.bandwidth_bytes_per_s / 1e9:.4g} GB/s"
    page.lines.append(f"    {key}: {{bandwidth: {rate}, latency: {latency}}}    # {wire.source}")


def _type(page: _Page, own: OwnType) -> None:
    page.lines.append(f"  {own.name}:")
    for key in own.lacking:
        name, _, value = key.partition(": ")
        page.lacks("    ", name, value or "...", f"{name} of {own.name} is not known: its datasheet has it{own.hint}")
    page.lines += [f"    {key}: {value}" for key, value in own.lines.items()]
