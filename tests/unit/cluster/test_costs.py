"""Costs files: the same after a round trip, every mistake with its line, part of what a cluster file means."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autopart.cluster.costs import digest, dump_costs, load_costs, parse_costs
from autopart.cluster.load import load_cluster
from autopart.errors import ClusterError, CostsError
from cost_models.hardware import DeviceType
from cost_models.measured import BlockCurve, Measurements, OpCurve, Origin, Sample

SHEET = DeviceType("box-cpu", 2**31, 1e10, {"float32": 5e10}, launch_s=5e-6, kind="cpu")
OP = OpCurve(
    "aten.mm.default(%0, %1)", "matmul", "float32", (Sample(1, 1e-3, 2e-3, (1.0, 2.0), (3.0, 4.0)), Sample(4, 3e-3, 0.0))
)
BLOCK = BlockCurve("0123", "h.0", ((OP.key, 2),), (Sample(1, 2e-3, 4e-3),))
MEASURED = Measurements(
    "",
    SHEET,
    Origin("a machine", "2.13", 1, "2026-01-01T00:00:00+00:00"),
    ops={OP.key: OP},
    blocks={BLOCK.key: BLOCK},
    updates={"adamw": ((10, 0.5), (20, 1.0))},
    packing=((40, 0.1), (80, 0.3)),
)
CLUSTER = """\
nodes:
  - name: a
    devices: {type: box-cpu, count: 1}
types:
  box-cpu:
    memory: 2 GiB
    memory_bandwidth: 10 GB/s
    flops: {float32: 50 GFLOP/s}
    measured: box.json
"""


def test_round_trip() -> None:
    again = parse_costs(dump_costs(MEASURED), "costs.json")
    assert (again.device, again.origin, dict(again.ops), dict(again.blocks), dict(again.updates), again.packing) == (
        SHEET,
        MEASURED.origin,
        MEASURED.ops,
        MEASURED.blocks,
        MEASURED.updates,
        MEASURED.packing,
    )
    assert dump_costs(again) == dump_costs(MEASURED)
    assert again.digest == digest(MEASURED)


def test_the_digest_is_of_what_prices_depend_on() -> None:
    assert digest(replace(MEASURED, origin=replace(MEASURED.origin, when="later"))) == digest(MEASURED)
    assert digest(replace(MEASURED, updates={"adamw": ((10, 0.6),)})) != digest(MEASURED)
    assert digest(replace(MEASURED, ops={OP.key: replace(OP, samples=OP.samples[:1])})) != digest(MEASURED)


def with_change(change: Any) -> str:
    raw = json.loads(dump_costs(MEASURED))
    change(raw)
    return json.dumps(raw, indent=1)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda raw: raw.update(format=2), ("format", "reads format 1")),
        (lambda raw: raw.update(kind="profile"), ("kind", '"costs"')),
        (lambda raw: raw.pop("origin"), ("'origin' is a required property",)),
        (lambda raw: raw.update(opps=[]), ("opps", "Did you mean ops?")),
        (lambda raw: raw["ops"][0].update({"class": "mathmul"}), ("ops[0].class", "mathmul")),
        (lambda raw: raw["ops"][0]["samples"][1].pop(), ("ops[0].samples[1]", "Seven numbers")),
        (lambda raw: raw["ops"][0]["samples"][1].__setitem__(1, -1.0), ("ops[0].samples[1][1]", "minimum")),
        (lambda raw: raw["ops"][0]["samples"][1].__setitem__(0, 1.5), ("ops[0].samples[1][0]", "integer")),
        (lambda raw: raw["ops"][0]["samples"].reverse(), ("1 rows follows one of 4", "Sort samples")),
        (lambda raw: raw["ops"].append(raw["ops"][0]), ("ops[1] has the key of ops[0]", "Remove one")),
        (lambda raw: raw["updates"]["adamw"].reverse(), ("10 elements follows one of 20",)),
        (lambda raw: raw["packing"].reverse(), ("40 bytes follows one of 80",)),
        (lambda raw: raw["device"]["flops"].pop("float32"), ("float32",)),
        (lambda raw: raw["blocks"][0].update(samples=[]), ("blocks[0].samples",)),
    ],
)
def test_a_mistake_is_named_with_its_line(change: Any, words: tuple[str, ...]) -> None:
    with pytest.raises(CostsError) as caught:
        parse_costs(with_change(change), "costs.json")
    text = str(caught.value)
    assert text.startswith("costs.json:")
    for word in words:
        assert word in text


def test_not_json() -> None:
    with pytest.raises(CostsError, match=r"costs\.json:1: not JSON"):
        parse_costs("{", "costs.json")


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "cluster.yaml").write_text(CLUSTER)
    (tmp_path / "box.json").write_text(dump_costs(MEASURED))
    return tmp_path


def test_a_type_that_was_measured(here: Path) -> None:
    device = load_cluster(here / "cluster.yaml").device(0)
    assert device.measured == load_costs(here / "box.json")
    assert device.measured is not None
    assert device.measured.ops[OP.key] == OP


def test_the_cluster_means_something_else_when_it_was_measured_again(here: Path) -> None:
    before = load_cluster(here / "cluster.yaml").digest
    assert load_cluster(here / "cluster.yaml").digest == before
    (here / "box.json").write_text(dump_costs(replace(MEASURED, updates={})))
    after = load_cluster(here / "cluster.yaml").digest
    (here / "cluster.yaml").write_text(CLUSTER.replace("    measured: box.json\n", ""))
    assert len({before, after, load_cluster(here / "cluster.yaml").digest}) == 3


def test_a_catalogue_type_may_be_corrected_so(here: Path) -> None:
    text = CLUSTER[: CLUSTER.index("  box-cpu:")].replace("box-cpu", "cpu-core") + "  cpu-core: {measured: box.json}\n"
    (here / "cluster.yaml").write_text(text)
    device = load_cluster(here / "cluster.yaml").device(0)
    assert device.measured == load_costs(here / "box.json")
    assert device.flops["float32"] == 96e9


def test_without_measurements(here: Path) -> None:
    (here / "box.json").unlink()
    assert load_cluster(here / "cluster.yaml", measured=False).device(0).measured is None


@pytest.mark.parametrize(
    ("right", "wrong", "words"),
    [
        ("box.json", "bix.json", ("cluster.yaml:9", "there is no file", "bix.json", "autopart profile")),
        ("box.json", "{}", ("cluster.yaml:9", "not a single value")),
        ("    measured: box.json", "    measured: box.json\n    kind: accelerator", ("cluster.yaml:6", "measured on a cpu")),
        ("    measured", "    mesured", ("cluster.yaml:9", "Did you mean measured?")),
    ],
)
def test_mistakes_in_the_cluster_file(here: Path, right: str, wrong: str, words: tuple[str, ...]) -> None:
    (here / "cluster.yaml").write_text(CLUSTER.replace(right, wrong))
    with pytest.raises(ClusterError) as caught:
        load_cluster(here / "cluster.yaml")
    for word in words:
        assert word in str(caught.value)


def test_a_mistake_in_the_costs_file_names_that_file(here: Path) -> None:
    (here / "box.json").write_text("[]")
    with pytest.raises(CostsError, match=r"box\.json:1"):
        load_cluster(here / "cluster.yaml")
