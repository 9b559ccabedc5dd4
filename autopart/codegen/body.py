"""Ops as statements of one function."""

from __future__ import annotations

import ast
import keyword
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from autopart.codegen import layout
from autopart.codegen.names import Namer, identifier, path_name
from autopart.codegen.spelling import Scope, spell
from autopart.ir.graph import Argument, Op, Ref, Size, Value

ROWS = "b"
LINE = 88  # an op is written inside of the next while the line stays below this
DEEPEST = 7  # brackets in one line
MANY = 6  # results that are named one by one


def _kinds(packets: str) -> frozenset[str]:
    return frozenset(packets.split())


# What reads well inside of another expression: views before a view or a layer, arithmetic in arithmetic.
VIEWS = _kinds("reshape view transpose permute unsqueeze squeeze contiguous expand to flatten t mT slice select")
ARITHMETIC = _kinds(
    """add sub rsub mul div neg pow exp log sqrt rsqrt square abs sin cos tanh sigmoid erf eq ne lt le gt ge logical_and
    logical_or logical_not bitwise_and bitwise_or bitwise_not __and__ __or__ clamp sum mean to dropout relu gelu silu"""
)
LAYERS = _kinds("linear addmm embedding dropout matmul bmm mm")
SPLITS = _kinds("split split_with_sizes chunk unbind")


@dataclass
class Body:
    """The lines of a function under construction.

    ``users`` says who reads a value, ``kept`` which ones the surroundings read, ``expressions`` how a value is spelt here.
    ``fixed`` names belong to one value each and are given out already.
    """

    users: Mapping[str, Sequence[Op]]
    kept: frozenset[str]
    namer: Namer
    leaf: Callable[[str], ast.expr]  # a parameter or buffer by its value's name
    fixed: Mapping[str, str] = field(default_factory=dict)
    depth: int = 1
    autocast: bool = False  # whether regions without autocast must be said
    replicas: str = "replicas"
    tensor: str = "tensor"
    device: str = "device"
    quiet: bool = False  # inside a region without autocast
    counted: bool = False  # whether a line refers to b, the number of samples
    lines: list[str] = field(default_factory=list)
    expressions: dict[str, ast.expr] = field(default_factory=dict)

    def refer(self, value: str) -> ast.expr:
        """The expression of a value."""
        return self.expressions[value] if value in self.expressions else self.leaf(value)

    def bind(self, value: str, wanted: str) -> str:
        """Gives a value a name of its own."""
        name = self.fixed.get(value) or self.namer.take(wanted)
        self.expressions[value] = ast.Name(name)
        return name

    def say(self, line: str) -> None:
        self.lines.append(f"{layout.INDENT * self.depth}{line}")

    def ops(self, ops: Sequence[Op], base: str | None, name_of: Callable[[Op, bool], str]) -> None:
        """Statements for ops in order, with comments where they enter a module below ``base`` (None: without).

        ``name_of`` says what an op's result is called, told whether the op is the last of its module.
        """
        last = {op.module: op.name for op in ops}
        said = _sections(ops, base)
        for index, op in enumerate(ops):
            self._region(quiet=self.autocast and not op.autocast)
            if index in said:
                self.say(f"# {said[index]}")
            expression = self._spelt(op)
            self.counted |= _mentions(expression, ROWS)
            if index + 1 < len(ops) and self._joins(op, expression, ops[index + 1]):
                self.expressions[op.outputs[0].name] = expression
            else:
                self._statement(op, expression, name_of(op, last[op.module] == op.name))
        self._region(quiet=False)

    def finish(self, values: Sequence[str]) -> list[str]:
        """The lines with a return of ``values``; one that was only just named is returned as it is."""
        results = [layout.source(self.refer(value)) for value in values]
        if not results:
            return self.lines
        start = f"{layout.INDENT * self.depth}{results[0]} = "
        if len(results) == 1 and self.lines and self.lines[-1].startswith(start):
            return [*self.lines[:-1], f"{layout.INDENT * self.depth}return {self.lines[-1].removeprefix(start)}"]
        return [*self.lines, *layout.give_back(results, self.depth)]

    def keep(self, names: Mapping[str, str]) -> list[str]:
        """The lines with every value of ``names`` under its name there."""
        lines = list(self.lines)
        for value, name in names.items():
            found, start = layout.source(self.refer(value)), layout.INDENT * self.depth
            made = [i for i, line in enumerate(lines) if line.startswith(f"{start}{found} = ")]
            if made and not self.users.get(value):
                lines[made[-1]] = f"{start}{name} = {lines[made[-1]].removeprefix(f'{start}{found} = ')}"
            else:
                lines.append(f"{start}{name} = {found}")
        return lines

    def _spelt(self, op: Op) -> ast.expr:
        return spell(op, Scope(self.refer, ROWS, here=self.device, replicas=self.replicas, tensor=self.tensor))

    def _region(self, *, quiet: bool) -> None:
        """Opens or closes a region without autocast."""
        if quiet == self.quiet:
            return
        if quiet:
            self.say("with no_autocast():")
        self.depth += 1 if quiet else -1
        self.quiet = quiet

    def _statement(self, op: Op, expression: ast.expr, word: str) -> None:
        if op.outputs:
            self.lines += layout.assign(self._targets(op, word), expression, self.depth)
            self._comment(CHANGES.get(op.kind))
        else:
            self.say("if m.training:")
            self.lines += layout.expression("", expression, self.depth + 1)

    def _comment(self, text: str | None) -> None:
        """Beside the last statement, where it fits."""
        if text and len(self.lines[-1]) + len(text) + 4 <= layout.WIDTH:
            self.lines[-1] += f"  # {text}"

    def _targets(self, op: Op, word: str) -> list[str]:
        if len(op.outputs) == 1:
            return [self.bind(op.outputs[0].name, word)]
        if len(op.outputs) <= MANY:
            return [
                self.bind(value.name, f"{word}_{i}") if self.users.get(value.name) or value.name in self.kept else "_"
                for i, value in enumerate(op.outputs)
            ]
        whole = self.namer.take(f"{word}s")
        for i, value in enumerate(op.outputs):
            self.expressions[value.name] = ast.Subscript(ast.Name(whole), ast.Constant(i), ast.Load())
        return [whole]

    def _joins(self, op: Op, expression: ast.expr, following: Op) -> bool:
        """Whether an op is written inside of the next, which alone reads it, and which stays readable."""
        if len(op.outputs) != 1 or op.mutates or following.mutates or op.autocast != following.autocast:
            return False
        name = op.outputs[0].name
        if name in self.kept or name in self.fixed or [user.name for user in self.users.get(name, ())] != [following.name]:
            return False
        if list(refs((*following.args, *(value for _, value in following.kwargs)))).count(name) != 1 or not _fits(op, following):
            return False
        self.expressions[name] = expression
        text = layout.source(self._spelt(following))
        del self.expressions[name]
        return len(text) + 4 * self.depth + 12 <= LINE and text.count("(") <= DEEPEST


