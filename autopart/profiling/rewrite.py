"""A cluster file with measured numbers in place of its own; everything else in it stays as it is, comments too."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import yaml

from autopart.cluster import reading
from autopart.cluster.cluster import Cluster
from autopart.cluster.reading import Spot
from autopart.errors import ClusterError
from autopart.profiling.paths import Links, by_type
from cost_models.hardware import Link
from cost_models.links import Fit

MARK = "# Links measured by `autopart profile --links`"
_OWN_COMMENT = re.compile(rf"{re.escape(MARK)}.*\n(#   .*\n)*")


@dataclass(frozen=True, order=True)
class _Edit:
    """``text`` in place of [start, stop) of the file."""

    start: int
    stop: int
    text: str


def rewritten(text: str, path: str, found: Links) -> str:
    """The file's text, with a comment at its top that says what was measured and how well it fits."""
    text = _OWN_COMMENT.sub("", text)
    file = {key: value for key, (_, value) in reading.entries(reading.compose(text, path), "").items()}
    links, types = file.get("links"), file.get("types")
    edits = [*_nodes(file["nodes"], found.measured)]
    edits += _links(links, found.measured) if links else []
    edits += _types(types, found) if types else []
    rest = _applied(text, edits, path).rstrip("\n") + "\n"
    rest += "" if links else _section("links", _new_links(None, found.measured))
    rest += "" if types else _section("types", [f"{name}: {_flow(_cpu(each))}" for name, each in _by_type(found)])
    return comment(found) + rest


def _section(key: str, lines: list[str]) -> str:
    """A key of its own at the end of the file."""
    return "\n".join([f"{key}:", *(f"  {line}" for line in lines)]) + "\n" if lines else ""


def _flow(values: dict[str, str]) -> str:
    return "{" + ", ".join(f"{key}: {value}" for key, value in values.items()) + "}"


def _by_type(found: Links) -> list[tuple[str, Fit]]:
    return list(by_type(found.measured, found.cpu).items())


def comment(found: Links) -> str:
    """What was measured and how well it fits."""
    lines = [
        f"{MARK}: {found.backend}, torch {torch.__version__}, {len(found.measured.ranks)} ranks; a + n/B, relative residuals."
    ]
    lines += [f"#   {path.name(found.measured)}: {_said(each)}" for path, each in found.fits.items()]
    lines += [
        f"#   processor time of a message, {name}: {_said(each)}" for name, each in by_type(found.measured, found.cpu).items()
    ]
    return "\n".join(lines) + "\n"


def _said(found: Fit) -> str:
    rate = f"{found.link.bandwidth_bytes_per_s * 8 / 1e6:.4g} Mb/s" if found.byte_s > 0 else "at any size"
    return f"{found.fixed_s * 1e6:.3g} us, {rate}, residuals {found.mean_residual:.0%}, at most {found.worst_residual:.0%}"


def _numbers(link: Link) -> dict[str, str]:
    return {"bandwidth": f"{link.bandwidth_bytes_per_s * 8 / 1e6:.4g} Mb/s", "latency": f"{link.latency_s * 1e6:.4g} us"}


def _nodes(spot: Spot, cluster: Cluster) -> Iterator[_Edit]:
    for item in reading.sequence(spot, ""):
        keys = {key: value for key, (_, value) in reading.entries(item, "").items()}
        name = reading.text(keys["name"])
        own = [group for group in cluster.groups if name in (group.name, group.stem)]
        group = max(own, key=lambda each: each.count)
        for key, link in (("interconnect", group.interconnect), ("network", group.network)):
            if key in keys:
                yield from _set(keys[key], _numbers(link))


