"""explain and diff from end to end: every number is come by in another way, by planning or pricing edited files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import autopart
from autopart import pipeline
from autopart.cluster.load import load_cluster
from autopart.explain.question import Question
from autopart.explain.remedies import left_out
from autopart.explain.sentences import json_values
from autopart.planfile import load_plan
from autopart.planner.score import score
from autopart.planner.strategies import Pins
from autopart.plans import Plan
from autopart.program.program import Kind
from autopart.say import silent
from tests.commands import MODEL, Done, assert_refused, run

WIDE = MODEL.replace("64", "512")  # with links as fast as these, splitting it pays
CLUSTER = """\
nodes:
  - name: fast
    devices: {type: fast-cpu, count: 2}
    interconnect: {bandwidth: 5 GB/s, latency: 1 us}
    network: {bandwidth: 10 Gb/s, latency: 1 us}
  - name: slow
    devices: {type: slow-cpu, count: 2}
    interconnect: {bandwidth: 3 GB/s, latency: 1 us}
    network: {bandwidth: 10 Gb/s, latency: 1 us}
types:
  fast-cpu: {memory: 8 GiB, memory_bandwidth: 12 GB/s, flops: {float32: 120 GFLOP/s}, launch: 10 us, FREE}
  slow-cpu: {memory: 4 GiB, memory_bandwidth: 6 GB/s, flops: {float32: 40 GFLOP/s}, launch: 10 us, FREE}
""".replace("FREE", "message_cpu: 0 us, byte_cpu: 0 ns")  # messages take nothing from computing
PLAN = ("plan", "model.py", "--devices", "cluster.yaml", "--batch-size", "64")

Capsys = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plan of a small model over four devices of two types, explained."""
    made = tmp_path_factory.mktemp("explained")
    (made / "model.py").write_text(WIDE)
    (made / "cluster.yaml").write_text(CLUSTER)
    return made


@pytest.fixture
def here(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capsys) -> Path:
    monkeypatch.chdir(folder)
    if not Path("plan.json").exists():
        assert run(capsys, *PLAN).status == 0
        Path("explained.json").write_text(ask(capsys))
    return folder


def ask(capsys: Capsys, *questions: str) -> str:
    done = run(capsys, "explain", "plan.json", "--json", *questions)
    assert done.status == 0, done.err
    return done.out


def explained() -> Any:
    return json.loads(Path("explained.json").read_text())


def step_of(capsys: Capsys, *arguments: str) -> float:
    """What ``plan`` or ``price`` says."""
    done = run(capsys, *arguments, "--json")
    assert done.status == 0, done.err
    found: float = json.loads(done.out)["estimate"]["step_time_s"]
    return found


def replanned(capsys: Capsys, cluster: str, *more: str) -> float:
    """The step of a plan for another cluster file."""
    Path("other.yaml").write_text(cluster)
    arguments = [("other.yaml" if each == "cluster.yaml" else each) for each in PLAN]
    return step_of(capsys, *arguments, "-o", "other.json", *more)


def repriced(capsys: Capsys, stages: Any, cluster: str = CLUSTER) -> float:
    """The step of these stages (and their schedule), as if somebody had written them, on another cluster."""
    Path("other.yaml").write_text(cluster)
    plan = json.loads(Path("plan.json").read_text())
    raw = {key: plan[key] for key in ("format", "model", "batch_size", "settings")}
    raw |= {"cluster": {"path": "other.yaml"}, "schedule": stages["schedule"], "stages": stages["stages"]}
    Path("written.json").write_text(json.dumps(raw))
    return step_of(capsys, "price", "written.json")


TWICE: Mapping[str, Mapping[str, str]] = {
    "memory = 2x": {"8 GiB": "16 GiB", "4 GiB": "8 GiB"},
    "speed fast-cpu = 2x": {"12 GB/s": "24 GB/s", "120 GFLOP/s}, launch: 10 us": "240 GFLOP/s}, launch: 5 us"},
    "speed slow-cpu = 2x": {" 6 GB/s": " 12 GB/s", "40 GFLOP/s}, launch: 10 us": "80 GFLOP/s}, launch: 5 us"},
    "network = 2x": {"10 Gb/s": "20 Gb/s"},
    "network fast-slow = 2x": {"10 Gb/s": "20 Gb/s"},
    "interconnect = 2x": {"5 GB/s": "10 GB/s", "bandwidth: 3 GB/s": "bandwidth: 6 GB/s"},
    "interconnect fast = 2x": {"5 GB/s": "10 GB/s"},
    "interconnect slow = 2x": {"bandwidth: 3 GB/s": "bandwidth: 6 GB/s"},
    "devices fast = 3": {"fast-cpu, count: 2": "fast-cpu, count: 3"},
    "devices slow = 3": {"slow-cpu, count: 2": "slow-cpu, count: 3"},
}


