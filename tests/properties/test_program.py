"""Every plan lowers to a program that ends, does each computation once, keeps to its memory, and simulates."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from random import Random

import pytest

from autopart.program.check import check_plan
from autopart.program.lower import lower
from autopart.program.match import match
from autopart.program.pieces import messages, nbytes
from autopart.program.program import Action, Kind, Program
from autopart.program.schedule import in_flight
from autopart.program.steps import ProgramError
from autopart.program.text import format_actions, parse_actions
from autopart.simulate import simulate
from cost_models.hardware import Link
from tests.programs import FREE, chain, cluster_of, costs_of, random_case, random_costs, random_program, random_shares

CASES = 800
MUTANTS = 3000


def test_random_plans_lower_match_print_and_simulate() -> None:
    pipelines = skips = 0
    for seed in range(CASES):
        blocks, plan, cluster = random_case(seed)
        check_plan(plan, blocks, cluster)
        program = lower(blocks, plan)
        assert executes(program), seed
        _holds_every_parameter(program, [p.name for p in blocks.sharded.graph.parameters])
        text = format_actions(program.actions)
        assert all(parse_actions(text, rank) == actions for rank, actions in program.actions.items()), seed
        _simulates(program, random_costs(Random(seed), program), cluster)
        pipelines += len(program.stages) > 1
        skips += any(transfer.target - transfer.source > 1 for transfer in program.transfers)
    assert pipelines > CASES / 2
    assert skips > CASES / 10


def _holds_every_parameter(program: Program, names: Sequence[str]) -> None:
    assert {name for stage in program.stages for name in stage.parameters} == set(names)
    for stage in program.stages:
        assert list(stage.parameters) == [name for name in names if name in stage.parameters]


def _simulates(program: Program, costs, cluster) -> None:  # type: ignore[no-untyped-def]
    timeline = simulate(program, costs, cluster)
    computed = [(event.rank, event.action) for event in timeline.events]
    expected = [(rank, action) for rank, actions in program.actions.items() for action in actions if action.peer < 0]
    assert computed == expected
    arrows = [messages(program, backward=backward) for backward in (False, True)]
    assert len(timeline.messages) == program.microbatches * (len(arrows[0]) + len(arrows[1]))
    sizes = [
        {pair: sum(nbytes(piece, program.batch_size) for piece in pieces) for pair, pieces in found.items()} for found in arrows
    ]
    for stage in program.stages:
        deepest = in_flight(program.schedule, len(program.stages) - stage.index, program.microbatches)
        for rank in stage.ranks:
            cost = costs.of[stage.index, rank]
            received = 2 * max(sum(n for pair, n in found.items() if pair[1] == rank) for found in sizes)
            sent = program.microbatches * sum(n for pair, n in sizes[1].items() if pair[0] == rank)
            most = deepest * cost.inflight_bytes + max(cost.transient_bytes, cost.update_bytes) + received + sent
            assert cost.static_bytes + cost.update_bytes <= timeline.peak_bytes[rank] <= cost.static_bytes + most
            assert timeline.memory[rank][-1][1] == cost.static_bytes
            assert sum(timeline.seconds[rank].values()) == pytest.approx(timeline.step_s)
            assert min(timeline.seconds[rank].values()) >= -1e-12


def test_random_meshes_match_print_and_execute() -> None:
    uneven = 0
    for seed in range(CASES):
        program = random_program(Random(seed))
        match(program)
        assert executes(program), seed
        text = format_actions(program.actions)
        assert all(parse_actions(text, rank) == actions for rank, actions in program.actions.items()), seed
        uneven += len({stage.tensor for stage in program.stages}) > 1
    assert uneven > CASES / 3


def test_a_changed_program_never_slips_through() -> None:
    """What a match accepts can be executed; dropping, doubling or redirecting anything is never accepted."""
    rng = Random(7)
    programs = [lower(*random_case(seed)[:2]) for seed in range(60)] + [random_program(Random(seed)) for seed in range(60)]
    refused = 0
    for _ in range(MUTANTS):
        program = rng.choice(programs)
        how = rng.choice((_drop, _double, _swap, _retarget, _renumber, _restage, _flip))
        rank = rng.choice(list(program.actions))
        changed = how(rng, list(program.actions[rank]), sorted(program.actions))
        if tuple(changed) == program.actions[rank]:
            continue
        mutant = replace(program, actions={**program.actions, rank: tuple(changed)})
        accepted = _matches(mutant)
        assert not accepted or (how is _swap and executes(mutant)), (how.__name__, program.actions[rank], changed)
        refused += not accepted
    assert refused > MUTANTS / 2


def _matches(program: Program) -> bool:
    try:
        match(program)
    except ProgramError:
        return False
    return True


def _drop(rng: Random, actions: list[Action], _: Sequence[int]) -> list[Action]:
    del actions[rng.randrange(len(actions))]
    return actions


def _double(rng: Random, actions: list[Action], _: Sequence[int]) -> list[Action]:
    actions.insert(rng.randrange(len(actions)), rng.choice(actions))
    return actions


def _swap(rng: Random, actions: list[Action], _: Sequence[int]) -> list[Action]:
    i, j = rng.randrange(len(actions)), rng.randrange(len(actions))
    actions[i], actions[j] = actions[j], actions[i]
    return actions


def _retarget(rng: Random, actions: list[Action], ranks: Sequence[int]) -> list[Action]:
    found = [i for i, action in enumerate(actions) if action.peer >= 0]
    if found:
        i = rng.choice(found)
        actions[i] = replace(actions[i], peer=rng.choice([*ranks, 10**6]))
    return actions


def _renumber(rng: Random, actions: list[Action], _: Sequence[int]) -> list[Action]:
    i = rng.randrange(len(actions))
    actions[i] = replace(actions[i], microbatch=actions[i].microbatch + rng.choice((-1, 1)))
    return actions


def _restage(rng: Random, actions: list[Action], _: Sequence[int]) -> list[Action]:
    i = rng.randrange(len(actions))
    actions[i] = replace(actions[i], stage=actions[i].stage + rng.choice((-1, 1)))
    return actions


def _flip(rng: Random, actions: list[Action], _: Sequence[int]) -> list[Action]:
    i = rng.randrange(len(actions))
    actions[i] = replace(actions[i], backward=not actions[i].backward)
    return actions


def test_sends_that_block_deadlock_1f1b() -> None:
    """Which is why sends return at once. In a chain either direction alone might block, both together must not."""
    for seed in range(200):
        rng = Random(seed)
        rows, stages, microbatches = rng.randint(1, 4), rng.randint(2, 5), rng.randint(2, 6)
        shares = [random_shares(rng, rows, rng.randint(1, rows)) for _ in range(stages)]
        program = chain(shares, microbatches)
        assert executes(program)
        assert executes(program, synchronous={False})
        assert executes(program, synchronous={True})
        assert not executes(program, synchronous={False, True})
        assert executes(chain(shares, microbatches, "gpipe"), synchronous={False, True})


def executes(program: Program, synchronous: Collection[bool] = ()) -> bool:
    """Whether the lists, run rank by rank as simply as can be, come to their ends with everything right.

    Sends of the directions in ``synchronous`` wait until their receiver receives.
    """
    try:
        return _Machine(program, synchronous).run()
    except _WrongError:
        return False


class _WrongError(Exception):
    pass


class _Machine:
    """Queues between ranks; a stage's replicas compute together, as a collective would make them."""

    def __init__(self, program: Program, synchronous: Collection[bool]) -> None:
        self.program, self.synchronous = program, synchronous
        self.at = dict.fromkeys(program.actions, 0)
        self.queues: dict[tuple[int, int, bool], deque[int]] = {}
        self.got: dict[int, list[tuple[int, int]]] = {rank: [] for rank in program.actions}
        self.done: dict[int, list[Action]] = {rank: [] for rank in program.actions}
        self.wanted = {backward: messages(program, backward=backward) for backward in (False, True)}
        self.replicas = {rank: stage.ranks for stage in program.stages for rank in stage.ranks}

    def run(self) -> bool:
        moving = True
        while moving:
            moving = False
            for rank in self.program.actions:
                while (action := self.current(rank)) and self.step(rank, action):
                    moving = True
        finished = all(self.current(rank) is None for rank in self.program.actions)
        complete = all(_complete(self.program, rank, ran) for rank, ran in self.done.items())
        return finished and complete and not any(self.queues.values())

    def current(self, rank: int) -> Action | None:
        actions = self.program.actions.get(rank, ())
        return actions[self.at[rank]] if rank in self.at and self.at[rank] < len(actions) else None

    def step(self, rank: int, action: Action) -> bool:
        """Whether the action could run."""
        match action.kind:
            case Kind.SEND:
                return self.send(rank, action)
            case Kind.RECEIVE:
                return self.receive(rank, action)
            case _:
                return self.compute(rank, action)

    def send(self, rank: int, action: Action) -> bool:
        kind = Kind.BACKWARD if action.backward else Kind.FORWARD
        sent_by = Action(kind, action.stage, action.microbatch, -1, action.backward)
        if sent_by not in self.done[rank] or (rank, action.peer) not in self.wanted[action.backward]:
            raise _WrongError
        if action.backward in self.synchronous:
            other = self.current(action.peer)
            waiting = other and (other.kind, other.peer, other.backward) == (Kind.RECEIVE, rank, action.backward)
            if not waiting or self.queues.get((rank, action.peer, action.backward)):
                return False
        self.queues.setdefault((rank, action.peer, action.backward), deque()).append(action.microbatch)
        self.at[rank] += 1
        return True

    def receive(self, rank: int, action: Action) -> bool:
        queue = self.queues.get((action.peer, rank, action.backward))
        if not queue:
            return False
        if queue.popleft() != action.microbatch:
            raise _WrongError
        self.got[rank].append((action.peer, action.microbatch))
        self.at[rank] += 1
        return True

    def compute(self, rank: int, action: Action) -> bool:
        ranks = self.replicas[rank]
        if any(self.current(other) != action for other in ranks):
            return False
        for other in ranks:
            pairs = self.wanted[action.backward] if action.microbatch >= 0 else ()
            if sorted(self.got[other]) != sorted((pair[0], action.microbatch) for pair in pairs if pair[1] == other):
                raise _WrongError
            self.got[other] = []
            self.done[other].append(action)
            self.at[other] += 1
        return True


