"""One rank's part of a compiled model, for an ordinary training loop."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from autopart.program.reductions import BUCKET_BYTES, gradient_sums
from autopart.runtime import weights
from autopart.runtime.batch import Share, microbatch, read_batch, whole_share
from autopart.runtime.executor import Executor
from autopart.runtime.gradients import GradientSummer
from autopart.runtime.package import Package, read_package
from autopart.runtime.tree import Tree, blank, torch_dtype
from autopart.runtime.weights import Rows
from autopart.runtime.world import join, members, total

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
        self.seed, self.step = seed, 0
        self._stage = self._package.stage_of(self._world.rank)
        # Past nn.Module's bookkeeping, which would register them.
        object.__setattr__(self, "_placeholder", nn.Parameter(torch.empty(0, device=self._world.device)))
        object.__setattr__(self, "_tree", self._grown())
        # The tree's tables are this module's own: names are the model's, without a prefix.
        for table in ("_parameters", "_buffers", "_modules", "_non_persistent_buffers_set"):
            setattr(self, table, getattr(self._tree, table))
        self._executor = self._make_executor(bucket_bytes)
        self._load_constants()

    # Training

    def train_step(self, batch: Any, *, local: bool = False, scale: float | None = None) -> Tensor:
        """Forward and backward of every microbatch, and the sum of gradients over ranks; the global batch's loss, on every rank.

        ``batch`` is what example_inputs returned (see ``runtime.batch``): the whole global batch on every rank, or with
        ``local`` this rank's rows (``ShardSampler``). Gradients add to ``.grad``, as in plain PyTorch. ``scale`` multiplies the
        gradients, not the loss that is returned: 1 / n where n steps accumulate.
        """
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
        mine = [
            parameter.grad
            for name, parameter in self.named_parameters()
            if parameter.grad is not None and self._package.ranks_holding(name)[0] == self._world.rank
        ]
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
        """Which rows of a batch are this rank's; none on an idle rank."""
        program = self._package.program
        if self._stage is None:
            return Share(program.batch_size, program.microbatches, 0, 0)
        spec = program.stages[self._stage]
        index = spec.ranks.index(self._world.rank)
        return Share(program.batch_size, program.microbatches, sum(spec.shares[:index]), spec.shares[index])

    # Weights

    def full_state_dict(self) -> dict[str, Tensor]:
        """The unsplit model's state dict on process 0, empty elsewhere."""
        held = self._held()
        rows: Rows = (*self._package.parameters, *(b for b in self._package.buffers if b.persistent))
        return weights.gather(self._package, self._world, rows, held.get)

    def full_gradients(self) -> dict[str, Tensor]:
        """Every parameter's gradient by name on process 0, empty elsewhere; a parameter without one is left out."""
        held = dict(self.named_parameters())
        return weights.gather(self._package, self._world, self._package.parameters, lambda name: _grad(held.get(name)))

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Takes this rank's part of the unsplit model's state dict. Needs no other rank."""
        assert strict, "a state dict is loaded strictly"
        assert not assign, "a state dict is loaded by copying"
        weights.load(self._package, self._held(), state_dict)
        return [], []

    def load_checkpoint(self, path: str | Path) -> None:
        """``load_state_dict`` from a file that torch.save or safetensors wrote; only this rank's part is read into memory."""
        weights.load(self._package, self._held(), weights.read_checkpoint(path))

    def load_constants(self, constants: Mapping[str, Tensor]) -> None:
        """Fills the buffers that no state dict has, by name (``constants.pt`` beside the package does it by itself)."""
        weights.load_constants(self._package, self._held(), constants)

    def forward(self, *_: object) -> Tensor:
        raise NotImplementedError("a rank has no forward of its own: use train_step or eval_loss")

    # Inside

    def _run(self, batch: Any, *, local: bool, training: bool, scale: float) -> Tensor:
        loss: Tensor | None = None
        executor, share, inputs = self._executor, self.share, self._package.inputs
        tensors = read_batch(batch, inputs, executor.spec.inputs if executor else (), share, local=local)
        if executor is not None:
            executor.prologue(self._moved(whole_share(tensors, inputs, share, local=local, wanted=executor.stage.counts())))
            loss = executor.run(
                lambda m: self._moved(microbatch(tensors, inputs, share, m, local=local)),
                training=training,
                scale=scale,
                seed=(self.seed, self.step),
            )
        mine = torch.zeros(1, dtype=torch.float64, device=self._world.device) if loss is None else loss.double().reshape(1)
        return total(self._world, mine)[0].to(torch.float64 if self._package.precision == "float64" else torch.float32)

    def _moved(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """On this rank's device; floating inputs in the precision that the model was traced in."""
        dtypes = {source.value.name: torch_dtype(source.value.dtype) for source in self._package.inputs if source.value.floating}
        return {
            name: tensor.to(self._world.device, dtypes.get(name, tensor.dtype), non_blocking=True)
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

    def _grown(self) -> Tree:
        tree, package, device = Tree(), self._package, self._world.device
        for row in package.parameters:
            if self._stage in package.holders[row.name]:
                tensor = blank(row.value.shape_at(1), row.value.dtype, device)
                tree.put_parameter(row.name, nn.Parameter(tensor, requires_grad=row.trainable))
        for buffer in package.buffers:
            if self._stage in package.holders[buffer.name]:
                tensor = blank(buffer.value.shape_at(1), buffer.value.dtype, device)
                tree.put_buffer(buffer.name, tensor, persistent=buffer.persistent)
        return tree

    def _make_executor(self, bucket_bytes: int) -> Executor | None:
        if self._stage is None:
            return None
        held, world = dict(self.named_parameters()), self._world
        summers = [
            GradientSummer(
                [held[name] for name in each.parameters],
                world.sums[members(each.ranks)],
                world.wire,
                overlap=len(each.stages) == 1,
                bucket_bytes=bucket_bytes,
            )
            for each in gradient_sums(self._package.program.stages)
            if world.rank in each.ranks
        ]
        return Executor(self._package, world, self._tree, summers)

    def _load_constants(self) -> None:
        path = self._package.folder / CONSTANTS_FILE
        if path.is_file():
            self.load_constants(weights.read_checkpoint(path))

    def _held(self) -> dict[str, Tensor]:
        return {**dict(self.named_parameters()), **dict(self.named_buffers())}

    def train(self, mode: bool = True) -> DistributedModule:
        super().train(mode)
        self._tree.training = mode
        return self


def _grad(parameter: nn.Parameter | None) -> Tensor | None:
    return None if parameter is None else parameter.grad
