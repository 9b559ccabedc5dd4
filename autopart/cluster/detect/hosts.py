"""Names of machines: an allocation of Slurm, a hostfile."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from autopart.errors import ClusterError


@dataclass(frozen=True, slots=True)
class Host:
    """``slots``: how many ranks it runs; None: as many as it has devices."""

    name: str
    slots: int | None = None


def expand(nodelist: str) -> tuple[str, ...]:
    """``a[01-03,7],b2`` as Slurm writes it (SLURM_JOB_NODELIST): a01, a02, a03, a7, b2."""
    return tuple(name for part in _parts(nodelist) for name in _expanded(part))


def _parts(nodelist: str) -> list[str]:
    """Cut at the commas outside of brackets."""
    return [part for part in re.split(r",(?![^\[]*\])", nodelist.strip()) if part]


def _expanded(part: str) -> Iterator[str]:
    found = re.match(r"([^\[]*)\[([^\]]*)\]", part)
    if found is None:
        yield part
        return
    for numbers in found[2].split(","):
        first, _, last = numbers.partition("-")
        for number in range(int(first), int(last or first) + 1):
            for rest in _expanded(part[found.end() :]):
                yield f"{found[1]}{number:0{len(first)}d}{rest}"


def load_hostfile(path: str) -> tuple[Host, ...]:
    """Read and check a hostfile."""
    try:
        return parse_hostfile(Path(path).read_text(encoding="utf-8"), path)
    except (OSError, UnicodeDecodeError) as error:
        raise ClusterError(f"can't be read: {error}", where=path, remedy="Name a file with a host on each line.") from error


def parse_hostfile(text: str, path: str) -> tuple[Host, ...]:
    """Lines ``host slots=8``, as Open MPI and DeepSpeed read them; # begins a comment."""
    found: dict[str, Host] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        name, *rest = words
        slots = [re.fullmatch(r"slots=([1-9]\d{0,5})", word) for word in rest]
        if len(rest) > 1 or not all(slots):
            raise _wrong(f"{' '.join(words)!r} is not a host and its slots", path, number)
        if name in found:
            raise _wrong(f"the host {name!r} comes twice", path, number)
        found[name] = Host(name, int(slots[0][1]) if slots and slots[0] else None)
    if not found:
        raise ClusterError("there is no host in it", where=path, remedy="Write a host on each line: node1 slots=8")
    return tuple(found.values())


def _wrong(what: str, path: str, line: int) -> ClusterError:
    return ClusterError(what, where=f"{path}:{line}", remedy="Write a host on each line, once: node1 slots=8")