def _complete(program: Program, rank: int, ran: Sequence[Action]) -> bool:
    stage = next(stage.index for stage in program.stages if rank in stage.ranks)
    due = [Action(Kind.FORWARD, stage, m) for m in range(program.microbatches)]
    due += [Action(Kind.BACKWARD, stage, m, -1, True) for m in range(program.microbatches)]
    order: Mapping[Action, int] = {action: i for i, action in enumerate(ran)}
    both = all(order.get(f, 0) < order.get(b, -1) for f, b in zip(due, due[program.microbatches :], strict=False))
    ends = tuple(ran[-2:]) == (Action(Kind.REDUCE, stage), Action(Kind.UPDATE, stage))
    return both and ends and sorted(map(str, ran[:-2])) == sorted(map(str, due))


def test_gpipe_takes_exactly_what_its_formula_says() -> None:
    for seed in range(1000):
        rng = Random(seed)
        stages, microbatches = rng.randint(1, 7), rng.randint(1, 12)
        program = chain([(1,)] * stages, microbatches, "gpipe", skips=_some_skips(rng, stages))
        f, b = ([rng.uniform(0, 1) for _ in range(stages)] for _ in range(2))
        timeline = simulate(program, costs_of(program, f, b), cluster_of(stages, inside=FREE))
        assert timeline.step_s == pytest.approx(sum(f) + sum(b) + (microbatches - 1) * (max(f) + max(b)), rel=1e-9)


