"""One rank's part of a compiled model, for an ordinary training loop."""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from autopart.program.reductions import BUCKET_BYTES
from autopart.runtime import weights
from autopart.runtime.batch import Share, microbatch, read_batch
from autopart.runtime.executor import Executor
from autopart.runtime.gradients import GradientSummer
from autopart.runtime.heap import settle_heap
from autopart.runtime.lending import Lender
from autopart.runtime.loss import LossSum
from autopart.runtime.package import Package, read_package
from autopart.runtime.recorder import Recorder, Recording, gathered
from autopart.runtime.sums import divided, share_out, summers
from autopart.runtime.tree import Tree, blank, torch_dtype
from autopart.runtime.weights import Rows
from autopart.runtime.world import join, total

CONSTANTS_FILE = "constants.pt"


class DistributedModule(nn.Module):
    """What one rank runs: the parameters of its stage under the model's own names, and ``train_step``.

    An idle rank of the plan has none, and takes part in the same calls. Every method below is called by all ranks alike,
    unless it says otherwise.
    """

    _placeholder: nn.Parameter
    _tree: Tree

    def __init__(
        self,
        package: Package | str | Path,
        *,
        seed: int = 0,
        backend: str | None = None,
        device: str | None = None,
        timeout_s: float = 600.0,
        bucket_bytes: int = BUCKET_BYTES,
    ) -> None:
        """``package`` is the folder that ``autopart compile`` wrote, ``seed`` is of dropout; a rank waits ``timeout_s``."""
        super().__init__()
        self._package = package if isinstance(package, Package) else read_package(package)
        self._world = join(self._package.program, self._package.ranks, backend=backend, device=device, timeout_s=timeout_s)
        if self._world.device.type == "cpu":
            settle_heap()
        self.seed, self.step = seed, 0
        self._stage = self._package.stage_of(self._world.rank)
        # Past nn.Module's bookkeeping, which would register them.
        object.__setattr__(self, "_placeholder", nn.Parameter(torch.empty(0, device=self._world.device)))
        held, shared = divided(self._package, self._world.rank)
        object.__setattr__(self, "_tree", self._grown({name for each in shared for name in each.parameters}))
        self._lender = Lender()
        self._zero = share_out(shared, self._world, self._tree, self._lender, bucket_bytes)
        # The tree's tables are this module's own: names are the model's, without a prefix.
        for table in ("_parameters", "_buffers", "_modules", "_non_persistent_buffers_set"):
            setattr(self, table, getattr(self._tree, table))
        self._executor = self._make_executor(summers(held, self._world, self._tree, bucket_bytes))
        inputs = [source.value for source in self._package.inputs]
        self._dtypes = {value.name: torch_dtype(value.dtype) for value in inputs if value.floating}
        self._loss = LossSum(self._package.program, self._world)
        self._recorder: Recorder | None = None
        self._load_constants()

    # Training

    def train_step(self, batch: Any, *, local: bool = False, scale: float | None = None) -> Tensor:
        """Forward and backward of every microbatch, and the sum of gradients over ranks; the global batch's loss, on every rank.

        ``batch`` is what example_inputs returned (see ``runtime.batch``): the whole global batch on every rank, or with
        ``local`` this rank's rows (``ShardSampler``). Gradients add to ``.grad``, as in plain PyTorch. ``scale`` multiplies the
        gradients, not the loss that is returned: 1 / n where n steps accumulate.
        """
        if self._recorder:
            self._recorder.step()
        stashed = self._stash_gradients()
        try:
            loss = self._run(batch, local=local, training=True, scale=1.0 if scale is None else scale)
        finally:
            self._restore_gradients(stashed)
        self.step += 1
        return loss

    def eval_loss(self, batch: Any, *, local: bool = False) -> Tensor:
        """The global batch's loss in evaluation mode, without gradients."""
        was_training = self.training
        self.eval()
        try:
            return self._run(batch, local=local, training=False, scale=1.0)
        finally:
            self.train(was_training)

    def clip_grad_norm_(self, max_norm: float, norm_type: float = 2.0) -> Tensor:
        """As ``torch.nn.utils.clip_grad_norm_`` over the whole model, each parameter counted once; the norm before clipping."""
        own = [name for group in self._zero for name in group.parts]
        own += [n for n, _ in self.named_parameters() if any(part.rank == self.rank for part in self._package.parts_of(n))]
        mine = [parameter.grad for name, parameter in self.named_parameters() if parameter.grad is not None and name in own]
        norms = [torch.linalg.vector_norm(grad.detach().double(), norm_type) for grad in mine]
        local = torch.stack(norms) if norms else torch.zeros(1, dtype=torch.float64, device=self._world.device)
        if math.isinf(norm_type):
            norm = total(self._world, local.max(), maximum=True)
        else:
            norm = total(self._world, (local**norm_type).sum()) ** (1.0 / norm_type)
        factor = torch.clamp(max_norm / (norm + 1e-6), max=1.0)
        for _, parameter in self.named_parameters():
            if parameter.grad is not None:
                parameter.grad.mul_(factor.to(parameter.grad.dtype))
        return norm

    def record(self) -> None:
        """From now on notes when each computation of each step runs, for ``recorded``; optimizers' steps too."""
        assert self._recorder is None, "it is recording already"
        self._recorder = Recorder(self._world, self._stage, self.parameters())
        if self._executor:
            self._executor.recorder = self._recorder

    def recorded(self) -> Recording:
        """What all ranks recorded (see ``runtime.recorder``), on process 0; empty elsewhere. Ends the recording."""
        assert self._recorder is not None, "nothing was recorded"
        mine, self._recorder = self._recorder.close(), None
        if self._executor:
            self._executor.recorder = None
        return gathered(mine, self._world)

    def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]:
        """The parameters of this rank; an empty placeholder where it has none, so that an optimizer can be made everywhere."""
        found = list(super().parameters(recurse))
        yield from found or [self._placeholder]

    @property
    def rank(self) -> int:
        """The rank of this process in the plan."""
        return self._world.rank

    @property
    def is_first(self) -> bool:
        """Whether this is the process that gathers and reports."""
        return dist.get_rank() == 0

    @property
    def device(self) -> torch.device:
        return self._world.device

    @property
    def package(self) -> Package:
        return self._package

    @property
    def share(self) -> Share:
        """Which rows of a batch are this rank's, as those of all columns of its replica; none on an idle rank."""
        program = self._package.program
        if self._stage is None:
            return Share(program.batch_size, program.microbatches, 0, 0)
        spec = program.stages[self._stage]
        replica, _ = spec.place(self._world.rank)
        return Share(program.batch_size, program.microbatches, sum(spec.shares[:replica]), spec.shares[replica])

    # Weights

    def full_state_dict(self) -> dict[str, Tensor]:
        """The unsplit model's state dict on process 0, empty elsewhere."""
        rows: Rows = (*self._package.parameters, *(b for b in self._package.buffers if b.persistent))
        return weights.gather(self._package, self._world, rows, self._source(lambda tensor: tensor))

    def full_gradients(self) -> dict[str, Tensor]:
        """Every parameter's gradient by name on process 0, empty elsewhere; a parameter without one is left out."""
        return weights.gather(self._package, self._world, self._package.parameters, self._source(lambda tensor: tensor.grad))

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Takes this rank's part of the unsplit model's state dict. Needs no other rank."""
        assert strict, "a state dict is loaded strictly"
        assert not assign, "a state dict is loaded by copying"
        weights.load(self._package, self.rank, self._takers(), state_dict)
        return [], []

    def load_checkpoint(self, path: str | Path) -> None:
        """``load_state_dict`` from a file that torch.save or safetensors wrote; only this rank's part is read into memory."""
        weights.load(self._package, self.rank, self._takers(), weights.read_checkpoint(path))

    def load_constants(self, constants: Mapping[str, Tensor]) -> None:
        """Fills the buffers that no state dict has, by name (``constants.pt`` beside the package does it by itself)."""
        weights.load_constants(self._package, self.rank, self._takers(), constants)

    def forward(self, *_: object) -> Tensor:
        raise NotImplementedError("a rank has no forward of its own: use train_step or eval_loss")

    # Inside

    def _run(self, batch: Any, *, local: bool, training: bool, scale: float) -> Tensor:
        executor, share, inputs = self._executor, self.share, self._package.inputs
        tensors = read_batch(batch, inputs, executor.spec.inputs if executor else (), share, local=local)
        if executor is not None:
            with ExitStack() as stack:
                for group in self._zero:
                    stack.enter_context(group.whole())
                executor.prologue(self._moved({name: tensors[name] for name in executor.stage.counts()}), whole=not local)
                executor.run(
                    lambda m: self._moved(microbatch(tensors, inputs, share, m, local=local)),
                    self._loss.start,
                    training=training,
                    scale=scale,
                    seed=(self.seed, self.step),
                )
        return self._loss.close().to(torch.float64 if self._package.precision == "float64" else torch.float32)

    def _moved(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """On this rank's device; floating inputs in the precision that the model was traced in."""
        return {
            name: tensor.to(self._world.device, self._dtypes.get(name, tensor.dtype), non_blocking=True)
            for name, tensor in tensors.items()
        }

    def _stash_gradients(self) -> list[tuple[nn.Parameter, Tensor]]:
        """Takes away what earlier steps accumulated: only this step's part must be summed over ranks."""
        if self._executor is None or not self._executor.summers:
            return []
        stashed = [(p, p.grad) for p in super().parameters() if p.grad is not None]
        for parameter, _ in stashed:
            parameter.grad = None
        return stashed

    @staticmethod
    def _restore_gradients(stashed: list[tuple[nn.Parameter, Tensor]]) -> None:
        for parameter, before in stashed:
            if parameter.grad is not None:
                before += parameter.grad
            parameter.grad = before

    def _grown(self, shared: Container[str]) -> Tree:
        """Everything that this rank holds; of parameters that it shares out their shapes alone."""
        tree, package, device = Tree(), self._package, self._world.device
        for row in package.parameters:
            if self._stage in package.holders[row.name]:
                where = torch.device("meta") if row.name in shared else device
                tensor = blank(package.local_shape(self.rank, row), row.value.dtype, where)
                tree.put_parameter(row.name, nn.Parameter(tensor, requires_grad=row.trainable))
        for buffer in package.buffers:
            if self._stage in package.holders[buffer.name]:
                tensor = blank(package.local_shape(self.rank, buffer), buffer.value.dtype, device)
                tree.put_buffer(buffer.name, tensor, persistent=buffer.persistent)
        return tree

    def _make_executor(self, plain: Sequence[GradientSummer]) -> Executor | None:
        if self._stage is None:
            return None
        lender = self._lender if self._lender.parts else None
        return Executor(self._package, self._world, self._tree, [*plain, *self._zero], lender)

    def _load_constants(self) -> None:
        path = self._package.folder / CONSTANTS_FILE
        if path.is_file():
            self.load_constants(weights.read_checkpoint(path))

    def _held(self) -> dict[str, Tensor]:
        return {**dict(self.named_parameters()), **dict(self.named_buffers())}

    def _takers(self) -> weights.Takers:
        takers: dict[str, Callable[[Tensor], object]] = {name: tensor.copy_ for name, tensor in self._held().items()}
        for group in self._zero:
            takers.update({name: partial(group.load, name) for name in group.parts})
        return takers

    def _source(self, of: Callable[[Tensor], Tensor | None]) -> weights.Source:
        """What ``of`` has of each parameter and buffer, to be gathered."""
        held = {name: found for name, tensor in self._held().items() if (found := of(tensor)) is not None}
        shared: dict[str, Callable[[str], Tensor]] = {}
        for group in self._zero:
            shared.update(dict.fromkeys(group.parts, group.reader(of)))
        return weights.Source(held.__contains__, lambda name: shared[name](name) if name in shared else held.get(name), shared)

    def train(self, mode: bool = True) -> DistributedModule:
        super().train(mode)
        self._tree.training = mode
        return self
