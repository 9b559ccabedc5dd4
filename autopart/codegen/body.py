"""Ops as statements of one function."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from autopart.codegen import layout
from autopart.codegen.names import Namer, identifier, path_name
from autopart.codegen.spelling import Scope, spell
from autopart.ir.graph import Argument, Op, Ref, Size, Value

ROWS = "b"
LINE = 100  # expressions are joined while they stay below this
MANY = 6  # results that are named one by one
CHAINED = frozenset({
    "aten.reshape.default", "aten.view.default", "aten.transpose.int", "aten.permute.default", "aten.unsqueeze.default",
    "aten.squeeze.dim", "aten.squeeze.dims", "aten.contiguous.default", "aten.expand.default", "aten.to.dtype", "aten.flatten.using_ints",
})  # fmt: skip
SUMMED = frozenset({"aten.dropout.default", "aten.linear.default", "aten.embedding.default"})


@dataclass
class Body:
    """The lines of a function under construction.

    ``users`` says who reads a value, ``kept`` which ones the surroundings read, ``expressions`` how a value is spelt here.
    """

    users: Mapping[str, Sequence[Op]]
    kept: frozenset[str]
    namer: Namer
    leaf: Callable[[str], ast.expr]  # a parameter or buffer by its value's name
    depth: int = 1
    autocast: bool = False  # whether regions without autocast must be said
    replicas: str = "replicas"
    device: str = "device"
    quiet: bool = False  # inside a region without autocast
    counted: bool = False  # whether a line refers to b, the number of samples
    lines: list[str] = field(default_factory=list)
    expressions: dict[str, ast.expr] = field(default_factory=dict)

    def refer(self, value: str) -> ast.expr:
        """The expression of a value."""
        if value not in self.expressions:
            return self.leaf(value)
        return self.expressions[value]

    def bind(self, value: str, wanted: str) -> str:
        """Gives a value a name of its own."""
        name = self.namer.take(wanted)
        self.expressions[value] = ast.Name(name)
        return name

    def scope(self) -> Scope:
        return Scope(self.refer, ROWS, here=self.device, replicas=self.replicas)

    def say(self, line: str) -> None:
        self.lines.append(f"{layout.INDENT * self.depth}{line}" if line else "")

    def ops(self, ops: Sequence[Op], base: str, wanted: Mapping[str, str]) -> None:
        """Statements for ops in order. ``base`` is the module path that they share; ``wanted`` names some results."""
        last = {op.module: op.name for op in ops}
        section = ""
        for index, op in enumerate(ops):
            self._region(quiet=self.autocast and not op.autocast)
            here = _section(op.module, base)
            if here not in (section, "") and not _alone(ops, _under(base, here)):
                self.say(f"# {here}")
            section = here
            joined = self._joins(op, ops[index + 1] if index + 1 < len(ops) else None)
            self._statement(op, base, joined=joined, last=last[op.module] == op.name, wanted=wanted)
        self._region(quiet=False)

    def _region(self, *, quiet: bool) -> None:
        """Opens or closes a region without autocast."""
        if quiet == self.quiet:
            return
        if quiet:
            self.say("with no_autocast():")
        self.depth += 1 if quiet else -1
        self.quiet = quiet

    def _statement(self, op: Op, base: str, *, joined: bool, last: bool, wanted: Mapping[str, str]) -> None:
        expression = spell(op, self.scope())
        self.counted |= any(isinstance(node, ast.Name) and node.id == ROWS for node in ast.walk(expression))
        if joined:
            self.expressions[op.outputs[0].name] = expression
        elif op.outputs:
            self.lines += layout.assign(self._targets(op, base, last, wanted), expression, self.depth)
        else:
            self.say("if m.training:")
            self.lines += layout.expression("", expression, self.depth + 1)

    def _targets(self, op: Op, base: str, last: bool, wanted: Mapping[str, str]) -> list[str]:
        word = result_name(op, base, last)
        if len(op.outputs) == 1:
            return [self.bind(op.outputs[0].name, wanted.get(op.outputs[0].name, word))]
        used = [bool(self.users.get(value.name)) or value.name in self.kept for value in op.outputs]
        if len(op.outputs) <= MANY:
            return [
                self.bind(value.name, wanted.get(value.name, f"{word}_{i}")) if here else "_"
                for i, (value, here) in enumerate(zip(op.outputs, used, strict=True))
            ]
        whole = self.namer.take(f"{word}s")
        for i, value in enumerate(op.outputs):
            self.expressions[value.name] = ast.Subscript(ast.Name(whole), ast.Constant(i), ast.Load())
        return [whole]

    def _joins(self, op: Op, following: Op | None) -> bool:
        """Whether an op is written inside of the next: a chain of views, or a term of a sum."""
        if following is None or len(op.outputs) != 1 or op.mutates or following.mutates or op.autocast != following.autocast:
            return False
        name = op.outputs[0].name
        users = self.users.get(name, ())
        if len(users) != 1 or users[0].name != following.name or _count(following, name) != 1 or name in self.kept:
            return False
        chained = op.kind in CHAINED and following.kind in CHAINED and following.args[:1] == (Ref(name),)
        summed = (
            op.kind in SUMMED
            and following.kind == "aten.add.Tensor"
            and following.args[1:] == (Ref(name),)
            and not following.kwargs
        )
        if not (chained or summed):
            return False
        return len(layout.source(spell(op, self.scope()))) + 4 * self.depth < LINE - 30


def result_name(op: Op, base: str, last: bool) -> str:
    """The last result of a module is called like the module, others like their op."""
    inner = op.module.removeprefix(base).strip(".")
    if last and inner and op.module != base:
        return path_name(inner)
    return op.kind.split(".")[1].strip("_") if op.kind.count(".") else op.kind


def rows_of(names: Sequence[tuple[str, Value]]) -> str | None:
    """How many samples there are, read off a tensor: ``x.shape[0]``."""
    for unit in (1, None):
        for name, value in names:
            for dim, size in enumerate(value.shape):
                count = size.per_sample if isinstance(size, Size) else None
                if count == 1:
                    return f"{name}.shape[{dim}]"
                if count and unit is None:
                    return f"{name}.shape[{dim}] // {count}"
    return None


def shape_text(value: Value) -> str:
    """``[b, 128, 768]``."""
    return f"[{', '.join(str(size) for size in value.shape)}]"


def tree_path(root: str, path: str) -> ast.expr:
    """``m.h[3].attn`` for ``h.3.attn``."""
    node: ast.expr = ast.Name(root)
    for part in path.split(".") if path else ():
        if part.isdigit():
            node = ast.Subscript(node, ast.Constant(int(part)), ast.Load())
        elif part == identifier(part) and part not in TAKEN:
            node = ast.Attribute(node, part, ast.Load())
        else:
            node = ast.Subscript(node, ast.Constant(part), ast.Load())
    return node


def _section(module: str, base: str) -> str:
    """The part of the block that an op belongs to: the first name below what all ops share, with its number."""
    parts = _below(module, base).split(".")
    return ".".join(parts[:2] if len(parts) > 1 and parts[1].isdigit() else parts[:1])


def _below(module: str, base: str) -> str:
    return module.removeprefix(base).strip(".")


def _under(base: str, inner: str) -> str:
    return f"{base}.{inner}" if base else inner


def _alone(ops: Sequence[Op], module: str) -> bool:
    """A module of one op is named by its result."""
    return sum(op.module == module or op.module.startswith(f"{module}.") for op in ops) == 1


def refs(argument: Argument) -> Iterator[str]:
    """Names of the values in an argument, as often as they occur."""
    if isinstance(argument, Ref):
        yield argument.name
    elif isinstance(argument, tuple):
        for item in argument:
            yield from refs(item)


def _count(op: Op, name: str) -> int:
    return sum(ref == name for ref in refs((*op.args, *(value for _, value in op.kwargs))))


# Attributes of nn.Module, which a tree has before any name of a model.
TAKEN = frozenset(
    """
    T_destination add_module apply bfloat16 buffers call_super_init children compile cpu cuda double dump_patches eval
    extra_repr float forward get_buffer get_extra_state get_parameter get_submodule grow half ipu load_state_dict
    modules mtia named_buffers named_children named_modules named_parameters parameters put_buffer put_parameter
    register_backward_hook register_buffer register_forward_hook register_forward_pre_hook register_full_backward_hook
    register_full_backward_pre_hook register_load_state_dict_post_hook register_load_state_dict_pre_hook register_module
    register_parameter register_state_dict_post_hook register_state_dict_pre_hook requires_grad_ set_extra_state
    set_submodule share_memory state_dict to to_empty train training type xpu zero_grad
    """.split()  # noqa: SIM905  (a list of 60 strings is harder to read)
)
