"""The catalogue: complete, plausible, and with the numbers of the datasheets."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import cost_models
from cost_models.catalogue import DTYPES, TypeEntry, catalogue, correct, define, entry_of, missing, nearest

FILES = Path(cost_models.__file__).parent / "devices"
NAMED_IN_THE_CONTRACT = [
    *("P100-16GB", "V100-16GB", "V100-32GB", "T4-16GB", "A10-24GB", "L4-24GB", "RTX-3090", "RTX-4090", "RTX-A6000", "L40S"),
    *("A100-40GB", "A100-80GB", "H100-80GB", "H200-141GB", "MI250-128GB", "MI300X-192GB", "cpu-core"),
]


@pytest.mark.parametrize("name", NAMED_IN_THE_CONTRACT)
def test_named_types_exist(name: str) -> None:
    assert catalogue()[name].name == name


@pytest.mark.parametrize("name", catalogue())
def test_every_entry_is_whole(name: str) -> None:
    device = catalogue()[name]
    assert device.source
    assert {"float64", "float32", "float16", "bfloat16"} <= set(device.flops) <= set(DTYPES)
    assert device.flops["float64"] <= device.flops["float32"]
    assert device.kind == ("cpu" if name == "cpu-core" else "accelerator")
    assert 1e-6 < device.launch_s < 1e-4


def test_an_entry_without_a_source_is_no_entry() -> None:
    raw = dict(yaml.safe_load((FILES / "nvidia.yaml").read_text())["L40S"])
    del raw["source"]
    with pytest.raises(KeyError, match="source"):
        entry_of(raw)


def written() -> list[tuple[str, dict[str, Any], dict[str, str]]]:
    """Every entry's name, the entry as it is written, and the sources that its file lists."""
    files = [yaml.safe_load(file.read_text()) for file in sorted(FILES.glob("*.yaml"))]
    return [(name, raw, file["sources"]) for file in files for name, raw in file.items() if name != "sources"]


def without_source(raw: dict[str, Any], sources: dict[str, str]) -> list[str]:
    """The numbers of an entry whose source is not named, or is none of the list, as "units" or "flops.tf32"."""
    numbers = [
        f"{key}.{dtype}" if dtype else key
        for key, value in raw.items()
        if key not in {"reported", "kind", "source", "note", "from"}
        for dtype in (value if isinstance(value, dict) else [""])
    ]
    named = raw.get("from", {})
    return [number for number in numbers if named.get(number, named.get(number.split(".")[0])) not in sources]


@pytest.mark.parametrize(("name", "raw", "sources"), written())
def test_every_number_names_its_source(name: str, raw: dict[str, Any], sources: dict[str, str]) -> None:
    assert not without_source(raw, sources), name
    idle = [number for number in raw["from"] if not _is_number(raw, number)]
    assert not idle, f"{name} names sources of numbers that it does not have"


def _is_number(raw: dict[str, Any], number: str) -> bool:
    key, _, dtype = number.partition(".")
    return key in raw and (not dtype or dtype in raw[key])


def test_a_number_without_a_source_is_found() -> None:
    sources = {"sheet": "a datasheet"}
    raw = {
        "memory": "1 GiB",
        "flops": {"float32": "1", "tf32": "2"},
        "units": 4,
        "from": {"memory": "sheet", "flops.tf32": "sheet"},
    }
    assert without_source(raw, sources) == ["flops.float32", "units"]
    assert without_source({"power": "1 W", "from": {"power": "hearsay"}}, sources) == ["power"]
    assert without_source({"power": "1 W"}, sources) == ["power"]


@pytest.mark.parametrize("file", sorted(FILES.glob("*.yaml")), ids=lambda file: file.stem)
def test_every_listed_source_is_named_by_a_number(file: Path) -> None:
    raw = yaml.safe_load(file.read_text())
    used = {name for entry in raw.values() for name in entry.get("from", {}).values()}
    assert used == raw["sources"].keys()


def test_every_entry_has_a_source_of_its_own() -> None:
    """A datasheet or a whitepaper that names the device, or how the numbers come about."""
    entries = {name: raw for name, raw, _ in written()}
    assert entries.keys() == catalogue().keys(), "every file is read"
    vague = [
        name
        for name, raw in entries.items()
        if not re.search("datasheet|whitepaper|GHz", raw["source"]) or len(raw["source"]) < 10
    ]
    assert not vague


@pytest.mark.parametrize("name", [name for name in catalogue() if name.endswith(("GB", "PCIe"))])
def test_memory_is_what_the_name_says_less_the_drivers_part(name: str) -> None:
    """The GB of a name are GiB; driver and ECC take up to 9%."""
    nominal = next(int(part[:-2]) for part in name.split("-") if part.endswith("GB")) * 2**30
    assert 0.91 * nominal <= catalogue()[name].memory_bytes < nominal


