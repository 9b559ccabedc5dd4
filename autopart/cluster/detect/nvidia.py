"""NVIDIA GPUs by ``nvidia-smi``: names, memory, PCIe, and the links between them.

https://docs.nvidia.com/deploy/nvidia-smi/ describes the queries; NVLinks of one direction are counted, as cluster files do.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from autopart.cluster.detect.found import Run, Wire

QUERY = (
    "nvidia-smi",
    "--query-gpu=index,uuid,name,memory.total,pcie.link.gen.max,pcie.link.width.max",
    "--format=csv,noheader,nounits",
)
TOPOLOGY = ("nvidia-smi", "topo", "-m")
NVLINKS = ("nvidia-smi", "nvlink", "-s")

LANE_BYTES_PER_S: Mapping[int, float] = {
    1: 0.25e9,
    2: 0.5e9,
    3: 8e9 * 128 / 130 / 8,
    4: 16e9 * 128 / 130 / 8,
    5: 32e9 * 128 / 130 / 8,
}
"""PCI Express Base Specification: transfers a second of a lane, less the line code (8b/10b, then 128b/130b), each direction."""

NVLINK_LATENCY_S, PCIE_LATENCY_S = 3e-6, 10e-6  # no tool says them; as the examples have it


@dataclass(frozen=True, slots=True)
class Gpu:
    """As the driver reports it; None where it does not."""

    index: int
    uuid: str
    name: str
    memory_bytes: int
    pcie_generation: int | None
    pcie_lanes: int | None


def parse_gpus(text: str) -> tuple[Gpu, ...]:
    """Of ``QUERY``'s lines."""
    found = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) == 6 and cells[0].isdigit() and (memory := _number(cells[3])):
            found.append(Gpu(int(cells[0]), cells[1], cells[2], memory * 2**20, _number(cells[4]), _number(cells[5])))
    return tuple(found)


def _number(text: str) -> int | None:
    return int(text) if text.isdigit() else None


def visible(gpus: Sequence[Gpu], wanted: str | None) -> tuple[Gpu, ...]:
    """Those that CUDA_VISIBLE_DEVICES names, in its order: by number or by (the beginning of) their UUID; the first unknown word
    ends the list, as CUDA has it.
    """
    if wanted is None:
        return tuple(gpus)
    found: list[Gpu] = []
    for word in (part.strip() for part in wanted.split(",")):
        named = [gpu for gpu in gpus if word == str(gpu.index) or (word.startswith("GPU-") and gpu.uuid.startswith(word))]
        if len(named) != 1:
            break
        found += named
    return tuple(found)


def parse_topology(text: str) -> Mapping[tuple[int, int], str]:
    """What ``TOPOLOGY`` has between two GPUs, "NV12" or "SYS"; of NICs and CPUs nothing."""
    lines = re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines()
    head = next((line.split() for line in lines if line.split()[:1] == ["GPU0"] and "X" not in line.split()), [])
    columns = [int(word[3:]) for word in head if re.fullmatch(r"GPU\d+", word)]
    found: dict[tuple[int, int], str] = {}
    for line in lines:
        first, *cells = line.split() or [""]
        if re.fullmatch(r"GPU\d+", first) and "X" in cells:
            found |= {(int(first[3:]), column): cell for column, cell in zip(columns, cells, strict=False)}
    return found


def parse_nvlinks(text: str) -> Mapping[int, float]:
    """Bytes/s of the slowest active link of each GPU, each direction."""
    found: dict[int, float] = {}
    gpu = -1
    for line in text.splitlines():
        if head := re.match(r"GPU (\d+):", line):
            gpu = int(head[1])
        elif link := re.match(r"\s*Link \d+: ([\d.]+) GB/s", line):
            found[gpu] = min(found.get(gpu, float("inf")), float(link[1]) * 1e9)
    return found


def interconnect(gpus: Sequence[Gpu], run: Run) -> Wire | None:
    """The slowest way between two of them: a cluster file has one link for all; None where the tools don't say."""
    ways = parse_topology(run(TOPOLOGY) or "")
    between = [ways.get((a.index, b.index), "") for a, b in combinations(gpus, 2)]
    bonded = [int(way[2:]) for way in between if re.fullmatch(r"NV\d+", way)]
    if len(bonded) == len(between):
        return _nvlink(gpus, min(bonded, default=0), parse_nvlinks(run(NVLINKS) or ""))
    return _pcie(gpus, f" ({len(bonded)} of {len(between)} pairs have NVLink)" if bonded else "")


def _nvlink(gpus: Sequence[Gpu], count: int, rates: Mapping[int, float]) -> Wire | None:
    if not count or any(gpu.index not in rates for gpu in gpus):
        return None
    rate = min(rates[gpu.index] for gpu in gpus)
    return Wire(count * rate, NVLINK_LATENCY_S, f"{count} NVLinks of {rate / 1e9:g} GB/s; the latency is typical")


def _pcie(gpus: Sequence[Gpu], more: str) -> Wire | None:
    rates = list(_pcie_rates(gpus))
    if len(rates) < len(gpus):
        return None
    rate, generation, lanes = min(rates)
    return Wire(rate, PCIE_LATENCY_S, f"PCIe generation {generation} x{lanes}, its full rate{more}; the latency is typical")


def _pcie_rates(gpus: Sequence[Gpu]) -> Iterator[tuple[float, int, int]]:
    """Of those that the driver says it of: bytes/s, generation, lanes."""
    for gpu in gpus:
        generation, lanes = gpu.pcie_generation or 0, gpu.pcie_lanes or 0
        if generation in LANE_BYTES_PER_S and lanes:
            yield LANE_BYTES_PER_S[generation] * lanes, generation, lanes