def file_after(change: str) -> str:
    """The cluster file, edited by hand as the change says."""
    text = CLUSTER
    for old, new in TWICE[change].items():
        assert old in text
        text = text.replace(old, new)
    return text


def test_what_bounds_the_step_by_the_simulated_events(here: Path) -> None:
    found = explained()["bottleneck"]
    built = pipeline.build(load_plan("plan.json"))
    timeline = pipeline.simulated(built).timeline
    busy: dict[int, float] = {}
    for event in timeline.events:
        if event.action.kind in (Kind.FORWARD, Kind.BACKWARD, Kind.UPDATE):
            busy[event.rank] = busy.get(event.rank, 0.0) + event.end_s - event.start_s
    assert found["busy_s"] == pytest.approx(max(busy.values()))
    assert busy[found["rank"]] == pytest.approx(max(busy.values()))
    assert found["rank"] in built.plan.stages[found["stage"]].ranks
    assert sum(found["breakdown"].values()) == pytest.approx(timeline.step_s)
    for each in found["memory"]:
        ranks = [rank for rank in timeline.peak_bytes if built.cluster.device(rank).name == each["device"]]
        assert each["peak_bytes"] == max(timeline.peak_bytes[rank] for rank in ranks)
        assert each["peak_bytes"] <= each["capacity_bytes"] < built.cluster.device(each["rank"]).memory_bytes


def test_what_would_be_faster_by_pricing_the_plan_on_an_edited_cluster(here: Path, capsys: Capsys) -> None:
    plan = json.loads(Path("plan.json").read_text())
    faster = explained()["bottleneck"]["faster"]
    assert len(faster) == 5
    assert [each["step_time_s"] for each in faster] == sorted(each["step_time_s"] for each in faster)
    for each in faster:
        assert repriced(capsys, plan, file_after(each["change"])) == pytest.approx(each["step_time_s"]), each


def test_the_next_best_plan_by_pricing_it(here: Path, capsys: Capsys) -> None:
    found = explained()
    estimate = json.loads(Path("plan.json").read_text())["estimate"]
    assert found["step_time_s"] == estimate["step_time_s"] <= found["next_best"]["step_time_s"]
    assert repriced(capsys, found["next_best"]["plan"]) == pytest.approx(found["next_best"]["step_time_s"])
    assert 0.99 * estimate["formula_s"] <= found["lower_bound_s"] <= estimate["formula_s"], "a search of its own, to the same gap"


def test_the_baselines_by_pricing_them(here: Path, capsys: Capsys) -> None:
    rows = explained()["baselines"]
    assert {"data parallel, even", "fully sharded data parallel", "pure tensor, fastest node"} <= {row["name"] for row in rows}
    for row in rows:
        if row["step_time_s"] is None:
            assert row["infeasible"]
        else:
            assert repriced(capsys, row["plan"]) == pytest.approx(row["step_time_s"]), row["name"]


def test_what_would_help_by_planning_for_an_edited_cluster(here: Path, capsys: Capsys) -> None:
    rows = explained()["remedies"]
    plan = json.loads(Path("plan.json").read_text())
    assert {"memory = 2x", "network = 2x", "interconnect = 2x", "devices fast = 3", "devices slow = 3"} <= {
        r["name"] for r in rows
    }
    for row in rows:
        file = file_after(row["name"])
        again = replanned(capsys, file)
        kept = again if "devices fast" in row["name"] else repriced(capsys, plan, file)  # whose ranks would move
        assert row["step_time_s"] == pytest.approx(min(again, kept)), row["name"]


@pytest.mark.parametrize(
    ("wish", "pins"),
    [
        ("stages=3", ("--stages", "3")),
        ("stages=2,data=1", ("--stages", "2", "--data", "1")),
        ("tensor=2", ("--tensor", "2")),
        ("microbatches=4,schedule=gpipe", ("--microbatches", "4", "--schedule", "gpipe")),
        ("dp", ("--stages", "1", "--tensor", "1")),
        ("pp", ("--data", "1", "--tensor", "1")),
    ],
)
def test_why_not_by_planning_with_pins(wish: str, pins: tuple[str, ...], here: Path, capsys: Capsys) -> None:
    (row,) = json.loads(ask(capsys, "--why-not", wish))["why_not"]
    assert row["name"] == wish
    assert row["step_time_s"] == pytest.approx(replanned(capsys, CLUSTER, *pins))


