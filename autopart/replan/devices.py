"""Which devices of a new cluster were in the old one: by the name of the node, the number in it, and the type."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from autopart.cluster.cluster import Cluster, Group
from autopart.cluster.load import load_cluster
from autopart.errors import ClusterError, PlanError
from autopart.plans import NodeRef, Plan
from autopart.tensor.assign import EVERYTHING
from cost_models.hardware import UNUSED_LINK, DeviceType

EXAMPLE = '"nodes": [{"name": "a0", "devices": 2, "type": "A100-40GB"}]'


def old_cluster(plan: Plan, new: Cluster) -> Cluster:
    """The cluster that a plan was made for: of its file, or where that is gone or was changed of the names that the plan has."""
    try:
        found = load_cluster(plan.cluster.path)
    except ClusterError:
        return remembered(plan, new, f"{plan.cluster.path} can't be read")
    if plan.cluster.digest in ("", found.digest):
        return found
    return remembered(plan, new, f"{plan.cluster.path} has changed since the plan was made")


def remembered(plan: Plan, new: Cluster, problem: str) -> Cluster:
    """A cluster of the nodes that the plan names, good for telling devices apart; nothing is known of its links.

    That is enough where the plan says all of its layouts, as plans of ``autopart plan`` do.
    """
    if not plan.cluster.nodes:
        what = f"{problem}, and the plan does not say which device each rank was"
        raise PlanError(
            what, where="cluster", remedy=f"Restore that file, or name the nodes in the plan under cluster: {EXAMPLE}."
        )
    for stage in plan.stages:
        if stage.tensor > 1 and EVERYTHING not in stage.layouts:
            what = f"{problem}, and stage {stage.index} leaves layouts open, which were chosen for that cluster"
            raise PlanError(what, where="cluster", remedy="Restore that file; `autopart replan` needs it for this plan.")
    types = {group.device.name: group.device for group in new.groups}
    groups = tuple(_group(node, types.get(node.type, new.groups[0].device)) for node in plan.cluster.nodes)
    return Cluster(plan.cluster.path, plan.cluster.digest, groups)


def _group(node: NodeRef, like: DeviceType) -> Group:
    device = DeviceType(
        node.type, like.memory_bytes, like.memory_bandwidth_bytes_per_s, like.flops, like.launch_s, kind=like.kind
    )
    return Group(node.name, 1, device, node.devices, UNUSED_LINK, UNUSED_LINK)


def same_devices(old: Cluster, new: Cluster) -> Mapping[int, int]:
    """Ranks of the old cluster by ranks of the new one, of the devices that are in both."""
    before = {place: rank for rank, place in enumerate(_places(old))}
    nodes = _same_nodes(old.nodes, new.nodes)
    found: dict[int, int] = {}
    for rank, (node, number, device) in enumerate(_places(new)):
        was = before.get((nodes.get(node, ""), number, device))
        if was is not None:
            found[rank] = was
    return found


def device_names(cluster: Cluster) -> tuple[str, ...]:
    """Of every rank: "a0:1" is the second device of node a0."""
    return tuple(f"{node}:{number}" for node, number, _ in _places(cluster))


def _places(cluster: Cluster) -> list[tuple[str, int, str]]:
    """Node, number in it and type of every rank."""
    seen: Counter[int] = Counter()
    found = []
    for rank in cluster.ranks:
        found.append((cluster.nodes[rank.node], seen[rank.node], cluster.device(rank.rank).name))
        seen[rank.node] += 1
    return found


def _same_nodes(old: Sequence[str], new: Sequence[str]) -> dict[str, str]:
    """Old names of nodes by new ones. The node of an entry of one is called ``a``, the first of several ``a0``: one node."""
    found = {name: name for name in new if name in old}
    gone = set(old) - found.keys()
    for name in (name for name in new if name not in found):
        for other in (f"{name}0", name.removesuffix("0")):
            if other in gone and not min(name, other, key=len)[-1].isdigit():
                found[name] = other
    return found
