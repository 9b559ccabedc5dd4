"""What is found of machines, before it is written down; and where it is looked for."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

Run = Callable[[Sequence[str]], str | None]
"""Runs a tool and returns what it printed; None where there is no such tool, or where it failed."""

SECONDS = 60.0  # that a tool may take


@dataclass(frozen=True, slots=True)
class Wire:
    """A link, and how its numbers came about."""

    bandwidth_bytes_per_s: float
    latency_s: float
    source: str


@dataclass(frozen=True, slots=True)
class OwnType:
    """An entry under ``types`` for what the catalogue does not know: ``lines`` by key, and keys that nobody could find out."""

    name: str
    lines: Mapping[str, str]
    lacking: tuple[str, ...] = ()
    hint: str = ""


@dataclass(frozen=True)
class Machine:
    """Devices by their type, equal ones together; the link between two of them; ``remarks`` are comments for the file.

    ``interconnect`` is None where there is one device, or where nobody could say (``lacks_interconnect``).
    """

    types: tuple[str, ...]
    interconnect: Wire | None = None
    own: tuple[OwnType, ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def lacks_interconnect(self) -> bool:
        return len(self.types) > 1 and self.interconnect is None


@dataclass(frozen=True)
class Speed:
    """What one core did while all others did the same: float32 of a matmul, bytes copied; and the way between two processes."""

    flops: float
    bandwidth_bytes_per_s: float
    loopback: Wire


@dataclass(frozen=True)
class Surroundings:
    """Everything that detection looks at: tools, environment, files under ``root``, cores that this process may use, a clock."""

    run: Run
    environ: Mapping[str, str]
    root: Path
    affinity: int
    host: str
    measure: Callable[[int], Speed]


def run_tool(command: Sequence[str]) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False, errors="replace")
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def host_name() -> str:
    return platform.node().partition(".")[0] or "host"