def test_why_not_a_baseline(here: Path, capsys: Capsys) -> None:
    rows = {row["name"]: row for row in load_plan_json()["baselines"]}
    asked = json.loads(ask(capsys, "--why-not", "ddp", "--why-not", "fastest", "--why-not", "even pipeline"))["why_not"]
    assert [row["step_time_s"] for row in asked[:2]] == [
        rows[name]["step_time_s"] for name in ("data parallel, even", "fastest device alone")
    ]
    assert asked[2]["infeasible"] == rows["even pipeline"]["infeasible"]


def load_plan_json() -> Any:
    return json.loads(Path("plan.json").read_text())


def test_why_not_a_rank(here: Path, capsys: Capsys) -> None:
    """Pinned to a plan that leaves devices out; what uses one more is priced again, and is no better than the best."""
    Path("keep.json").write_text(Path("plan.json").read_text())
    try:
        assert run(capsys, *PLAN, "--stages", "1", "--data", "1", "--tensor", "1").status == 0
        plan = load_plan("plan.json")
        assert plan.unused_ranks
        rank = plan.unused_ranks[-1]
        (row,) = json.loads(ask(capsys, "--why-not", f"rank {rank}"))["why_not"]
        assert row["step_time_s"] is None or uses(row["plan"], load_cluster("cluster.yaml").device(rank).name)
        (found,) = json.loads(ask(capsys, "--why-not", "rank 0"))["why_not"]
        used = 0 in plan.stages[0].ranks
        assert (found["step_time_s"] == pytest.approx(plan_step(plan))) == used
    finally:
        Path("plan.json").write_text(Path("keep.json").read_text())


def test_left_out(here: Path, capsys: Capsys) -> None:
    """How slow a device is, by what the whole model takes there; the plan that uses one more, by pricing it."""
    pins = ("--stages", "1", "--data", "1", "--tensor", "1", "--microbatches", "1")
    assert run(capsys, *PLAN, *pins, "-o", "alone.json").status == 0
    plan, index = load_plan("alone.json"), pipeline.index_of(pipeline.build(load_plan("alone.json")))
    question = Question(score(plan, index), index, Pins(), 0.01, 20.0, silent)
    found = list(left_out(question))
    assert sorted(rank for each in found for rank in each.ranks) == sorted(plan.unused_ranks) == [1, 2, 3]
    busy = {}
    for rank in (0, 3):
        raw = json.loads(Path("alone.json").read_text())
        raw["stages"][0]["ranks"], raw["unused_ranks"] = [rank], [each for each in range(4) if each != rank]
        Path("there.json").write_text(json.dumps(raw))
        breakdown = json.loads(run(capsys, "price", "there.json", "--json").out)["estimate"]["breakdown"]
        busy[rank] = breakdown["forward"] + breakdown["backward"]
    assert [each.slowness for each in found] == [pytest.approx(1.0), pytest.approx(busy[3] / busy[0])]
    for each in found:
        assert each.best.plan is not None
        stages = json_values(each.best.plan)
        assert uses(stages, index.cluster.device(each.ranks[0]).name)
        assert repriced(capsys, stages) == pytest.approx(each.best.step_time_s)


def uses(plan: Any, device: str) -> bool:
    cluster = load_cluster("cluster.yaml")
    return any(cluster.device(rank).name == device for stage in plan["stages"] for rank in stage["ranks"])


def plan_step(plan: Plan) -> float:
    assert plan.estimate is not None
    return plan.estimate.step_time_s


def test_what_if_by_editing_the_file(here: Path, capsys: Capsys) -> None:
    both = json.loads(ask(capsys, "--what-if", "network fast-slow = 2x", "--what-if", "devices slow = 3"))["what_if"]
    file = file_after("network = 2x").replace("slow-cpu, count: 2", "slow-cpu, count: 3")
    kept = repriced(capsys, load_plan_json(), file)
    assert both["kept"]["step_time_s"] == pytest.approx(kept)
    assert both["overfull"] is None
    assert both["best"]["step_time_s"] == pytest.approx(min(kept, replanned(capsys, file)))


