"""The device catalogue: ``devices/*.yaml`` and what a cluster file adds to it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import resources
from types import MappingProxyType

import yaml

from cost_models.hardware import DeviceType, Kind
from cost_models.measured import Measurements
from cost_models.units import FLOPS, MEMORY, MEMORY_BANDWIDTH, POWER, TIME, parse

DTYPES = ("float64", "float32", "tf32", "float16", "bfloat16")
"""What ``flops`` may give a speed for."""

REACHED = (*DTYPES, "attention")
"""What ``reached`` may give a fraction of the peak for."""

DEFAULT_LAUNCH_S: Mapping[Kind, float] = {"accelerator": 8e-6, "cpu": 5e-6}
"""Host time of one eager op, forward or backward, whatever its size: dispatcher, autograd and, on an accelerator, the launch.
Measured on one Xeon core: 4.3 us for a small add and 5.8 us for a small matmul recording a graph; a CUDA launch takes about
3 us more."""

DEFAULT_MESSAGE_CPU_S: Mapping[Kind, float] = {"accelerator": 0.0, "cpu": 5e-5}
DEFAULT_BYTE_CPU_S: Mapping[Kind, float] = {"accelerator": 0.0, "cpu": 1.7e-9}
"""Processor time of one end of a message of gloo over TCP, and of a byte of it: threads that wake up, the kernel's packets.
Measured on one Xeon core between hosts of the project's testbed (packets of 7 kB): 44 to 52 us, and 1.7 to 1.9 ms a MiB. An
accelerator computes on meanwhile."""


BRANDS = frozenset(("nvidia", "tesla", "geforce", "amd", "instinct"))
"""Words before a model's name that drivers put or leave out by release."""


@dataclass(frozen=True)
class TypeEntry:
    """What a file says of a device type, in bytes, bytes/s, FLOP/s, seconds and watts. None: not said."""

    memory_bytes: int | None = None
    memory_bandwidth_bytes_per_s: float | None = None
    flops: Mapping[str, float] = field(default_factory=dict)
    launch_s: float | None = None
    kind: Kind | None = None
    source: str = ""
    note: str = ""
    power_w: float | None = None
    message_cpu_s: float | None = None
    byte_cpu_s: float | None = None
    units: int | None = None
    cache_bandwidth_bytes_per_s: float | None = None
    reached: Mapping[str, float] = field(default_factory=dict)
    measured: Measurements | None = None


@cache
def catalogue() -> Mapping[str, DeviceType]:
    """Every device type that autopart knows, by name, vendor by vendor."""
    return MappingProxyType({name: define(name, entry_of(raw)) for name, raw in _files().items()})


@cache
def _files() -> Mapping[str, Mapping[str, object]]:
    """The entries as they are written; what a file says of its ``sources`` is no entry."""
    found: dict[str, Mapping[str, object]] = {}
    for name in ("nvidia", "amd", "cpu"):
        text = resources.files("cost_models").joinpath("devices", f"{name}.yaml").read_text(encoding="utf-8")
        found |= {key: raw for key, raw in yaml.safe_load(text).items() if key != "sources"}
    return found


def reported_as(name: str) -> str | None:
    """The type that a driver calls by this name, whatever vendor and brand it puts before it; None where no entry says so."""
    known = {_plain(model_name(str(raw["reported"]))): type_name for type_name, raw in _files().items() if "reported" in raw}
    return known.get(_plain(model_name(name)))


def model_name(name: str) -> str:
    """What a driver calls a device, without vendor and brand: "A100-SXM4-80GB" of "NVIDIA A100-SXM4-80GB"."""
    return " ".join(word for word in name.split() if word.lower() not in BRANDS) or name


def entry_of(raw: Mapping[str, object]) -> TypeEntry:
    """Of the catalogue: memory, bandwidth, speeds and a source are needed."""
    flops = raw["flops"]
    kind: Kind = "cpu" if raw.get("kind") == "cpu" else "accelerator"
    assert isinstance(flops, dict), f"{raw} has no speeds"
    reached = raw.get("reached", {})
    assert isinstance(reached, dict), f"{raw} reaches no fractions"
    return TypeEntry(
        memory_bytes=int(parse(str(raw["memory"]), MEMORY)),
        memory_bandwidth_bytes_per_s=parse(str(raw["memory_bandwidth"]), MEMORY_BANDWIDTH),
        flops={dtype: parse(speed, FLOPS) for dtype, speed in flops.items()},
        launch_s=parse(str(raw["launch"]), TIME) if "launch" in raw else None,
        kind=kind,
        source=str(raw["source"]),
        note=str(raw.get("note", "")),
        power_w=parse(str(raw["power"]), POWER) if "power" in raw else None,
        message_cpu_s=parse(str(raw["message_cpu"]), TIME) if "message_cpu" in raw else None,
        byte_cpu_s=parse(str(raw["byte_cpu"]), TIME) if "byte_cpu" in raw else None,
        units=int(str(raw["units"])) if "units" in raw else None,
        cache_bandwidth_bytes_per_s=parse(str(raw["cache_bandwidth"]), MEMORY_BANDWIDTH) if "cache_bandwidth" in raw else None,
        reached={what: float(fraction) for what, fraction in reached.items()},
    )


