"""Proof, before anything runs, that a program can be executed: a mismatch or a deadlock is found here and never hangs.

``match`` checks that

1. every used rank runs the computations of its stage: each microbatch forward once and backward once, in order, B after F, then
   one S and one U;
2. the pieces of every transfer carry to every column of the target, from one column of the source, each row of every rank once,
   from the rank that holds it, and every partial term once;
3. between every ordered pair of ranks, in each direction of the computation, what one side sends is what the other
   receives: the same microbatches in the same order (NCCL pairs messages by order alone), where there are pieces and only there;
4. nothing waits in a circle: program order, "a receive waits for its send", and the collectives of a stage's ranks, replicas
   and columns (any F, B or S may hold one, so that they are taken to run each of them together) form no cycle.

The proof of 4 needs sends that do not block. With sends that wait for their receiver 1F1B deadlocks at once: a stage sends
forward 1 while the next, not yet receiving it, sends back the gradient of forward 0. The runtime's ``isend`` returns at once and
keeps its buffer, and forward and backward messages travel in two process groups, so that of one pair's messages in a group all
go the same way: a queue in which the k-th send meets the k-th receive and none can overtake or block another direction.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, pairwise, zip_longest

from autopart.program.pieces import Pair, messages, pieces
from autopart.program.program import Action, Kind, Piece, Program, StageSpec, Transfer
from autopart.program.reductions import gradient_sums
from autopart.program.steps import ProgramError, Step, describe, split_steps
from autopart.program.text import step_text
from autopart.sharding.placement import Partial, Placement, Replicate, Shard

Lists = Mapping[int, Sequence[Step]]
Node = tuple[int, str, int]  # stage, letter of the kind, microbatch: all ranks together

SHOWN = 3  # steps either side of a fault


def match(program: Program) -> None:
    """Raise ProgramError unless the program can be executed to its end."""
    lists = _split(program)
    _check_computations(program, lists)
    _check_pieces(program)
    _check_messages(program, lists)
    _check_deadlock(program, lists)


def _split(program: Program) -> Lists:
    used = [rank for stage in program.stages for rank in stage.ranks]
    if len(set(used)) != len(used):
        raise ProgramError(f"a rank has two stages: {sorted(used)}")
    if set(program.actions) != set(used):
        raise ProgramError(f"stages are on ranks {sorted(used)}, lists are of ranks {sorted(program.actions)}")
    for stage in program.stages:
        if len(stage.ranks) != len(stage.shares) * stage.tensor:
            mesh = f"{len(stage.shares)} replicas of {stage.tensor} columns"
            raise ProgramError(f"stage {stage.index} has {mesh} on ranks {list(stage.ranks)}")
    found: dict[int, list[Step]] = {}
    for rank, actions in program.actions.items():
        try:
            found[rank] = split_steps(actions)
        except ProgramError as error:
            raise ProgramError(f"rank {rank}: {error}\n  {' '.join(_short(action) for action in actions)}") from error
    return found


def _short(action: Action) -> str:
    return f"{action.kind.value}{action.peer}" if action.peer >= 0 else describe(action)


def _check_computations(program: Program, lists: Lists) -> None:
    for stage in program.stages:
        first = stage.ranks[0]
        _check_list(program, lists, stage, first)
        for rank in stage.ranks[1:]:
            _check_same_order(lists, first, rank)


def _check_list(program: Program, lists: Lists, stage: StageSpec, rank: int) -> None:
    """Each F and B of the stage once and in order, B after F, S and U at the end."""
    due = {Kind.FORWARD: 0, Kind.BACKWARD: 0, Kind.REDUCE: -1, Kind.UPDATE: -1}
    for at, (action, *_) in enumerate(lists[rank]):
        after: dict[Kind, bool] = {
            Kind.FORWARD: True,
            Kind.BACKWARD: due[Kind.FORWARD] > action.microbatch,
            Kind.REDUCE: due[Kind.BACKWARD] == program.microbatches,
            Kind.UPDATE: due[Kind.REDUCE] == 0,
        }
        if action.stage != stage.index or action.microbatch != due[action.kind] or not after[action.kind]:
            raise ProgramError(f"rank {rank}: {describe(action)} out of turn\n{_around(lists, {rank: at})}")
        if action.backward != (action.kind is Kind.BACKWARD):
            raise ProgramError(f"rank {rank}: {describe(action)} says backward={action.backward}\n{_around(lists, {rank: at})}")
        due[action.kind] += 1
    expected = {Kind.FORWARD: program.microbatches, Kind.BACKWARD: program.microbatches, Kind.REDUCE: 0, Kind.UPDATE: 0}
    if due != expected:
        missing = ", ".join(f"{stage.index}{kind.value}" for kind in expected if due[kind] != expected[kind])
        raise ProgramError(f"rank {rank} ends without all of {missing}\n{_around(lists, {rank: len(lists[rank]) - 1})}")


def _check_same_order(lists: Lists, first: int, rank: int) -> None:
    pairs = zip_longest(*([step.action for step in lists[each]] for each in (first, rank)))
    for at, (ours, theirs) in enumerate(pairs):
        if ours is not theirs and ours != theirs:
            raise ProgramError(f"ranks {first} and {rank} of one stage part ways\n{_around(lists, {first: at, rank: at})}")


def _check_pieces(program: Program) -> None:
    for transfer in program.transfers:
        if not 0 <= transfer.source < transfer.target < len(program.stages):
            raise ProgramError(f"{transfer.value} goes from stage {transfer.source} to stage {transfer.target}")
        source, target = program.stages[transfer.source], program.stages[transfer.target]
        check_pieces(transfer, source, target, pieces(transfer, source, target))


def check_pieces(transfer: Transfer, source: StageSpec, target: StageSpec, found: Sequence[Piece]) -> None:
    """Every target gets what it needs, once, from a rank that has it."""
    known = all(piece.source_rank in source.ranks and piece.target_rank in target.ranks for piece in found)
    if not known or not all(_column_fits(transfer.placement, source, target, column, found) for column in range(target.tensor)):
        rows = "\n".join(f"  {piece}" for piece in found)
        raise ProgramError(f"the pieces of {transfer.value} from stage {source.index} to {target.index} don't fit\n{rows}")


def _column_fits(placement: Placement, source: StageSpec, target: StageSpec, column: int, found: Sequence[Piece]) -> bool:
    """What arrives in a column of the target comes from one column of the source, and all of it."""
    arriving = [piece for piece in found if target.place(piece.target_rank)[1] == column]
    columns = {source.place(piece.source_rank)[1] for piece in arriving}
    return len(columns) == 1 and _fit(placement, source.column(columns.pop()), target.column(column), arriving)


def _fit(placement: Placement, source: StageSpec, target: StageSpec, found: Sequence[Piece]) -> bool:
    match placement:
        case Shard():
            return _rows_fit(source, target, found)
        case Replicate():
            return sorted(piece.target_rank for piece in found) == sorted(target.ranks)
        case Partial():
            return sorted(piece.source_rank for piece in found) == sorted(source.ranks)


def _rows_fit(source: StageSpec, target: StageSpec, found: Sequence[Piece]) -> bool:
    """Sent row is received row, and each row of the microbatch arrives once."""
    offsets = {**_offsets(source, "source"), **_offsets(target, "target")}
    arrived: list[int] = []
    for piece in found:
        first = offsets["source", piece.source_rank] + piece.source_start
        if first != offsets["target", piece.target_rank] + piece.target_start:
            return False
        inside = _share(source, piece.source_rank) >= piece.source_start + piece.rows
        if not inside or _share(target, piece.target_rank) < piece.target_start + piece.rows:
            return False
        arrived += range(first, first + piece.rows)
    return sorted(arrived) == list(range(sum(target.shares)))


def _offsets(stage: StageSpec, end: str) -> dict[tuple[str, int], int]:
    return {(end, rank): sum(stage.shares[:at]) for at, rank in enumerate(stage.ranks)}


def _share(stage: StageSpec, rank: int) -> int:
    return stage.shares[stage.ranks.index(rank)]


def _check_messages(program: Program, lists: Lists) -> None:
    for backward in (False, True):
        expected = messages(program, backward=backward)
        sent, received = _message_order(lists, backward)
        for pair in sorted({*expected, *sent, *received}):
            _check_pair(program, lists, pair, backward, sent.get(pair, []), received.get(pair, []), pair in expected)


def _message_order(lists: Lists, backward: bool) -> tuple[dict[Pair, list[int]], dict[Pair, list[int]]]:
    """The microbatches that each pair sends and receives, in order."""
    sent: dict[Pair, list[int]] = {}
    received: dict[Pair, list[int]] = {}
    for rank, steps in lists.items():
        for action, receives, sends in steps:
            if action.backward == backward:
                for peer in receives:
                    received.setdefault((peer, rank), []).append(action.microbatch)
                for peer in sends:
                    sent.setdefault((rank, peer), []).append(action.microbatch)
    return sent, received


def _check_pair(
    program: Program, lists: Lists, pair: Pair, backward: bool, sent: list[int], received: list[int], expected: bool
) -> None:
    sender, receiver = pair
    due = list(range(program.microbatches)) if expected else []
    if sent == received == due:
        return
    turns = zip_longest(sent, received, due)
    ours, theirs, wanted = next(turn for turn in turns if len(set(turn)) > 1)
    raise ProgramError(
        f"{'backward' if backward else 'forward'} messages of rank {sender} to rank {receiver} don't match: "
        f"sends {_microbatch(ours)} where {_microbatch(theirs)} is received and {_microbatch(wanted)} is due\n"
        + _around(
            lists,
            {sender: _find(lists, sender, backward, ours, wanted)} | {receiver: _find(lists, receiver, backward, theirs, wanted)},
        )
    )


def _microbatch(number: int | None) -> str:
    return "nothing" if number is None else f"microbatch {number}"


def _find(lists: Lists, rank: int, backward: bool, *microbatches: int | None) -> int:
    """The first step of the rank that has one of the microbatches, in the order named; the end if none has."""
    for microbatch in microbatches:
        for at, step in enumerate(lists.get(rank, ())):
            if step.action.microbatch == microbatch and step.action.backward == backward:
                return at
    return len(lists.get(rank, ())) - 1


def _check_deadlock(program: Program, lists: Lists) -> None:
    waits = _waits(program, lists)
    left = _never_ready(waits)
    if left:
        circle = _circle(waits, left)
        ranks = [program.stages[stage].ranks[0] for stage, _, _ in circle]
        places = {rank: _place(lists, rank, node) for rank, node in zip(ranks[:2], circle, strict=False)}
        names = " waits for ".join(_name(node) for node in (*circle, circle[0]))
        raise ProgramError(f"deadlock: {names}\n{_around(lists, places)}")


def _waits(program: Program, lists: Lists) -> dict[Node, set[Node]]:
    """What every computation waits for. The ranks of a stage, whose lists have the same computations, count as one, and so do
    the gradient sums of stages that share a parameter.
    """
    together = _summed_together(program)
    stage_of = {rank: stage.index for stage in program.stages for rank in stage.ranks}
    waits: dict[Node, set[Node]] = {}
    for stage in program.stages:
        nodes = [_node(step.action, together) for step in lists[stage.ranks[0]]]
        for node in nodes:
            waits.setdefault(node, set())
        for before, after in pairwise(nodes):
            waits[after].add(before)
        for rank in stage.ranks:
            for node, step in zip(nodes, lists[rank], strict=True):
                for peer in step.receives:
                    waits[node].add((stage_of[peer], node[1], node[2]))
    return waits


def _node(action: Action, together: Mapping[int, int]) -> Node:
    stage = together[action.stage] if action.kind is Kind.REDUCE else action.stage
    return stage, action.kind.value, action.microbatch


def _summed_together(program: Program) -> dict[int, int]:
    """The first of the stages that each stage sums gradients with."""
    first = {stage.index: stage.index for stage in program.stages}
    for group in gradient_sums(program):
        roots = {first[index] for index in group.stages}
        first = {index: min(roots) if root in roots else root for index, root in first.items()}
    return first


def _never_ready(waits: Mapping[Node, set[Node]]) -> set[Node]:
    """What is left when everything that can run has run."""
    open_waits = {node: len(others) for node, others in waits.items()}
    followers: dict[Node, list[Node]] = {}
    for node, others in waits.items():
        for other in others:
            followers.setdefault(other, []).append(node)
    ready = [node for node, count in open_waits.items() if not count]
    while ready:
        node = ready.pop()
        del open_waits[node]
        for follower in followers.get(node, ()):
            open_waits[follower] -= 1
            if not open_waits[follower]:
                ready.append(follower)
    return set(open_waits)


def _circle(waits: Mapping[Node, set[Node]], left: set[Node]) -> list[Node]:
    """A cycle among nodes that never get ready: each of them waits for another."""
    path = [min(left, key=_name)]
    while True:
        after = min(waits[path[-1]] & left, key=_name)
        if after in path:
            return path[path.index(after) :]
        path.append(after)


def _name(node: Node) -> str:
    return describe(Action(Kind(node[1]), node[0], node[2]))


def _place(lists: Lists, rank: int, node: Node) -> int:
    wanted = node[1:]
    places = (at for at, (action, *_) in enumerate(lists[rank]) if (action.kind.value, action.microbatch) == wanted)
    return next(places, 0)


def _around(lists: Lists, places: Mapping[int, int]) -> str:
    """The lists of some ranks around a step each, the step in brackets."""
    return "\n".join(chain.from_iterable(_window(rank, lists.get(rank, ()), at) for rank, at in places.items()))


def _window(rank: int, steps: Sequence[Step], at: int) -> Iterator[str]:
    first, stop = max(0, at - SHOWN), at + SHOWN + 1
    shown = [f"[{step_text(step)}]" if index == at else step_text(step) for index, step in enumerate(steps)][first:stop]
    yield f"  rank {rank}   {'... ' if first else ''}{'  '.join(shown)}{' ...' if stop < len(steps) else ''}"
