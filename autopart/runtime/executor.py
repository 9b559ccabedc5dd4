"""Runs one stage's list of actions: forwards and backwards, and the messages around them.

Sends never block: their buffers are kept until a later message of the peer proves that it took them. Receives are posted one
computation ahead, so that the next message arrives while this computation runs. Every message has a tag of its own (transfer,
microbatch, direction).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial

import torch
import torch.distributed as dist
from torch import Tensor

from autopart.program.pieces import shape
from autopart.program.program import Action, Kind, Piece, Transfer
from autopart.program.steps import Step, describe, places, split_steps
from autopart.runtime.comm import Axis
from autopart.runtime.gradients import GradientSummer
from autopart.runtime.lending import Lender
from autopart.runtime.package import LOSS, Package, Stage
from autopart.runtime.recorder import Recorder
from autopart.runtime.routes import Route, routes
from autopart.runtime.rows import joined, part
from autopart.runtime.surroundings import noted, seeded
from autopart.runtime.tree import Tree, torch_dtype
from autopart.runtime.world import World, failing_as, members
from autopart.runtime.zero import ZeroGroup
from autopart.sharding.placement import Partial, Replicate, Shard

Key = tuple[int, bool]  # microbatch, backward?
NOTHING = nullcontext()


@dataclass(frozen=True, slots=True, eq=False)
class _Arrival:
    """A piece on its way: the buffer it is written to."""

    route: Route
    buffer: Tensor
    work: dist.Work


@dataclass(frozen=True, slots=True, eq=False)
class _Sent:
    """A message under way to a peer, and what it was sent from."""

    work: dist.Work
    buffer: Tensor
    route: Route
    key: Key


@dataclass(eq=False)
class _Run:
    """What one step holds: posted receives, sends under way, and by microbatch the received leaves and the given values."""

    training: bool
    scale: float
    feeds: Callable[[int], Mapping[str, Tensor]]
    seed: tuple[int, int]
    recorder: Recorder | None
    posted: set[Key] = field(default_factory=set)
    arrivals: dict[Key, list[_Arrival]] = field(default_factory=dict)
    sends: list[_Sent] = field(default_factory=list)
    leaves: dict[int, dict[str, Tensor]] = field(default_factory=dict)
    given: dict[int, dict[str, Tensor]] = field(default_factory=dict)
    loss: Tensor | None = None


def _last(steps: Sequence[Step], kind: Kind) -> int:
    """Place of the last step of a kind, -1 if there is none."""
    return max((i for i, step in enumerate(steps) if step.action.kind is kind), default=-1)


class Executor:
    """One rank's stage."""

    def __init__(
        self, package: Package, world: World, tree: Tree, summers: Sequence[GradientSummer | ZeroGroup], lender: Lender | None
    ) -> None:
        index = package.stage_of(world.rank)
        assert index is not None, f"rank {world.rank} runs no stage"
        program = package.program
        self.world, self.tree, self.summers, self.lender = world, tree, tuple(summers), lender
        self.program, self.precision = program, package.precision
        self.spec = program.stages[index]
        self.replica, self.column = self.spec.place(world.rank)
        self.share = self.spec.shares[self.replica]
        self.stage: Stage = package.stages[index]()
        self.stage.device = world.device
        self.stage.tensor = self._columns()
        self.steps = [step for step in split_steps(program.actions[world.rank]) if step.action.kind is not Kind.UPDATE]
        self.receives, self.sends = routes(program, world)
        self.incoming = [transfer for transfer in program.transfers if transfer.target == index]
        self.outgoing = [transfer for transfer in program.transfers if transfer.source == index]
        self.takes = self.stage.takes()
        self.places = {rank: places(actions) for rank, actions in program.actions.items()}
        self.recorder: Recorder | None = None

    def axis(self, times: int = 1) -> Axis:
        """The replicas of this rank's column, with their rows of so many microbatches."""
        rows = tuple(share * times for share in self.spec.shares)
        ranks = self.spec.column(self.column).ranks
        group = self.world.replicas.get(members(ranks))
        return Axis(self.replica, ranks, rows, self.program.batch_size, group, self.world.wire)

    def _columns(self) -> Axis:
        """The columns of this rank's replica, with their weights."""
        ranks, weights = self.spec.replica(self.replica), self.spec.weights or (1,) * self.spec.tensor
        return Axis(self.column, ranks, weights, sum(weights), self.world.columns.get(members(ranks)), self.world.wire)

    def prologue(self, inputs: Mapping[str, Tensor], *, whole: bool) -> None:
        """Counts once a step, over all of this rank's samples; over all that there are where ``inputs`` are the ``whole`` batch,
        which takes no message.
        """
        if self.stage.prologue is None:
            return
        batch = self.program.batch_size
        self.stage.replicas = Axis(0, (self.world.rank,), (batch,), batch) if whole else self.axis(self.program.microbatches)
        with torch.no_grad(), self._at(lambda: "the prologue"):
            self.stage.prologue(self.tree, *(inputs[name] for name in self.stage.counts()))

    def run(
        self,
        feeds: Callable[[int], Mapping[str, Tensor]],
        send_loss: Callable[[Tensor], None],
        *,
        training: bool,
        scale: float,
        seed: tuple[int, int],
    ) -> None:
        """The whole list, without ``training`` its forwards alone.

        ``feeds(m)`` are this rank's rows of microbatch m; ``send_loss`` takes its part of the loss after its last forward, if
        it computes one; ``seed`` is the user's seed and the number of the step.
        """
        self.stage.replicas = self.axis()
        run = _Run(training, scale, feeds, seed, self.recorder if training else None)
        steps = self.steps if training else [step for step in self.steps if step.action.kind is Kind.FORWARD]
        last, end = (_last(steps, kind) for kind in (Kind.BACKWARD, Kind.FORWARD))
        try:
            for i, step in enumerate(steps):
                with self._at(partial(describe, step.action)):
                    self._play(run, steps[i : i + 2], last=i == last)
                    if i == end and run.loss is not None:
                        send_loss(run.loss)
            with self._at(lambda: "the end of the step"):
                self._retire(run)
        except BaseException:
            for summer in self.summers:
                summer.abandon()
            raise

    def _play(self, run: _Run, near: Sequence[Step], *, last: bool) -> None:
        """The first of ``near``, with the receives of the next one posted."""
        for each in near:
            self._post(run, each)
        action, receives, sends = near[0]
        if action.kind is Kind.BACKWARD:
            for summer in self.summers:
                summer.watch(last=last)
        self._wait(run, action)
        with run.recorder.running(action) if run.recorder else NOTHING:
            self._compute(run, action)
        for peer in receives:
            self._retire(run, peer, (action.microbatch, action.backward))
        for peer in sends:
            self._send(run, peer, action.microbatch, backward=action.backward)
        self._release(run, action)

    def _compute(self, run: _Run, action: Action) -> None:
        match action.kind:
            case Kind.FORWARD:
                self._forward(run, action.microbatch)
            case Kind.BACKWARD:
                self._backward(run, action.microbatch)
            case Kind.REDUCE:
                self._reduce()
            case Kind.SEND | Kind.RECEIVE | Kind.UPDATE:
                raise AssertionError(f"{describe(action)} is no step of its own")
        run.arrivals.pop((action.microbatch, action.backward), None)

    def _release(self, run: _Run, action: Action) -> None:
        """Lets go of what no later step reads."""
        if action.kind is Kind.BACKWARD:
            del run.leaves[action.microbatch], run.given[action.microbatch]
        elif not run.training:
            run.leaves.clear()
            run.given.clear()

    def _forward(self, run: _Run, m: int) -> None:
        leaves = {transfer.value: self._received(run, transfer, m) for transfer in self.incoming}
        known = {**run.feeds(m), **leaves}
        lending = self.lender.forward() if self.lender else NOTHING
        with torch.set_grad_enabled(run.training), self._random(run, m), self._precision(), lending:
            result = self.stage.forward(self.tree, *(known[name] for name in self.takes))
        values = (result,) if len(self.stage.gives) == 1 else tuple(result or ())
        run.leaves[m] = leaves
        run.given[m] = dict(zip(self.stage.gives, values, strict=True))
        if LOSS in run.given[m]:
            loss = run.given[m][LOSS].detach()
            run.loss = loss.clone() if run.loss is None else run.loss + loss

    def _received(self, run: _Run, transfer: Transfer, m: int) -> Tensor:
        """A value of an earlier stage, as a leaf that will have a gradient."""
        arrived = self._arrived(run, transfer, m, backward=False)
        whole = self._assembled(transfer, arrived)
        return whole.requires_grad_() if run.training and transfer.differentiable else whole

    def _backward(self, run: _Run, m: int) -> None:
        roots: list[Tensor] = []
        grads: list[Tensor] = []
        for name, value in run.given[m].items():
            grad = self._gradient(run, name, value, m)
            if grad is not None and value.requires_grad:
                roots.append(value)
                grads.append(grad.to(value.dtype))
        with self.lender.backward() if self.lender else NOTHING:
            if roots:
                torch.autograd.backward(roots, grads)

    def _gradient(self, run: _Run, name: str, value: Tensor, m: int) -> Tensor | None:
        """What flows back into a value that this stage gave: the sum over the stages that read it."""
        found = torch.full_like(value, run.scale) if name == LOSS else None
        for transfer in self.outgoing:
            if transfer.value != name or not transfer.differentiable:
                continue
            arrived = self._arrived(run, transfer, m, backward=True)
            term = self._assembled_gradient(transfer, arrived)
            found = term if found is None else found + term
        return found

    def _reduce(self) -> None:
        for summer in self.summers:
            summer.start()
        for summer in self.summers:
            summer.finish()

    # Messages

    def _post(self, run: _Run, step: Step) -> None:
        """Posts the receives of a step, once."""
        key = (step.action.microbatch, step.action.backward)
        if not step.receives or key in run.posted:
            return
        run.posted.add(key)
        m, backward = key
        run.arrivals[key] = [self._receive(route, m) for peer in step.receives for route in self.receives[peer, backward]]

    def _receive(self, route: Route, m: int) -> _Arrival:
        buffer = torch.empty(route.shape, dtype=route.dtype, device=self.world.wire)
        with failing_as(partial(route.receiving, m)):
            work = dist.irecv(buffer, route.process, route.group, route.tag_of(m))
        assert work is not None
        return _Arrival(route, buffer, work)

    def _wait(self, run: _Run, action: Action) -> None:
        """Until the messages that a computation reads are there."""
        m = action.microbatch
        for arrival in run.arrivals.get((m, action.backward), ()):
            with failing_as(partial(arrival.route.receiving, m)):
                arrival.work.wait()
            if run.recorder:
                run.recorder.arrived(arrival.route.peer, action)

    def _arrived(self, run: _Run, transfer: Transfer, m: int, *, backward: bool) -> list[tuple[Piece, Tensor]]:
        """The pieces of a transfer, which are there, in the order of this rank's rows."""
        found = [
            (arrival.route.piece, arrival.buffer.to(self.world.device))
            for arrival in run.arrivals.get((m, backward), ())
            if arrival.route.transfer is transfer
        ]
        if len(found) > 1:
            found.sort(key=lambda each: each[0].source_start if backward else each[0].target_start)
        return found

    def _assembled(self, transfer: Transfer, arrived: Sequence[tuple[Piece, Tensor]]) -> Tensor:
        match transfer.placement:
            case Shard():
                return joined([tensor for _, tensor in arrived], transfer.placement)
            case Replicate():
                ((_, tensor),) = arrived
                return tensor
            case Partial():
                return self._sum(transfer, [tensor for _, tensor in arrived])

    def _assembled_gradient(self, transfer: Transfer, arrived: Sequence[tuple[Piece, Tensor]]) -> Tensor:
        """As its placement says: a shard's is a shard, a replicated value's partial, a partial value's replicated. Partial over
        columns: the columns that read from this rank each have a term of it.
        """
        match transfer.placement:
            case Shard():
                return self._sum(transfer, [joined(rows, transfer.placement) for rows in self._by_column(transfer, arrived)])
            case Replicate() | Partial():
                return self._sum(transfer, [tensor for _, tensor in arrived])

    def _by_column(self, transfer: Transfer, arrived: Sequence[tuple[Piece, Tensor]]) -> list[list[Tensor]]:
        """Gradients by the column of the target that they come from."""
        found: dict[int, list[Tensor]] = {}
        target = self.program.stages[transfer.target]
        for piece, tensor in arrived:
            found.setdefault(target.place(piece.target_rank)[1], []).append(tensor)
        return list(found.values())

    def _sum(self, transfer: Transfer, terms: Sequence[Tensor]) -> Tensor:
        """Of terms that may be none."""
        if not terms:
            sizes = shape(Piece(transfer, 0, 0, rows=self.share), self.program.batch_size)
            return torch.zeros(sizes, dtype=torch_dtype(transfer.dtype), device=self.world.device)
        return sum(terms[1:], terms[0])

    def _send(self, run: _Run, peer: int, m: int, *, backward: bool) -> None:
        for route in self.sends[peer, backward]:
            piece, transfer = route.piece, route.transfer
            value = self._leaf_gradient(run, transfer, m) if backward else run.given[m][transfer.value].detach()
            start = piece.target_start if backward else piece.source_start
            if isinstance(transfer.placement, Shard):
                value = part(value, transfer.placement, self.share, start, piece.rows)
            moved = value.to(self.world.wire, route.dtype).contiguous()
            assert moved.shape == route.shape, f"{transfer.value} is {tuple(moved.shape)}, the program says {route.shape}"
            with failing_as(partial(route.sending, m)):
                work = dist.isend(moved, route.process, route.group, route.tag_of(m))
            assert work is not None
            run.sends.append(_Sent(work, moved, route, (m, backward)))

    def _leaf_gradient(self, run: _Run, transfer: Transfer, m: int) -> Tensor:
        leaf = run.leaves[m][transfer.value]
        return torch.zeros_like(leaf) if leaf.grad is None else leaf.grad

    def _retire(self, run: _Run, peer: int | None = None, key: Key = (0, False)) -> None:
        """Lets go of buffers that were taken: a message of a peer's computation proves that it took all it received up to there.
        Without a peer all are waited for. (gloo does not say by itself when a message has gone.)
        """
        waiting = []
        for sent in run.sends:
            if peer is not None and (sent.route.peer != peer or self.places[peer][sent.key] > self.places[peer][key]):
                waiting.append(sent)
                continue
            with failing_as(partial(sent.route.sending, sent.key[0])):
                sent.work.wait()
        run.sends = waiting

    # Surroundings of a computation

    def _precision(self) -> AbstractContextManager[object]:
        if self.precision != "bfloat16":
            return NOTHING
        return torch.autocast(self.world.device.type, dtype=torch.bfloat16)

    def _random(self, run: _Run, m: int) -> AbstractContextManager[object]:
        return seeded((*run.seed, self.spec.index, m, self.replica), self.world.device) if self.spec.random else NOTHING

    def _at(self, doing: Callable[[], str]) -> AbstractContextManager[object]:
        return noted(lambda: f"rank {self.world.rank}, stage {self.spec.index}, in {doing()}")