def missing(entry: TypeEntry) -> tuple[str, ...]:
    """The keys, as a file spells them, without which an entry can't define a type of its own."""
    needed = {
        "memory": entry.memory_bytes,
        "memory_bandwidth": entry.memory_bandwidth_bytes_per_s,
        "flops: {float32: ...}": entry.flops.get("float32"),
    }
    return tuple(key for key, value in needed.items() if value is None)


def define(name: str, entry: TypeEntry) -> DeviceType:
    """A device type of its own; nothing may be ``missing``. Its kind is a cpu where its name says so."""
    assert entry.memory_bytes is not None, f"{name} has no memory"
    assert entry.memory_bandwidth_bytes_per_s is not None, f"{name} has no memory bandwidth"
    assert "float32" in entry.flops, f"{name} has no float32 speed"
    kind: Kind = entry.kind or kind_of(name)
    return DeviceType(
        name=name,
        memory_bytes=entry.memory_bytes,
        memory_bandwidth_bytes_per_s=entry.memory_bandwidth_bytes_per_s,
        flops=dict(entry.flops),
        launch_s=DEFAULT_LAUNCH_S[kind] if entry.launch_s is None else entry.launch_s,
        source=entry.source,
        kind=kind,
        note=entry.note,
        power_w=entry.power_w,
        message_cpu_s=DEFAULT_MESSAGE_CPU_S[kind] if entry.message_cpu_s is None else entry.message_cpu_s,
        byte_cpu_s=DEFAULT_BYTE_CPU_S[kind] if entry.byte_cpu_s is None else entry.byte_cpu_s,
        units=entry.units or 0,
        cache_bandwidth_bytes_per_s=entry.cache_bandwidth_bytes_per_s or 0.0,
        reached=dict(entry.reached),
        measured=entry.measured,
    )


def kind_of(name: str) -> Kind:
    """Of a type that nobody says it of."""
    return "cpu" if "cpu" in name.lower() else "accelerator"


def correct(device: DeviceType, entry: TypeEntry) -> DeviceType:
    """The type with the numbers of ``entry`` in place of its own; speeds dtype by dtype."""
    return replace(
        device,
        memory_bytes=device.memory_bytes if entry.memory_bytes is None else entry.memory_bytes,
        memory_bandwidth_bytes_per_s=entry.memory_bandwidth_bytes_per_s or device.memory_bandwidth_bytes_per_s,
        flops={**device.flops, **entry.flops},
        launch_s=device.launch_s if entry.launch_s is None else entry.launch_s,
        source=entry.source or f"{device.source}, corrected",
        kind=entry.kind or device.kind,
        note=entry.note or device.note,
        power_w=device.power_w if entry.power_w is None else entry.power_w,
        message_cpu_s=device.message_cpu_s if entry.message_cpu_s is None else entry.message_cpu_s,
        byte_cpu_s=device.byte_cpu_s if entry.byte_cpu_s is None else entry.byte_cpu_s,
        units=device.units if entry.units is None else entry.units,
        cache_bandwidth_bytes_per_s=entry.cache_bandwidth_bytes_per_s or device.cache_bandwidth_bytes_per_s,
        reached={**device.reached, **entry.reached},
        measured=entry.measured or device.measured,
    )


def nearest(name: str, known: Iterable[str], limit: int = 3) -> tuple[str, ...]:
    """The known names that a short or misspelt one may mean, best first: those that contain it, then those spelt alike."""
    names = tuple(known)
    plain = {candidate: _plain(candidate) for candidate in names}
    wanted = _plain(name)
    same = tuple(candidate for candidate in names if plain[candidate] == wanted)
    if same:
        return same[:limit]
    containing = [candidate for candidate in names if wanted and wanted in plain[candidate]]
    alike = difflib.get_close_matches(wanted, plain.values(), n=limit, cutoff=0.6)
    spelt = [candidate for text in alike for candidate in names if plain[candidate] == text]
    return tuple(dict.fromkeys((*containing, *spelt)))[:limit]


def _plain(name: str) -> str:
    """Lower case, letters and digits alone, "fp" as "float": "a100 80gb" and "A100-80GB" are one, "fp32" and "float32" too."""
    return "".join(letter for letter in name.lower() if letter.isalnum()).replace("fp", "float")