def test_what_if_it_does_not_fit(here: Path, capsys: Capsys) -> None:
    found = json.loads(ask(capsys, "--what-if", "memory fast-cpu = 270 MiB"))["what_if"]
    rank, peak, capacity = found["overfull"]
    assert peak > capacity
    assert load_plan("plan.json").estimate.peak_bytes[rank] == peak  # type: ignore[union-attr]
    small = CLUSTER.replace("8 GiB", "270 MiB")
    assert found["best"]["step_time_s"] == pytest.approx(replanned(capsys, small))
    nothing = run(capsys, "explain", "plan.json", "--what-if", "memory = 262 MiB")
    assert "The plan as it is does not fit" in nothing.out
    assert "No plan fits then." in nothing.out


def test_ops(here: Path, capsys: Capsys) -> None:
    (found,) = json.loads(ask(capsys, "--op", "middle:linear"))["ops"]
    flops = 2 * 512 * 512
    share = max(next(stage for stage in load_plan("plan.json").stages if "middle" in stage.blocks).shares)
    assert found["flops"] == 3 * flops * share, "a backward is two products like the forward"
    rates = {"fast-cpu": (120e9, 12e9), "slow-cpu": (40e9, 6e9)}
    moved = 4 * (512 * 512 + 512 + 2 * 512 * share)
    for device, forward_s in found["forward_s"].items():
        peak, bandwidth = rates[device]
        assert forward_s == pytest.approx(10e-6 + max(flops * share / (0.7 * peak), moved / (0.8 * bandwidth)))
    again = 4 * (
        3 * 512 * share + 2 * 512 * 512 + 512
    )  # reads two of a row and the weight, writes one, the weight's and the bias's
    for device, backward_s in found["backward_s"].items():
        peak, bandwidth = rates[device]
        assert backward_s == pytest.approx(10e-6 + max(2 * flops * share / (0.7 * peak), again / (0.8 * bandwidth)))
    assert "middle:linear" in run(capsys, "explain", "plan.json", "--op", "middle").out
    assert_refused(run(capsys, "explain", "plan.json", "--op", "midle"), "no op, module", "Did you mean middle")


def test_the_layouts_of_an_op_and_what_else_it_could_be(here: Path, capsys: Capsys) -> None:
    """What a microbatch takes where the parameter is held so, by the search for the best layout with that pinned."""
    assert run(capsys, *PLAN, "--stages", "1", "--tensor", "2", "-o", "tensor.json").status == 0
    done = run(capsys, "explain", "tensor.json", "--op", "middle.weight", "--json")
    (found,) = json.loads(done.out)["ops"]
    ways = {way["layout"]: way["seconds"] for way in found["ways"]}
    assert {"R", "S(0)", "S(1)"} <= ways.keys()
    assert ways == {layout: pytest.approx(best_with("tensor.json", "middle.weight", layout)) for layout in ways}
    text = run(capsys, "explain", "tensor.json", "--op", "middle.weight").out
    assert "chosen" in text


def best_with(path: str, name: str, layout: str) -> float:
    from autopart.cluster.cluster import topology
    from autopart.tensor.assign import best_layout
    from autopart.tensor.plan import pace_device, prices_of

    built = pipeline.build(load_plan(path))
    index, stage = pipeline.index_of(built), built.plan.stages[0]
    weights, rows = stage.tensor_shares or (1,) * stage.tensor, max(stage.shares)
    device = pace_device(index.table, [built.cluster.device(rank) for rank in stage.replica(0)], weights, rows)
    prices = prices_of(index.table, weights, device, rows, topology(built.cluster, stage.replica(0)))
    return best_layout(index.blocks, prices, {name: layout}).seconds


@pytest.mark.parametrize(
    ("question", "words"),
    [
        (("--why-not", "stage=3"), ("no such kind of plan", "Did you mean 'stages=3'?")),
        (("--why-not", "data paralel, even"), ("no such kind of plan", "'data parallel, even'")),
        (("--why-not", "rank 4"), ("there is no rank 4", "ranks 0 to 3")),
        (("--what-if", "netwrk = 1 Gb/s"), ("no change of a cluster", "Did you mean 'network'?")),
    ],
)
def test_slips_are_answered_at_once(question: tuple[str, ...], words: tuple[str, ...], here: Path, capsys: Capsys) -> None:
    assert_refused(run(capsys, "explain", "plan.json", *question), *words)


