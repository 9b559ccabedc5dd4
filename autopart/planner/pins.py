"""What a user fixed, against what any plan of this model, cluster and batch size can have."""

from __future__ import annotations

from autopart.cluster.cluster import node_sizes
from autopart.errors import InputError
from autopart.planner.joined import joined_degrees, joined_parts
from autopart.planner.meshes import Index
from autopart.planner.price import pools
from autopart.planner.problem import Part
from autopart.planner.strategies import Pins, microbatch_counts, tensor_degrees


def check_pins(index: Index, pins: Pins) -> None:
    """Raise InputError where the user fixed what can't be."""
    for check in (_wrong_microbatches, _wrong_tensor, _wrong_data, _wrong_stages, _wrong_zero, _wrong_layouts, _unsplit):
        wrong = check(index, pins)
        if wrong is not None:
            raise wrong


def _wrong_microbatches(index: Index, pins: Pins) -> InputError | None:
    wish, batch = pins.microbatches, index.batch_size
    if wish is None:
        return None
    mixing = index.blocks.sharded.mixing
    if wish > 1 and mixing:
        where = mixing[0].source or mixing[0].module
        return InputError(f"the model mixes samples ({mixing[0].reason}), so that microbatches are impossible", where=where,
                          remedy="Leave out --microbatches, or set it to 1.")  # fmt: skip
    if wish < 1 or batch % wish:
        nearest = sorted(microbatch_counts(batch, only_one=False, pinned=None), key=lambda n: abs(n - wish))[:2]
        which = " or ".join(map(str, sorted(nearest)))
        return InputError(
            f"a batch of {batch} can't be cut into {wish} equal microbatches", remedy=f"Take --microbatches {which}."
        )
    return None


def _wrong_tensor(index: Index, pins: Pins) -> InputError | None:
    """Columns of a replica are in one node, or in two of unlike devices."""
    wish, sizes = pins.tensor, set(node_sizes(index.cluster))
    if wish in (None, 1):
        return None
    possible = sorted({1, *_joined(index), *(degree for size in sizes for degree in tensor_degrees(size))})
    if wish not in possible:
        most = max(sizes)
        what = f"{wish} columns for each replica: a node has {most} device{'s' * (most != 1)} at most"
        return InputError(what, remedy=f"Take --tensor {' or '.join(map(str, possible))}.")
    return None


def _joined(index: Index) -> tuple[int, ...]:
    """Numbers of columns that replicas over two nodes of unlike devices may have."""
    return () if index.layouts else joined_degrees(pools(index))


def _teams(index: Index, pins: Pins) -> int:
    """How many replicas there are devices for, of all stages together."""
    tensor = pins.tensor or 1
    if tensor in _joined(index):
        return len(index.cluster.ranks) // tensor
    return sum(size // tensor for size in node_sizes(index.cluster))


def _wrong_data(index: Index, pins: Pins) -> InputError | None:
    wish = pins.data
    if wish is None:
        return None
    most = min(_teams(index, pins) // (pins.stages or 1), index.batch_size // (pins.microbatches or 1))
    if not 1 <= wish <= most:
        room = f"is room for {_teams(index, pins)}" if pins.tensor else f"are {len(index.cluster.ranks)} devices"
        what = f"{wish} replicas of each stage: there {room}, {index.batch_size} samples"
        fixed = (("stages", pins.stages), ("microbatches", pins.microbatches), ("tensor", pins.tensor))
        asked = [f"--{name} {value}" for name, value in fixed if value]
        return InputError(" and ".join([what, *asked]), remedy=f"Take --data between 1 and {max(1, most)}.")
    if wish > 1 and not _has_batch(index):
        return InputError(f"{wish} replicas of a model without a batch dim", remedy="Leave out --data, or set it to 1.")
    return None


def _has_batch(index: Index) -> bool:
    return any(source.batch_dim is not None for source in index.blocks.sharded.graph.inputs)


def _wrong_stages(index: Index, pins: Pins) -> InputError | None:
    most = min(len(index.blocks.blocks), _teams(index, pins))
    if pins.stages is None or 1 <= pins.stages <= most:
        return None
    what = f"{pins.stages} stages of {len(index.blocks.blocks)} blocks on {len(index.cluster.ranks)} devices"
    if pins.tensor not in (None, 1):
        what += f", {pins.tensor} for each replica"
    return InputError(what, remedy=f"Take --stages between 1 and {most}.")


def _wrong_zero(index: Index, pins: Pins) -> InputError | None:
    """Only replicas have something to share out."""
    if not pins.zero:
        return None
    most = min(_teams(index, pins) // (pins.stages or 1), index.batch_size // (pins.microbatches or 1))
    if pins.data == 1 or most < 2 or not _has_batch(index):
        what = f"ZeRO level {pins.zero}, but no stage can have two replicas to share their state out among themselves"
        return InputError(what, remedy="Leave out --zero, or what leaves each stage one replica.")
    return None


def _wrong_layouts(index: Index, pins: Pins) -> InputError | None:
    """There are columns that they can be about; what they say is checked where it is used."""
    if pins.layouts and not index.lays_out:
        return InputError("layouts of ops, but layers of a profile are whole", remedy="Leave out --layout.")
    if not pins.layouts or (pins.tensor != 1 and max(node_sizes(index.cluster)) > 1):
        return None
    return InputError("--layout, but every replica is one device", remedy="Leave out --layout, or take --tensor 2 or more.")


def _unsplit(index: Index, pins: Pins) -> InputError | None:
    """Asked last: the answer takes a while."""
    wish = pins.tensor
    if wish in (None, 1):
        return None
    rooms = [group for group, here in enumerate(index.cluster.groups) if here.devices_per_node >= wish]
    teams = [(Part(group, (1,), wish),) for group in rooms] + list(joined_parts(pools(index), index.batch_size, wish))
    if any(index.meshes_of(parts) for parts in teams):
        return None
    return InputError(f"nothing in the model can be split over {wish} columns", remedy="Leave out --tensor.")
