"""What a reader is shown of stages that split ops over devices, and of ZeRO."""

from __future__ import annotations

from dataclasses import replace

from autopart.cluster.load import parse_cluster
from autopart.plans import ClusterRef, ModelRef, Plan, Schedule, Settings, Stage
from autopart.program.program import Program
from autopart.report.dot import format_dot
from autopart.report.svg import format_svg
from autopart.report.text import format_plan, mesh_text
from autopart.simulate import Timeline
from tests.clusters import CONTRACT

CLUSTER = parse_cluster(CONTRACT, "cluster.yaml")
WHOLE = Stage(0, ("a",), (0, 1, 2, 3), (9, 3), data=2, tensor=2, zero=1, tensor_shares=(3, 1))
PLAN = Plan(
    ModelRef("m.py"), ClusterRef("cluster.yaml"), 24, Settings(), Schedule("1f1b", 2),
    (WHOLE, Stage(1, ("b", "c"), (4, 5), (6, 6), data=2)),
)  # fmt: skip
TIMELINE = Timeline(1.0, (), (), {}, {}, {})


def test_a_mesh_in_words() -> None:
    assert mesh_text(PLAN.stages[1]) == ""
    assert mesh_text(WHOLE) == "2 data x 2 tensor by 3:1, zero 1"
    assert mesh_text(replace(WHOLE, data=1, zero=0, tensor_shares=())) == "1 data x 2 tensor"
    assert mesh_text(replace(PLAN.stages[1], zero=3)) == "2 data, zero 3"


def test_the_table_has_meshes_where_there_are_any_and_samples_by_replica() -> None:
    head, first, second = format_plan(PLAN, CLUSTER).split("\n\n")[1].splitlines()
    assert head.split() == ["stage", "ranks", "devices", "mesh", "blocks", "samples", "memory", "of", "the", "fullest"]
    assert "2 data x 2 tensor by 3:1, zero 1" in first
    assert " 9 + 3 " in first
    assert second.startswith("1      4-5    2 x A100-80GB")
    assert "2 x 6" in second
    plain = replace(PLAN, stages=(replace(WHOLE, tensor=1, zero=0, data=4, shares=(3,) * 4, tensor_shares=()), PLAN.stages[1]))
    assert "mesh" not in format_plan(plain, CLUSTER)


def test_pictures_say_it_too() -> None:
    program = Program(24, 2, "1f1b", (), (), {})
    assert "rank 0-3, 2 data x 2 tensor by 3:1, zero 1" in format_dot(PLAN, CLUSTER, program)
    assert "1f1b; stage 0: 2 data x 2 tensor by 3:1, zero 1" in format_svg(PLAN, CLUSTER, TIMELINE)