def test_why_not_the_impossible_says_why(here: Path, capsys: Capsys) -> None:
    done = run(capsys, "explain", "plan.json", "--why-not", "stages=9")
    assert done.status == 0
    assert "It can't be done: 9 stages of 3 blocks on 4 devices." in done.out


def test_the_same_questions_from_python(here: Path, capsys: Capsys) -> None:
    """Of a plan from a file, and of one that was made of a live module, whose path nobody knows."""
    asked = ("--why-not", "ddp", "--what-if", "memory = 2x", "--what-if", "devices slow = 3", "--op", "middle")
    told = run(capsys, "explain", "plan.json", *asked)
    assert told.status == 0, told.err
    assert "on 2 x fast-cpu + 3 x slow-cpu (rank 0-4)" in told.out, "ranks are those of the changed cluster"
    questions = {"why_not": "ddp", "what_if": ["memory = 2x", "devices slow = 3"], "op": "middle"}
    assert autopart.load_plan("plan.json").explain(**questions) == told.out
    live = autopart.plan(Net(), lambda n: (torch.randn(n, 4),), "cluster.yaml", batch_size=8, loss=lambda out: out.sum())
    assert "middle:linear" in live.explain(op="middle")
    assert live.show().startswith("a model over cluster.yaml")
    with pytest.raises(autopart.InputError, match="no such kind of plan"):
        live.explain(why_not="stage=3")


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.middle = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.middle(x)
        return out


def test_diff(here: Path, capsys: Capsys) -> None:
    """Bytes between stages by the shapes that cross, samples by the shares; a plan does not differ from itself."""
    for stages, name in (("1", "one.json"), ("2", "two.json")):
        pins = ("--stages", stages, "--tensor", "1", "--microbatches", "4", "--data", "1")
        assert run(capsys, *PLAN, *pins, "-o", name).status == 0
    found = json.loads(run(capsys, "diff", "one.json", "two.json", "--json").out)
    one, two = load_plan("one.json"), load_plan("two.json")
    for side, plan in (("before", one), ("after", two)):
        assert found[side]["step_time_s"] == pytest.approx(plan_step(plan))
        assert plan.estimate is not None
        assert found[side]["peak_bytes"] == {str(rank): peak for rank, peak in plan.estimate.peak_bytes.items()}
    assert found["before"]["message_bytes"] == 0
    assert found["after"]["message_bytes"] == 2 * 64 * 512 * 4, "a value of 512 floats forward, its gradient back"
    used = {rank for plan in (one, two) for stage in plan.stages for rank in stage.ranks}
    for rank in used:
        row = [each for each in found["samples"] if each["rank"] == rank]
        was, now = (64 * any(rank in stage.ranks for stage in plan.stages) for plan in (one, two))
        assert row == ([] if was == now else [{"rank": rank, "before": was, "after": now}])
    assert sorted(name for each in found["moved"] for name in each["blocks"]) == sorted(
        name for stage in two.stages for name in stage.blocks if stage.ranks != one.stages[0].ranks
    )
    same: Done = run(capsys, "diff", "two.json", "two.json")
    assert "no block runs on other ranks" in same.out
    assert "samples of a step" not in same.out


def test_price_says_what_an_edit_loses(here: Path, capsys: Capsys) -> None:
    raw = load_plan_json()
    chosen = raw["estimate"]["step_time_s"]
    names = [name for stage in raw["stages"] for name in stage["blocks"]]
    raw["schedule"]["microbatches"] = 4
    raw["stages"] = [{"blocks": names, "ranks": [2], "shares": [16]}]
    raw["unused_ranks"] = []
    Path("edited.json").write_text(json.dumps(raw))
    done = run(capsys, "price", "edited.json", "-o", "priced.json")
    priced = load_plan("priced.json")
    assert priced.estimate is not None
    assert f"{priced.estimate.step_time_s / chosen - 1:.1%} slower than the plan that it was made from" in done.out
    assert f"saves more than {priced.estimate.gap:.1%}." in done.out
    assert priced.estimate.lower_bound_s == load_plan("plan.json").estimate.lower_bound_s  # type: ignore[union-attr]
    raw["batch_size"], raw["stages"][0]["shares"] = 32, [8]
    Path("edited.json").write_text(json.dumps(raw))
    assert "The bound in the file is of another model, cluster, batch size" in run(capsys, "price", "edited.json").out
    assert run(capsys, "compile", "priced.json", "-o", "package").status == 0
