"""Why not so? Plans that a user has in mind, each the best of its kind, or one of the baselines.

dp pp tp                      data parallelism alone, one device a stage, one replica of several columns
ddp fsdp fastest              even shares over all devices, the same with all state sharded, the fastest device alone;
                              or any other baseline by its name
rank 7                        a plan that uses one device more of the kind of rank 7; `every rank`: all devices
stages=3,tensor=2             pins: stages, data, tensor, zero, microbatches, schedule
'*.fc1.weight=R'              a layout, as under `layouts` in a plan
all                           dp, ddp, pp, tp, fsdp, fastest
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from difflib import get_close_matches
from functools import partial

from autopart.cluster.cluster import node_sizes
from autopart.errors import InputError
from autopart.explain.question import Other, Question, best_under, other
from autopart.planner.baselines import baseline_names, baselines
from autopart.planner.strategies import Pins, tensor_degrees
from autopart.plans import LAYOUT

PINS: Mapping[str, Pins] = {
    "dp": Pins(stages=1, tensor=1),
    "pp": Pins(data=1, tensor=1),
}
BASELINES: Mapping[str, str] = {
    "ddp": "data parallel, even",
    "fsdp": "fully sharded data parallel",
    "fastest": "fastest device alone",
}
ALL = ("dp", "ddp", "pp", "tp", "fsdp", "fastest")
KEYS = ("stages", "data", "tensor", "zero", "microbatches")
SCHEDULES = ("1f1b", "gpipe")


Answer = Callable[[], Other]


def why_not(question: Question, wish: str) -> tuple[Answer, ...]:
    """How to find the best plans of the kind that is wished for; InputError, at once, where nobody knows what is meant."""
    if wish == "all":
        return tuple(answer for each in ALL for answer in why_not(question, each))
    if wish in PINS:
        return (partial(best_under, question, wish, PINS[wish]),)
    if wish == "tp":
        return (partial(_tensor, question),)
    if wish == "every rank":
        least = tuple(group.devices for group in question.index.cluster.groups)
        return (partial(best_under, question, wish, replace(question.pins, least=least)),)
    if found := re.fullmatch(r"rank\s*=?\s*(\d{1,7})", wish):
        return (partial(using, question, _checked(question, int(found[1]))),)
    if "=" in wish:
        return (_pinned(question, wish),)
    return (_baseline(question, wish),)


def _checked(question: Question, rank: int) -> int:
    cluster = question.index.cluster
    if rank < len(cluster.ranks):
        return rank
    what = f"there is no rank {rank} in {cluster.path}"
    raise InputError(what, remedy=f"It has {len(cluster.ranks)} devices: ranks 0 to {len(cluster.ranks) - 1}.")


def using(question: Question, rank: int) -> Other:
    """The best plan with one device more of the kind of ``rank``; of a rank that is used, the plan itself."""
    cluster = question.index.cluster
    used = [each for stage in question.plan.stages for each in stage.ranks]
    if rank in used:
        return other(f"rank {rank}", question.asked)
    taken = Counter(cluster.ranks[each].group for each in used)
    group = cluster.ranks[rank].group
    degrees = (1, *tensor_degrees(cluster.groups[group].devices_per_node))
    if not any(question.index.meshes(group, degree) for degree in degrees):
        return Other(f"rank {rank}", infeasible=f"there are no prices of {cluster.groups[group].device.name}")
    least = tuple(taken[group] + 1 if number == group else 0 for number in range(len(cluster.groups)))
    return best_under(question, f"rank {rank}", replace(question.pins, least=least))


def _tensor(question: Question) -> Other:
    """The best number of columns."""
    degrees = sorted({degree for size in node_sizes(question.index.cluster) for degree in tensor_degrees(size)})
    found = [best_under(question, "tp", Pins(stages=1, data=1, tensor=degree)) for degree in degrees]
    fitting = [each for each in found if each.step_time_s is not None]
    if fitting:
        return min(fitting, key=lambda each: each.step_time_s or 0.0)
    return found[0] if found else Other("tp", infeasible="no node has several devices")


def _pinned(question: Question, wish: str) -> Answer:
    """Pins beside those that the plan was made with."""
    schedule, pins = None, question.pins
    for part in wish.split(","):
        key, _, value = (text.strip() for text in part.rpartition("="))
        if key == "schedule" and value in SCHEDULES:
            schedule = value
        elif key in KEYS and re.fullmatch(r"\d{1,9}", value):
            pins = Pins(**{**asdict(pins), key: int(value)})
        elif LAYOUT.fullmatch(value) and key not in (*KEYS, "schedule"):
            pins = replace(pins, layouts={key: value, **pins.layouts})
        else:
            raise _unknown(part)
    return partial(best_under, question, wish, pins, schedule)


def _baseline(question: Question, wish: str) -> Answer:
    name, known = BASELINES.get(wish, wish), baseline_names(question.index)
    if name not in known and wish not in BASELINES:
        raise _unknown(wish, known)

    def answer() -> Other:
        row = next(iter(baselines(question.index, question.plan.schedule.name, only=name)), None)
        return other(wish, row.best, row.reason) if row else Other(wish, infeasible="there is one device")

    return answer


def _unknown(wish: str, names: tuple[str, ...] = ()) -> InputError:
    known = [*ALL, "all", "every rank", "rank 7", "stages=3", "tensor=2", "data=2", "zero=1", "microbatches=8", "schedule=gpipe"]
    near = get_close_matches(wish, [*known, *names], n=2)
    hint = f"Did you mean {' or '.join(map(repr, near))}? " if near else ""
    return InputError(f"--why-not {wish!r}: no such kind of plan", remedy=f"{hint}Ask for {', '.join(known)}, or a baseline.")
