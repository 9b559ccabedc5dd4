"""autopart: split a PyTorch model over a cluster of unlike devices, with a proven gap.

    plan = autopart.plan(model, example_inputs, "cluster.yaml", batch_size=64)
    plan.save("plan.json")
    module = autopart.compile(plan, model)             # under torchrun: this rank's part
    loss = module.train_step(batch)

Names are imported when they are first used, so that ``import autopart`` is instant.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from autopart.errors import AutopartError, Infeasible, InputError, RunError
    from autopart.library import PlannedModel, compile, load_plan, plan  # noqa: A004 - as torch.compile
    from autopart.runtime import DistributedModule, ShardSampler

_HOMES = {
    "AutopartError": "autopart.errors",
    "InputError": "autopart.errors",
    "Infeasible": "autopart.errors",
    "RunError": "autopart.errors",
    "PlannedModel": "autopart.library",
    "plan": "autopart.library",
    "compile": "autopart.library",
    "load_plan": "autopart.library",
    "DistributedModule": "autopart.runtime",
    "ShardSampler": "autopart.runtime",
}

__all__ = [
    "AutopartError",
    "DistributedModule",
    "Infeasible",
    "InputError",
    "PlannedModel",
    "RunError",
    "ShardSampler",
    "compile",
    "load_plan",
    "plan",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'autopart' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
