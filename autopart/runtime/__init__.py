"""What emitted code imports: the words it is written in, and the module that runs it."""

from autopart.ir.graph import GlobalSize, Input, Size, Value
from autopart.program.program import Transfer
from autopart.runtime import comm
from autopart.runtime.comm import Axis
from autopart.runtime.data import ShardSampler, pick, samples_in
from autopart.runtime.entry import command
from autopart.runtime.module import DistributedModule
from autopart.runtime.package import Package, Stage, read_package
from autopart.runtime.surroundings import no_autocast
from autopart.runtime.tree import Tree
from autopart.sharding.placement import Partial, Replicate, Shard

__all__ = [
    "Axis",
    "DistributedModule",
    "GlobalSize",
    "Input",
    "Package",
    "Partial",
    "Replicate",
    "Shard",
    "ShardSampler",
    "Size",
    "Stage",
    "Transfer",
    "Tree",
    "Value",
    "comm",
    "command",
    "no_autocast",
    "pick",
    "read_package",
    "samples_in",
]
