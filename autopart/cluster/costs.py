"""costs.json <-> Measurements. Every mistake in the file is a CostsError that names file, line and what to do."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from autopart import jsonfile
from autopart.errors import CostsError
from autopart.jsonfile import FileKind
from cost_models.hardware import DeviceType
from cost_models.measured import BlockCurve, Measurements, OpCurve, Origin, Sample, Stretch

FORMAT = 1
KIND = FileKind(
    name="costs",
    error=CostsError,
    schema="costs.schema.json",
    make="`autopart profile` writes such files.",
    reference="docs/reference/costs.md says what is in such a file.",
)
Json = dict[str, Any]


def load_costs(path: str | Path) -> Measurements:
    """Read and check a costs file."""
    return parse_costs(jsonfile.read_text(path, KIND), str(path))


def parse_costs(text: str, path: str) -> Measurements:
    """``path`` is for messages."""
    raw = jsonfile.parse(text, path, KIND)
    for kind in ("ops", "blocks"):
        _check_curves(raw[kind], kind, text, path)
    for optimizer, samples in raw["updates"].items():
        _check_ascending(samples, ["updates", optimizer], "elements", text, path)
    _check_ascending(raw.get("packing", []), ["packing"], "bytes", text, path)
    device = raw["device"]
    measured = Measurements(
        digest="",
        device=DeviceType(
            name=device["type"],
            memory_bytes=device["memory_bytes"],
            memory_bandwidth_bytes_per_s=device["memory_bandwidth_bytes_per_s"],
            flops=device["flops"],
            launch_s=device["launch_s"],
            kind=device["kind"],
        ),
        origin=Origin(**raw["origin"]),
        ops={each["key"]: _op(each) for each in raw["ops"]},
        blocks={each["key"]: _block(each) for each in raw["blocks"]},
        updates={name: tuple((count, seconds) for count, seconds in each) for name, each in raw["updates"].items()},
        packing=tuple((nbytes, seconds) for nbytes, seconds in raw.get("packing", [])),
        stretch=Stretch(**raw.get("refit", {})),
    )
    return replace(measured, digest=digest(measured))


def dump_costs(measured: Measurements) -> str:
    """The text of the file; keys in alphabetical order."""
    return jsonfile.render(_json(measured), "") + "\n"


def digest(measured: Measurements) -> str:
    """Of all that prices depend on: not of where and when."""
    described = {key: value for key, value in _json(measured).items() if key != "origin"}
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:16]


def _json(measured: Measurements) -> Json:
    device, origin = measured.device, measured.origin
    return {
        "format": FORMAT,
        "kind": "costs",
        "device": {
            "type": device.name,
            "kind": device.kind,
            "flops": dict(sorted(device.flops.items())),
            "memory_bandwidth_bytes_per_s": device.memory_bandwidth_bytes_per_s,
            "launch_s": device.launch_s,
            "memory_bytes": device.memory_bytes,
        },
        "origin": {
            "machine": origin.machine,
            "torch": origin.torch,
            "threads": origin.threads,
            "when": origin.when,
            "method": origin.method,
            "compiled": origin.compiled,
        },
        "ops": [
            {"key": op.key, "class": op.op_class, "dtype": op.dtype, "samples": [_numbers(each) for each in op.samples]}
            for op in _by_key(measured.ops)
        ],
        "blocks": [
            {
                "key": block.key,
                "name": block.name,
                "ops": dict(block.ops),
                "samples": [[each.rows, each.forward_s, each.backward_s] for each in block.samples],
            }
            for block in _by_key(measured.blocks)
        ],
        "updates": {name: [list(pair) for pair in pairs] for name, pairs in sorted(measured.updates.items())},
        **({"packing": [list(pair) for pair in measured.packing]} if measured.packing else {}),
        **({"refit": asdict(measured.stretch)} if measured.stretch != Stretch() else {}),
    }


def _by_key(curves: Mapping[str, Any]) -> Iterable[Any]:
    return (curves[key] for key in sorted(curves))


def _numbers(sample: Sample) -> list[float]:
    (forward_flops, backward_flops), (forward_bytes, backward_bytes) = sample.flops, sample.nbytes
    return [sample.rows, sample.forward_s, sample.backward_s, forward_flops, forward_bytes, backward_flops, backward_bytes]


def _op(raw: Json) -> OpCurve:
    samples = tuple(
        Sample(rows, forward_s, backward_s, (forward_flops, backward_flops), (forward_bytes, backward_bytes))
        for rows, forward_s, backward_s, forward_flops, forward_bytes, backward_flops, backward_bytes in raw["samples"]
    )
    return OpCurve(raw["key"], raw["class"], raw["dtype"], samples)


def _block(raw: Json) -> BlockCurve:
    return BlockCurve(raw["key"], raw["name"], tuple(raw["ops"].items()), tuple(Sample(*each) for each in raw["samples"]))


def _check_curves(curves: list[Json], kind: str, text: str, path: str) -> None:
    first: dict[str, int] = {}
    for index, curve in enumerate(curves):
        if curve["key"] in first:
            what = f"{kind}[{index}] has the key of {kind}[{first[curve['key']]}]"
            raise _error(what, "Remove one of the two.", [kind, index], text, path)
        first[curve["key"]] = index
        _check_ascending(curve["samples"], [kind, index, "samples"], "rows", text, path)


def _check_ascending(samples: list[list[float]], place: list[str | int], what: str, text: str, path: str) -> None:
    for index in range(1, len(samples)):
        if samples[index][0] <= samples[index - 1][0]:
            wrong = f"a sample of {samples[index][0]} {what} follows one of {samples[index - 1][0]}"
            raise _error(wrong, f"Sort samples by {what}, each once.", [*place, index], text, path)


def _error(what: str, remedy: str, place: list[str | int], text: str, path: str) -> CostsError:
    line = jsonfile.line_of(text, place)
    return CostsError(what, where=f"{path}:{line}" if line else path, remedy=remedy)
