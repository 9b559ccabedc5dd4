"""What a layout costs: the ops on a part of their tensors, the collectives between them, the parameters once a step.

An op's seconds on a part are those of an op with its flops and bytes scaled: flops by the largest column's part of
whatever is split, bytes by those of the parts of all tensors. What was measured is of whole ops: a part takes as much less as
the model says (``cost_models.price.part_price``). The final price of a layout is that of the rewritten graph
(``planner.meshes``).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from autopart.blocks.call import facts
from autopart.ir.graph import Op, Parameter, Value
from autopart.pricing.ops import demand
from autopart.pricing.table import BlockTable, elements
from autopart.program.reductions import BUCKET_BYTES
from autopart.sharding.placement import Placement, Shard
from autopart.sharding.rules import Place, uses
from autopart.tensor.reshard import BACKWARD, collective_s, steps
from autopart.tensor.ways import Axis, Way
from cost_models.collective import Topology, all_reduce_s
from cost_models.compute import Products
from cost_models.hardware import DeviceType
from cost_models.memory import PRECISIONS
from cost_models.price import block_ratio, stream_s


@dataclass(frozen=True, eq=False)
class Prices:
    """Seconds of one microbatch of ``rows`` samples on ``axis`` columns of a device.

    ``once`` is what a second once a step counts beside one of a microbatch (1 / microbatches), ``byte_s`` what a byte of a
    parameter with its gradient and optimizer state counts: 0 where memory does not matter.
    """

    table: BlockTable
    axis: Axis
    device: DeviceType
    rows: int
    topology: Topology
    once: float = 0.125
    byte_s: float = 0.0
    _converted: dict[tuple[float, bool, Placement, Placement], float] = field(default_factory=dict, init=False, repr=False)

    def op_s(self, op: Op, way: Way) -> float:
        """Forward and backward."""
        forward, backward = block_ratio(self.device)
        share, ratio = self._share(way), self._ratio(op, way)
        if share == ratio == 1:
            whole = self.table.price_alone(op, self.device, self.rows)
            return whole.forward_s * forward + whole.backward_s * backward
        work = self.table.work(op, self.device.kind, self.rows)
        local = replace(
            work,
            forward_flops=int(work.forward_flops * share),
            forward_bytes=int(work.forward_bytes * ratio),
            backward_flops=int(work.backward_flops * share),
            backward_bytes=int(work.backward_bytes * ratio),
            products=_part(op, work.products, way, share),
        )
        part = self.table.part_alone(op.name, demand(op, local, self.table.precision), self.device, self.rows)
        assert part is not None, "the op is of the table's graph"
        return part.forward_s * forward + part.backward_s * backward

    def _share(self, way: Way) -> float:
        shards = [place for place in (*way.row.inputs, *way.row.outputs) if isinstance(place, Shard)]
        return min((self.part(place) for place in shards), default=1.0)

    def _ratio(self, op: Op, way: Way) -> float:
        values = self.table.blocks.sharded.graph.values
        pairs: list[tuple[Value, Place]] = [(values[n], p) for n, p in zip(uses(op), way.row.inputs, strict=True) if n in values]
        pairs += list(zip(op.outputs, way.row.outputs, strict=True))
        whole = sum(self.nbytes(value) for value, _ in pairs)
        return sum(self.nbytes(value) * self.part(place) for value, place in pairs) / whole if whole else 1.0

    def part(self, place: Place) -> float:
        """Of a value that lies so, on the column that has most."""
        return max(self.axis.parts(place)) / place.units if isinstance(place, Shard) else 1.0

    def nbytes(self, value: Value) -> float:
        """Of the whole value in this precision; statistics have none."""
        if value.name not in self.table.blocks.sharded.graph.values:
            return 0.0
        return self.table.remembered(
            ("value bytes", value.name, self.rows), lambda: self.table.value_bytes({value.name}, self.rows)
        )

    def conversion_s(self, value: Value, have: Placement, need: Place) -> float:
        """Forward, and backward where the value has a gradient."""
        if not isinstance(need, Placement) or have == need:
            return 0.0
        trained = value.name in facts(self.table.blocks.sharded.graph).differentiable
        key = (self.nbytes(value), trained, have, need)
        if key not in self._converted:
            self._converted[key] = self._conversion_s(*key)
        return self._converted[key]

    def _conversion_s(self, nbytes: float, trained: bool, have: Placement, need: Placement) -> float:
        found = 0.0
        for step in steps(have, need):
            if step.kind in BACKWARD:
                found += self.device.launch_s + collective_s(step.kind, nbytes, self.topology)
                if trained:
                    found += self.device.launch_s + collective_s(BACKWARD[step.kind], nbytes, self.topology)
            else:
                found += stream_s(self.device, 2 * nbytes * self.part(step.place))
        return found

    def parameter_s(self, parameter: Parameter, place: Placement) -> float:
        """The sum of its gradient over columns where it is replicated, its update, the room it takes. Gradients are summed in
        buckets, so a parameter pays for its bytes of one.
        """
        share = self.part(place)
        count = elements(parameter) * share
        once = max(0.0, self.table.update_s(self.device, count) - self.device.launch_s)
        if not isinstance(place, Shard):
            nbytes = count * PRECISIONS[self.table.precision].gradient_bytes
            once += nbytes * all_reduce_s(BUCKET_BYTES, self.topology) / BUCKET_BYTES
        return once * self.once + self.table.state_bytes(parameter) * share * self.byte_s


def _part(op: Op, products: Products, way: Way, share: float) -> Products:
    """Of the products of a whole op: fewer columns where features of the result are split, shorter sums where nothing of it is,
    fewer products otherwise (heads, rows).
    """
    if not products[0]:
        return products
    (whole,), (output, *_) = products[0], way.row.outputs
    features = 1 if ".conv" in op.kind else len(op.outputs[0].shape) - 1
    if isinstance(output, Shard) and (output.dim != features or "attention" in op.kind):
        fewer = [tuple(replace(each, count=each.count * share) for each in side) for side in products]
        return fewer[0], fewer[1]
    split = {"columns": whole.columns * share} if isinstance(output, Shard) else {"depth": whole.depth * share}
    part = replace(whole, **split)
    made = zip(part.gradients(), whole.gradients(), strict=True)
    return (part,), tuple(gradient for gradient, of_whole in made if of_whole in products[1])