def test_1f1b_is_within_its_formula_where_backwards_are_in_proportion() -> None:
    """Equal for one microbatch and for equal stages; never above for b = 2 f."""
    for seed in range(1000):
        rng = Random(seed)
        stages, microbatches = rng.randint(1, 7), rng.choice((1, rng.randint(1, 12)))
        program = chain([(1,)] * stages, microbatches, skips=_some_skips(rng, stages))
        f = [rng.uniform(0.1, 1)] * stages if seed % 2 else [rng.uniform(0.1, 1) for _ in range(stages)]
        t = [3 * seconds for seconds in f]
        step_s = simulate(program, costs_of(program, f, [2 * seconds for seconds in f]), cluster_of(stages)).step_s
        formula_s = sum(t) + (microbatches - 1) * max(t)
        if seed % 2 or microbatches == 1:
            assert step_s == pytest.approx(formula_s, rel=1e-9)
        assert step_s <= formula_s * (1 + 1e-9)


def _some_skips(rng: Random, stages: int) -> list[tuple[int, int]]:
    return [(i, j) for i in range(stages) for j in range(i + 2, stages) if rng.random() < 0.2]


def test_no_step_is_faster_than_the_schedule_bound() -> None:
    """That is max over stages of (time of the stages before + M x own), whatever shares, messages and schedule."""
    for seed in range(1000):
        rng = Random(seed)
        rows, stages = rng.randint(1, 6), rng.randint(1, 5)
        shares = [random_shares(rng, rows, rng.randint(1, rows)) for _ in range(stages)]
        program = chain(shares, rng.randint(1, 9), rng.choice(("1f1b", "gpipe")), skips=_some_skips(rng, stages))
        costs = random_costs(rng, program)
        devices = sum(len(share) for share in shares)
        network = Link(rng.uniform(0, 1e-3), 10 ** rng.uniform(2, 6))
        step_s = simulate(program, costs, cluster_of(devices // 2, devices - devices // 2, inside=FREE, network=network)
                          if devices > 1 else cluster_of(1)).step_s  # fmt: skip
        own_s = {key: cost.forward_s + cost.backward_s for key, cost in costs.of.items()}
        before_s = 0.0
        for stage in program.stages:
            times = [own_s[stage.index, rank] for rank in stage.ranks]
            assert before_s + program.microbatches * max(times) <= step_s * (1 + 1e-9)
            before_s += min(times)
