"""ExportedProgram -> Draft: torch.fx nodes as ops over named values, symbolic sizes folded into their users.

A draft may still write in place and hold no-ops; its values carry their fake tensors, which is how later passes know what
aliases what.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, cast

import torch
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind
from torch.fx import GraphModule, Node

from autopart.errors import TraceError
from autopart.frontend import symbols
from autopart.frontend.internals import HigherOrder, Overload, schema_of
from autopart.ir.graph import Argument, GlobalSize, Op, Ref, Size, Symbol, Value

DROPPED_KWARGS = ("device", "layout", "pin_memory", "non_blocking")
# Scalar arguments that make a shape rather than enter arithmetic.
SHAPES_FROM_SCALARS = ("aten.arange.",)
CHECKS = ("aten._assert", "aten.sym_constrain", "aten._functional_assert", "aten.sym_", "_assert")
COPIES = ("aten.clone.default", "aten.lift_fresh_copy.default")
STATISTICS = {"aten.batch_norm.default": (3, 4, 5), "aten.instance_norm.default": (3, 4, 5)}


@dataclass
class Draft:
    """Ops under construction.

    ``leaves``: placeholder name -> (kind, target); ``fakes``: fake tensor of every value; ``silent``: values made under no_grad.
    """

    leaves: dict[str, tuple[InputKind, str]] = field(default_factory=dict)
    ops: list[Op] = field(default_factory=list)
    fakes: dict[str, torch.Tensor] = field(default_factory=dict)
    silent: set[str] = field(default_factory=set)
    loss: str = ""


def lift(program: ExportedProgram, prefix: str = "model") -> Draft:
    """The ops of an exported wrapper whose user model is its submodule ``prefix``."""
    draft = Draft()
    signature = program.graph_signature
    kinds = {spec.arg.name: (spec.kind, spec.target or "") for spec in signature.input_specs}
    walker = _Walker(draft, prefix)
    environment: dict[Node, Any] = {}
    for node in program.graph.nodes:
        if node.op == "placeholder":
            draft.leaves[node.name] = kinds[node.name]
            draft.fakes[node.name] = node.meta["val"]
            environment[node] = Ref(node.name)
    outputs = walker.walk(program.graph_module, environment, Mode())
    specs = signature.output_specs
    assert len(specs) == len(outputs) == 1, f"the traced wrapper has {len(outputs)} outputs, expected the loss alone"
    assert isinstance(outputs[0], Ref), "the loss does not follow from any tensor"
    draft.loss = outputs[0].name
    return draft


class Mode(NamedTuple):
    """What a region of the model switched off."""

    autocast: bool = True
    grad: bool = True


@dataclass
class _Walker:
    """Walks graph modules, nested regions in place.

    An ``environment`` maps a node to its Ref, or to a tuple of Refs where it has several results.
    """

    draft: Draft
    prefix: str

    def walk(self, module: GraphModule, environment: dict[Node, Any], mode: Mode) -> tuple[Any, ...]:
        for node in module.graph.nodes:
            match node.op:
                case "placeholder":
                    assert node in environment, f"unbound placeholder {node.name}"
                case "get_attr":
                    environment[node] = getattr(module, node.target)
                case "output":
                    return tuple(environment[arg] if isinstance(arg, Node) else arg for arg in node.args[0])
                case "call_function":
                    environment[node] = self.call(node, environment, mode)
                case _:
                    raise AssertionError(f"unexpected node {node.format_node()}")
        raise AssertionError("a graph without output")

    def call(self, node: Node, environment: Mapping[Node, Any], mode: Mode) -> Any:
        target: Any = node.target
        if target is operator.getitem:
            source, index = node.args
            return environment[cast("Node", source)][index]
        if isinstance(target, HigherOrder):
            return self.region(node, environment, mode)
        if _symbolic(node.meta.get("val")) or str(target).startswith(CHECKS):
            return None
        if not isinstance(target, Overload):
            raise TraceError(f"{target} is no tensor operation", where=place(node, self.prefix))
        if _sized_by_values(node, target):
            raise data_dependent("a size is read out of a tensor's values", place(node, self.prefix))
        return self.operation(node, target, environment, mode)

    def region(self, node: Node, environment: Mapping[Node, Any], mode: Mode) -> Any:
        """Puts the ops of a no_grad or autocast region in place."""
        name = str(node.target)
        args: list[Any] = [environment[arg] if isinstance(arg, Node) else arg for arg in node.args]
        if name == "wrap_with_set_grad_enabled":
            mode, module, operands = mode._replace(grad=bool(args[0])), args[1], args[2:]
        elif name == "wrap_with_autocast":
            mode, module, operands = mode._replace(autocast=False), args[4], args[5:]
            self._refuse_autocast(node, module, enabled=args[2])
        else:
            raise TraceError(
                f"{name}: control flow and custom regions can't be split",
                where=place(node, self.prefix),
                remedy="Write it with ordinary tensor operations.",
            )
        holders = [item for item in module.graph.nodes if item.op == "placeholder"]
        results = self.walk(module, dict(zip(holders, operands, strict=True)), mode)
        return results if mode.grad else tuple(self._detached(result, operands) for result in results)

    def _refuse_autocast(self, node: Node, module: GraphModule, *, enabled: bool) -> None:
        if enabled:
            inside = next((item for item in module.graph.nodes if item.meta.get("stack_trace")), node)
            raise TraceError(
                "the model switches autocast on itself",
                where=place(inside, self.prefix),
                remedy="Take the autocast out of the model and plan with --precision bfloat16.",
            )

    def operation(self, node: Node, target: Overload, environment: Mapping[Node, Any], mode: Mode) -> Any:
        schema = schema_of(target)
        fakes = node.meta.get("val")
        try:
            names = [argument.name for argument in schema.arguments]
            sizes = {argument.name: _is_size(str(target), argument) for argument in schema.arguments}
            args = tuple(_argument(arg, environment, sizes[name]) for name, arg in zip(names, node.args, strict=False))
            kwargs = tuple(
                (name, _argument(arg, environment, sizes[name]))
                for name, arg in node.kwargs.items()
                if name not in DROPPED_KWARGS
            )
            outputs = self._outputs(node, fakes)
        except symbols.DataDependentError as error:
            raise data_dependent(str(error), place(node, self.prefix)) from None
        op = Op(
            name=node.name if not outputs else outputs[0].name,
            kind=str(target),
            args=args,
            outputs=outputs,
            kwargs=kwargs,
            module=module_path(node, self.prefix),
            source=source_line(node.meta.get("stack_trace")),
            mutates=_mutates(target, names, args, kwargs),
            autocast=mode.autocast,
        )
        self.draft.ops.append(op)
        refs = tuple(Ref(output.name) for output in outputs)
        if not mode.grad:
            self.draft.silent.update(value.name for value in op.outputs)
        return refs if isinstance(fakes, tuple | list) else (refs[0] if refs else None)

    def _outputs(self, node: Node, fakes: Any) -> tuple[Value, ...]:
        """Values of the results, under provisional names that are unique over nested regions."""
        many = isinstance(fakes, tuple | list)
        tensors = list(fakes) if many else [fakes] if fakes is not None else []
        base = node.name
        while base in self.draft.fakes or f"{base}.0" in self.draft.fakes:
            base += "_"
        names = [f"{base}.{i}" if many else base for i in range(len(tensors))]
        for name, tensor in zip(names, tensors, strict=True):
            self.draft.fakes[name] = tensor
        return tuple(value_of(name, tensor) for name, tensor in zip(names, tensors, strict=True))

    def _detached(self, result: Any, passed: Sequence[Any]) -> Any:
        """What leaves a no_grad region: nothing flows back into what was made inside."""
        writes = {value.name for op in self.draft.ops if op.mutates for value in op.outputs}
        if not isinstance(result, Ref) or result in passed or result.name in writes:
            return result
        fake = self.draft.fakes[result.name]
        if not (fake.is_floating_point() or fake.is_complex()):
            return result
        name = f"{result.name}'"
        self.draft.fakes[name] = fake
        maker = next(op for op in reversed(self.draft.ops) if result.name in {value.name for value in op.outputs})
        self.draft.ops.append(
            replace(maker, name=name, kind="aten.detach.default", args=(result,), kwargs=(), outputs=(value_of(name, fake),))
        )
        return Ref(name)


def value_of(name: str, tensor: torch.Tensor) -> Value:
    """The value that a fake tensor stands for."""
    shape = tuple(size_of(size) for size in tensor.shape)
    return Value(name, shape, str(tensor.dtype).removeprefix("torch."))


def size_of(size: int | torch.SymInt) -> int | Size:
    if isinstance(size, int):
        return size
    found = symbols.text(size.node.expr)
    return Size(found) if isinstance(found, str) else int(found)


def _sized_by_values(node: Node, target: Overload) -> bool:
    """Whether the number of samples in the result follows from values, even where torch.export assumes that it is all of them."""
    if torch.Tag.dynamic_output_shape not in target.tags or node.kwargs.get("output_size") is not None:
        return False
    if target is torch.ops.aten.one_hot.default and (*node.args, -1)[1] != -1:
        return False
    masks = node.args[1] if target is torch.ops.aten.index.Tensor else node.args[:1]
    fakes = [item.meta["val"] for item in cast("Sequence[Any]", masks) if isinstance(item, Node)]
    if target is torch.ops.aten.index.Tensor:
        fakes = [fake for fake in fakes if fake.dtype in (torch.bool, torch.uint8)]
    return any(isinstance(size, torch.SymInt) for fake in fakes for size in fake.shape)


def _symbolic(value: Any) -> bool:
    return isinstance(value, torch.SymInt | torch.SymFloat | torch.SymBool | int | float | bool)


def _is_size(kind: str, argument: torch.Argument) -> bool:
    """Whether a symbolic number here is a size (local to a rank) rather than a number in arithmetic (of the global batch)."""
    return "Int" in str(argument.type) or "int" in str(argument.type).lower() or kind.startswith(SHAPES_FROM_SCALARS)


def _argument(arg: Any, environment: Mapping[Node, Any], size: bool) -> Argument:
    match arg:
        case Node():
            value = arg.meta.get("val")
            if isinstance(value, torch.SymInt | torch.SymFloat):
                return _number(value.node.expr, size)
            if isinstance(value, int | float | bool) and environment.get(arg) is None:
                return value
            return cast("Argument", environment[arg])
        case torch.SymInt() | torch.SymFloat():
            return _number(arg.node.expr, size)
        case list() | tuple():
            return tuple(_argument(item, environment, size) for item in arg)
        case torch.dtype() | torch.memory_format():
            return Symbol(str(arg))
        case torch.device() | torch.layout():
            return None
        case float() if not math.isfinite(arg):
            return Symbol(f"float('{arg}')")
        case None | bool() | int() | float() | complex() | str():
            return cast("Argument", arg)
        case _:
            raise AssertionError(f"no way to write {type(arg).__name__} {arg} as an argument")


def _number(expr: Any, size: bool) -> Argument:
    found = symbols.text(expr)
    if not isinstance(found, str):
        return found
    return Size(found) if size else GlobalSize(found)


def _mutates(
    target: Overload, names: Sequence[str], args: tuple[Argument, ...], kwargs: tuple[tuple[str, Argument], ...]
) -> tuple[str, ...]:
    bound = {**dict(zip(names, args, strict=False)), **dict(kwargs)}
    written = [
        bound.get(argument.name)
        for argument in schema_of(target).arguments
        if argument.alias_info is not None and argument.alias_info.is_write
    ]
    if (positions := STATISTICS.get(str(target))) and args[positions[2]]:
        written += [args[position] for position in positions[:2]]
    return tuple(item.name for item in written if isinstance(item, Ref))


def data_dependent(what: str, where: str) -> TraceError:
    """The one message for sizes, numbers and branches that follow from values."""
    return TraceError(
        what,
        where=where,
        remedy="A plan needs the same operations and sizes for every batch: keep it a tensor (torch.where, masks, "
        "sums) instead of .item(), bool(tensor), nonzero or boolean indexing.",
    )


def place(node: Node, prefix: str) -> str:
    """Where in the user's model a node comes from, for messages."""
    stack = node.meta.get("nn_module_stack") or {}
    kinds = [kind for path, kind in stack.values() if path == prefix]
    module = module_path(node, prefix) or (str(kinds[-1]).rsplit(".", 1)[-1] if kinds else "")
    line = source_line(node.meta.get("stack_trace"))
    return f"{line} (in module {module})" if module else line


def module_path(node: Node, prefix: str) -> str:
    """Path of the innermost module in the user's model."""
    stack = node.meta.get("nn_module_stack") or {}
    paths = [path for path, _ in stack.values() if path == prefix or path.startswith(f"{prefix}.")]
    return re.sub(r"@\d+", "", paths[-1]).removeprefix(prefix).removeprefix(".") if paths else ""


_FRAME = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+), in (?P<function>\S+)')
_ENGINE = re.compile(r"[\\/](torch|autopart[\\/]frontend)[\\/]")


def is_engine(path: str) -> bool:
    """Whether a source file belongs to torch or to the tracing, not to a model."""
    return _ENGINE.search(path) is not None


def source_line(stack_trace: str | None) -> str:
    """``file.py:line`` of the innermost frame outside torch."""
    frames = [match for match in _FRAME.finditer(stack_trace or "") if not is_engine(match["file"])]
    if not frames:
        return ""
    return f"{frames[-1]['file'].replace(chr(92), '/').rsplit('/', 1)[-1]}:{frames[-1]['line']}"