def _fits(op: Op, following: Op) -> bool:
    """Whether the kinds read well inside of each other."""
    inner, outer = packet(op), packet(following)
    first = bool(op.outputs) and following.args[:1] == (Ref(op.outputs[0].name),)
    if inner in LAYERS:
        return outer == "add" or (first and outer in VIEWS | SPLITS)
    if inner in VIEWS:
        return outer in ARITHMETIC | LAYERS or (first and outer in VIEWS | SPLITS)
    return inner in ARITHMETIC and outer in ARITHMETIC


def packet(op: Op) -> str:
    """``add`` of ``aten.add.Tensor``."""
    return op.kind.split(".")[1]


# What a change of layout does, beside its statement.
CHANGES = {
    "tensor.all_reduce": "terms of the columns -> their sum",
    "tensor.reduce_scatter": "terms of the columns -> a part of their sum on each",
    "tensor.all_gather": "parts of the columns -> the whole",
    "tensor.all_to_all": "parts along another dim",
    "tensor.shard": "the whole -> this column's part",
    "tensor.to_partial": "the whole -> a term on each column",
}
# What an op's result is called where its own name is long.
WORDS = {
    "all_reduce": "whole",
    "all_gather": "whole",
    "reduce_scatter": "own",
    "all_to_all": "own",
    "shard": "own",
    "to_partial": "term",
    "scaled_dot_product_attention": "attention",
    "cross_entropy_loss": "entropy",
    "binary_cross_entropy_with_logits": "entropy",
    "unsqueeze": "wider",
    "embedding": "embedded",
}


def op_word(op: Op) -> str:
    """What an op's result is called."""
    word = packet(op).strip("_")
    return WORDS.get(word, word)


def result_name(op: Op, base: str, last: bool) -> str:
    """The last result of a module is called like the module, others like their op."""
    inner = op.module.removeprefix(base).strip(".")
    return path_name(inner) if last and inner else op_word(op)


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


def tree_path(root: str, path: str) -> ast.expr:
    """``m.h[3].attn`` for ``h.3.attn``."""
    node: ast.expr = ast.Name(root)
    for part in path.split(".") if path else ():
        if part.isdecimal() and part == str(int(part)):
            node = ast.Subscript(node, ast.Constant(int(part)), ast.Load())
        elif part == identifier(part) and not keyword.iskeyword(part) and part not in TAKEN:
            node = ast.Attribute(node, part, ast.Load())
        else:
            node = ast.Subscript(node, ast.Constant(part), ast.Load())
    return node


def refs(argument: Argument) -> Iterator[str]:
    """Names of the values in an argument, as often as they occur."""
    if isinstance(argument, Ref):
        yield argument.name
    elif isinstance(argument, tuple):
        for item in argument:
            yield from refs(item)


def _mentions(expression: ast.expr, name: str) -> bool:
    return any(isinstance(node, ast.Name) and node.id == name for node in ast.walk(expression))


def _section(module: str, base: str) -> str:
    """The part of the block that an op belongs to: the first name below what all ops share, with its number."""
    parts = module.removeprefix(base).strip(".").split(".")
    return ".".join(parts[:2] if len(parts) > 1 and parts[1].isdigit() else parts[:1])


def _sections(ops: Sequence[Op], base: str | None) -> dict[int, str]:
    """Where several ops in a row belong to one module below ``base``: index of the first, name of the module."""
    if base is None:
        return {}
    found: dict[int, str] = {}
    for here, run in groupby(enumerate(ops), key=lambda item: _section(item[1].module, base)):
        indices = [index for index, _ in run]
        if len(indices) > 1 and here and not here.isdigit():
            found[indices[0]] = here
    return found


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
