"""The plan of a profiled graph: which op runs on which rank, what every rank carries, how good that is. See docs/schema/."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from autopart import jsonfile
from autopart.cluster.cluster import Cluster
from autopart.cluster.load import load_cluster
from autopart.cluster.units import format_seconds
from autopart.errors import Infeasible, PlanError
from autopart.plans import ClusterRef
from autopart.profiled.evaluate import loads
from autopart.profiled.problem import Goal, Objective, Problem, make_problem
from autopart.profiled.profile import Profile, load_profile
from autopart.profiled.solve import Solution, solve
from autopart.say import Say

FORMAT = 1
KIND_NAME = "profile-plan"
KIND = jsonfile.FileKind(
    name="plan",
    error=PlanError,
    schema="profile-plan.schema.json",
    make="`autopart plan graph.json` writes one.",
    reference="docs/reference/profile.md says what such a plan holds.",
)


@dataclass(frozen=True, slots=True)
class ProfileRef:
    """The graph that a plan is for; ``digest`` is of what the file means."""

    path: str
    digest: str
    ops: int


@dataclass(frozen=True, slots=True)
class RankLoad:
    """What a rank carries: seconds of its ops, of what it sends and of what it receives; bytes of its ops."""

    rank: int
    ops: int
    compute_s: float
    sent_s: float
    received_s: float
    memory_bytes: float


@dataclass(frozen=True, slots=True)
class ProfilePlan:
    """``ended``: "optimal", "gap" (proven as close as was asked for), "time", "exhausted" (no method left) or "interrupted"."""

    profile: ProfileRef
    cluster: ClusterRef
    objective: Objective
    contiguous: bool
    microbatches: int
    value_s: float
    lower_bound_s: float
    gap: float
    ended: str
    assignment: Mapping[str, int]  # rank by op
    loads: tuple[RankLoad, ...]  # of the ranks that are used
    unused_ranks: tuple[int, ...]
    start_s: Mapping[str, float] = field(default_factory=dict)  # by op; of the schedule that latency is the length of


def plan_files(path: str, devices: str, goal: Goal, *, gap: float, time_limit_s: float, say: Say) -> ProfilePlan:
    """``autopart plan graph.json``."""
    cluster = load_cluster(devices)
    say("reading the profile")
    return decide(load_profile(path), cluster, goal, gap=gap, time_limit_s=time_limit_s, say=say)


def decide(profile: Profile, cluster: Cluster, goal: Goal, *, gap: float, time_limit_s: float, say: Say) -> ProfilePlan:
    """Price, solve, and say what came out."""

    def progress(incumbent_s: float, bound_s: float, elapsed_s: float) -> None:
        best, bound = format_seconds(incumbent_s), format_seconds(bound_s)
        open_part = (incumbent_s - bound_s) / incumbent_s if incumbent_s else 0.0
        say(f"solving: best {goal.objective} {best}, none below {bound}, gap {open_part:.1%}, {elapsed_s:.0f} s")

    problem = make_problem(profile, cluster, goal)
    try:
        solution = solve(problem, gap=gap, time_limit_s=time_limit_s, progress=progress)
    except Infeasible as error:
        raise Infeasible(error.what, where=profile.path, remedy=error.remedy) from error
    say("")
    return _plan(profile, cluster, problem, solution)


def _plan(profile: Profile, cluster: Cluster, problem: Problem, solution: Solution) -> ProfilePlan:
    found = loads(problem, solution.assignment)
    used = sorted(set(solution.assignment))
    goal = problem.goal
    return ProfilePlan(
        profile=ProfileRef(profile.path, profile.digest, len(profile.ops)),
        cluster=ClusterRef(cluster.path, cluster.digest),
        objective=goal.objective,
        contiguous=goal.contiguous,
        microbatches=goal.microbatches,
        value_s=solution.value_s,
        lower_bound_s=solution.bound_s,
        gap=solution.gap,
        ended=solution.ended,
        assignment=dict(zip(problem.names, solution.assignment, strict=True)),
        loads=tuple(
            RankLoad(
                rank=rank,
                ops=solution.assignment.count(rank),
                compute_s=float(found.compute_s[rank]),
                sent_s=float(found.sent_s[rank]),
                received_s=float(found.received_s[rank]),
                memory_bytes=float(found.memory_bytes[rank]),
            )
            for rank in used
        ),
        unused_ranks=tuple(rank for rank in range(problem.ranks) if rank not in used),
        start_s=dict(zip(problem.names, solution.start_s, strict=True)) if solution.start_s else {},
    )


def dump_plan(plan: ProfilePlan) -> str:
    """The text of the plan's file. Byte-identical for equal plans."""
    raw: dict[str, Any] = {"format": FORMAT, "kind": KIND_NAME, **asdict(plan)}
    del raw["cluster"]["nodes"]
    for key, kept in (("microbatches", plan.objective == "step"), ("start_s", bool(plan.start_s))):
        if not kept:
            del raw[key]
    return jsonfile.render(raw, "") + "\n"


def save_plan(plan: ProfilePlan, path: str | Path) -> None:
    """Write the plan, paths in it relative to its folder; an existing file is replaced whole or not at all."""
    target = Path(path)
    folder = target.absolute().parent
    moved = _with_paths(plan, lambda old: os.path.relpath(old, folder))
    try:
        jsonfile.replace_file(target, dump_plan(moved))
    except OSError as error:
        raise PlanError(f"can't be written: {error.strerror}", where=str(target), remedy="Name another file with -o.") from error


def is_profile_plan(path: str | Path) -> bool:
    """Whether a file says that it is a plan of a profiled graph; whatever else is wrong with it is for its own reader to say."""
    try:
        raw = jsonfile.decode(jsonfile.read_text(path, KIND), str(path), KIND)
    except PlanError:
        return False
    return isinstance(raw, dict) and raw.get("kind") == KIND_NAME


def load_plan(path: str | Path) -> ProfilePlan:
    """Read and check a plan; its paths come back relative to the working directory."""
    source = Path(path)
    raw = jsonfile.parse(jsonfile.read_text(source, KIND), str(source), KIND)
    plan = ProfilePlan(
        profile=ProfileRef(**raw["profile"]),
        cluster=ClusterRef(**raw["cluster"]),
        objective=raw["objective"],
        contiguous=raw["contiguous"],
        microbatches=raw.get("microbatches", 1),
        value_s=raw["value_s"],
        lower_bound_s=raw["lower_bound_s"],
        gap=raw["gap"],
        ended=raw["ended"],
        assignment=raw["assignment"],
        loads=tuple(RankLoad(**each) for each in raw["loads"]),
        unused_ranks=tuple(raw["unused_ranks"]),
        start_s=raw.get("start_s", {}),
    )
    return _with_paths(plan, lambda old: os.path.relpath(source.absolute().parent / old))


def _with_paths(plan: ProfilePlan, change: Any) -> ProfilePlan:
    return replace(
        plan,
        profile=replace(plan.profile, path=change(plan.profile.path)),
        cluster=replace(plan.cluster, path=change(plan.cluster.path)),
    )