# type: memory bandwidth GB/s, float32 TFLOP/s, bfloat16 TFLOP/s, as the datasheets print them (half of those marked "with sparsity")
DATASHEET = {
    "V100-16GB": (900, 15.7, 15.7),
    "T4-16GB": (300, 8.1, 8.1),
    "A10-24GB": (600, 31.2, 250 / 2),
    "L4-24GB": (300, 30.3, 242 / 2),
    "L40S": (864, 91.6, 362.05),
    "RTX-A6000": (768, 38.7, 309.7 / 2),
    "RTX-3090": (936, 35.6, 71),
    "RTX-4090": (1008, 82.6, 165.2),
    "A100-40GB": (1555, 19.5, 624 / 2),
    "A100-80GB": (2039, 19.5, 624 / 2),
    "H100-80GB": (3350, 67, 1979 / 2),
    "H100-80GB-PCIe": (2000, 51, 1513 / 2),
    "H200-141GB": (4800, 67, 1979 / 2),
    "MI250-128GB": (3276.8, 90.5, 362.1),
    "MI300X-192GB": (5300, 163.4, 1307.4),
}


@pytest.mark.parametrize("name", DATASHEET)
def test_datasheet(name: str) -> None:
    bandwidth, float32, bfloat16 = DATASHEET[name]
    device = catalogue()[name]
    assert device.memory_bandwidth_bytes_per_s == pytest.approx(bandwidth * 1e9, rel=1e-3)
    assert device.flops["float32"] == pytest.approx(float32 * 1e12, rel=1e-3)
    assert device.flops["bfloat16"] == pytest.approx(bfloat16 * 1e12, rel=2e-3)


@pytest.mark.parametrize("name", [name for name in catalogue() if name != "cpu-core"])
def test_multiprocessors_and_speed_give_a_clock(name: str) -> None:
    """Of 1.0 to 2.6 GHz, with 64 lanes of float32 in a multiprocessor, or 128 (GA102, Ada, Hopper; AMD's matrix units)."""
    device = catalogue()[name]
    lanes = 64 if name.startswith(("P100", "V100", "T4", "A100", "A30")) else 128
    clock = device.flops["float32"] / (2 * lanes * device.units)
    assert 1.0e9 < clock < 2.6e9


@pytest.mark.parametrize("name", catalogue())
def test_what_is_reached_is_a_fraction_of_a_speed(name: str) -> None:
    device = catalogue()[name]
    assert set(device.reached) <= {*device.flops, "attention"}
    assert all(0.3 <= fraction < 1 for fraction in device.reached.values())


def test_half_an_mi250_is_a_device() -> None:
    card, half = catalogue()["MI250-128GB"], catalogue()["MI250-GCD-64GB"]
    assert card.memory_bytes == pytest.approx(2 * half.memory_bytes, rel=2e-3)
    assert card.flops["bfloat16"] == pytest.approx(2 * half.flops["bfloat16"], rel=2e-3)


@pytest.mark.parametrize(
    ("wanted", "first"),
    [
        ("A100", "A100-40GB"),
        ("a100-80gb", "A100-80GB"),
        ("V100 32GB", "V100-32GB"),
        ("RTX3090", "RTX-3090"),
        ("4090", "RTX-4090"),
        ("MI300", "MI300X-192GB"),
        ("H10O-80GB", "H100-80GB"),
        ("cpu", "cpu-core"),
    ],
)
def test_nearest(wanted: str, first: str) -> None:
    assert nearest(wanted, catalogue())[0] == first


def test_nothing_is_near_nonsense() -> None:
    assert nearest("Zorkmid", catalogue()) == ()
    assert nearest("", catalogue()) == ()


def test_define_and_correct() -> None:
    assert missing(TypeEntry(flops={"float32": 1e9})) == ("memory", "memory_bandwidth")
    entry = TypeEntry(2**30, 1e9, {"float32": 1e9})
    assert missing(entry) == ()
    assert define("box-cpu", entry).kind == "cpu"
    assert define("box", entry).kind == "accelerator"
    assert correct(define("box", entry), TypeEntry(launch_s=0.0)).launch_s == 0.0
    assert correct(define("box", entry), TypeEntry(flops={"float64": 5e8})).flops == {"float32": 1e9, "float64": 5e8}


def test_no_torch_at_import() -> None:
    modules = "cost_models.catalogue, cost_models.compute, cost_models.collective, cost_models.memory, autopart.cluster.load"
    check = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False, timeout=60).returncode == 0