def _links(spot: Spot, cluster: Cluster) -> Iterator[_Edit]:
    """Numbers of the items that are there, and new items at the beginning."""
    known = dict(cluster.exceptions)
    for item in reading.sequence(spot, ""):
        pair = _pair(item, cluster)
        if pair in known:
            yield from _set(item, _numbers(known[pair]))
    assert isinstance(spot.node, yaml.SequenceNode), "read as a list"
    start, new = spot.node.start_mark, _new_links(spot, cluster)
    if new and spot.node.flow_style:
        yield _Edit(start.index + 1, start.index + 1, "".join(f"{line.removeprefix('- ')}, " for line in new))
    elif new:
        yield _Edit(start.index, start.index, "".join(f"{line}\n{' ' * start.column}" for line in new))


def _pair(item: Spot, cluster: Cluster) -> tuple[int, int]:
    keys = {key: value for key, (_, value) in reading.entries(item, "").items()}
    first, second = (_group(reading.text(end), cluster) for end in reading.sequence(keys["between"], ""))
    return min(first, second), max(first, second)


def _group(name: str, cluster: Cluster) -> int:
    """The group that an end of a link means; of an entry in pieces the largest."""
    own = [i for i, group in enumerate(cluster.groups) if name in (group.name, group.stem)]
    return max(own, key=lambda i: cluster.groups[i].count) if own else cluster.ranks[_first_rank(name, cluster)].group


def _first_rank(name: str, cluster: Cluster) -> int:
    return next(rank.rank for rank in cluster.ranks if cluster.nodes[rank.node] == name)


def _new_links(spot: Spot | None, cluster: Cluster) -> list[str]:
    """Items for exceptions that the file has none for, between entries that have names."""
    there = {_pair(item, cluster) for item in reading.sequence(spot, "")} if spot else set()
    lines = []
    for pair, link in cluster.exceptions:
        names = [cluster.groups[group].name for group in pair]
        if pair not in there and not any(".." in name for name in names):
            lines.append(f"- {_flow({'between': f'[{names[0]}, {names[1]}]', **_numbers(link)})}")
    return lines


def _cpu(found: Fit) -> dict[str, str]:
    return {"message_cpu": f"{found.fixed_s * 1e6:.3g} us", "byte_cpu": f"{found.byte_s * 1e9:.3g} ns"}


def _types(spot: Spot, found: Links) -> Iterator[_Edit]:
    """Two numbers of each type that the file has, and entries for those of the catalogue."""
    there = reading.entries(spot, "")
    for name, each in _by_type(found):
        if name in there:
            yield from _set(there[name][1], _cpu(each))
    yield from _set(spot, {name: _flow(_cpu(each)) for name, each in _by_type(found) if name not in there})


def _set(spot: Spot, values: dict[str, str]) -> Iterator[_Edit]:
    """Keys of a mapping: their scalars replaced, or new entries at its beginning."""
    there = reading.entries(spot, "")
    for key, value in values.items():
        if key in there:
            node = there[key][1].node
            yield _Edit(node.start_mark.index, node.end_mark.index, value)
    new = {key: value for key, value in values.items() if key not in there}
    assert isinstance(spot.node, yaml.MappingNode), "read as a mapping"
    start = spot.node.start_mark
    if new and spot.node.flow_style:
        yield _Edit(start.index + 1, start.index + 1, "".join(f"{key}: {value}, " for key, value in new.items()))
    elif new:
        yield _Edit(start.index, start.index, "".join(f"{key}: {value}\n{' ' * start.column}" for key, value in new.items()))


def _applied(text: str, edits: list[_Edit], path: str) -> str:
    """Last first, so that the places of the others hold."""
    for before, after in zip(sorted(set(edits)), sorted(set(edits))[1:], strict=False):
        if after.start < before.stop:
            line = text.count("\n", 0, after.start) + 1
            raise ClusterError(
                "an alias stands for links that were measured apart",
                where=f"{path}:{line}",
                remedy="Write the value out at each.",
            )
    for edit in sorted(set(edits), reverse=True):
        text = text[: edit.start] + edit.text + text[edit.stop :]
    return text
