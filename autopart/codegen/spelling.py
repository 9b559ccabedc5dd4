"""Op -> the Python expression that a person would write for it. ``table.py`` holds the rows, this reads them."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from autopart.codegen.table import ROWS
from autopart.ir.graph import Argument, GlobalSize, Op, PartSize, Ref, Size, Symbol

REDUCTIONS = ("none", "mean", "sum")
OPTIONS = "dtype=None, layout=None, device=None, pin_memory=None"
END = 2**63 - 1  # aten's "to the end" of a slice
WORDS = ("one", "same", "training", "rate", "reduction", "items", "mute")
HERE, REPLICAS, TENSOR, TRAINING = "here", "replicas", "tensor", "training"


@dataclass(frozen=True)
class Scope:
    """What an expression may refer to: values by name, numbers of samples, the device, the replicas, the columns
    (``tensor``), the training flag.
    """

    value: Callable[[str], ast.expr]
    rows: str = "b"
    global_batch: str = "BATCH"
    here: str = "device"
    replicas: str = "replicas"
    tensor: str = "tensor"
    training: str = "m.training"


@dataclass(frozen=True)
class Row:
    """One line of the table. ``order`` are aten's parameters, ``defaults`` those that have one."""

    kind: str
    order: tuple[str, ...]
    defaults: Mapping[str, Argument]
    expression: ast.expr
    mentioned: frozenset[str]


class _UnfitError(Exception):
    """The row does not fit the op."""


def spell(op: Op, scope: Scope) -> ast.expr:
    """The expression of an op: by the first row that fits, else ``torch.ops.aten.…``."""
    special = SPECIAL.get(op.kind)
    if special is not None:
        found = special(op, scope)
        if found is not None:
            return found
    for row in rows().get(op.kind, ()):
        try:
            return _filled(row, _bound(row, op), scope)
        except _UnfitError:
            continue
    return fallback(op, scope)


def needs(op: Op) -> frozenset[str]:
    """Which of ``here``, ``replicas``, ``tensor``, ``training`` the spelling of an op refers to."""
    names = {node.id for node in ast.walk(spell(op, _PROBE)) if isinstance(node, ast.Name)}
    return frozenset(names & {HERE, REPLICAS, TENSOR, TRAINING})


def fallback(op: Op, scope: Scope) -> ast.expr:
    """The op as torch knows it."""
    kwargs = [ast.keyword(name, render(value, scope)) for name, value in op.kwargs]
    return ast.Call(_parse(f"torch.ops.{op.kind}"), [render(arg, scope) for arg in op.args], kwargs)


def render(argument: Argument, scope: Scope) -> ast.expr:
    """An argument as an expression. Tensor lists are lists, sizes are tuples."""
    match argument:
        case Ref(name):
            return scope.value(name)
        case Size(expression):
            return _renamed(expression, scope.rows)
        case GlobalSize(expression):
            return _renamed(expression, scope.global_batch)
        case PartSize(parts):
            return ast.Call(_parse(f"{scope.tensor}.own"), [ast.Constant(part) for part in parts], [])
        case Symbol(text):
            return _parse(text)
        case float() if not math.isfinite(argument):
            return _parse(f"float('{argument}')")
        case tuple():
            items = [render(item, scope) for item in argument]
            return (
                ast.List(items, ast.Load()) if any(isinstance(item, Ref) for item in argument) else ast.Tuple(items, ast.Load())
            )
        case bool() | int() | float() | complex() | str() | None:
            return number(argument)


def number(value: bool | int | float | complex | str | None) -> ast.expr:  # noqa: PYI041  (mypy tells them apart)
    """A literal; a negative number as Python parses it."""
    if isinstance(value, int | float) and not isinstance(value, bool) and value < 0:
        return ast.UnaryOp(ast.USub(), ast.Constant(-value))
    return ast.Constant(value)


@cache
def rows() -> dict[str, tuple[Row, ...]]:
    """The table by kind."""
    found: dict[str, tuple[Row, ...]] = {}
    for line in re.sub(r"\n\s+", " ", ROWS).replace("OPTIONS", OPTIONS).strip().splitlines():
        row = _row(line)
        found[row.kind] = (*found.get(row.kind, ()), row)
    return found


def _row(line: str) -> Row:
    head, _, expression = line.partition(") -> ")
    kind, _, parameters = head.partition("(")
    function = ast.parse(f"def f({parameters}): ...").body[0]
    assert isinstance(function, ast.FunctionDef)
    arguments = function.args
    names = [argument.arg for argument in arguments.args]
    defaults = dict(zip(names[len(names) - len(arguments.defaults) :], arguments.defaults, strict=True))
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        names.append(argument.arg)
        if default is not None:
            defaults[argument.arg] = default
    body = _parse(expression)
    mentioned = {node.id for node in ast.walk(body) if isinstance(node, ast.Name)}
    return Row(
        kind, tuple(names), {name: _literal(node) for name, node in defaults.items()}, body, frozenset(mentioned & set(names))
    )


def _literal(node: ast.expr) -> Argument:
    return Symbol(ast.unparse(node)) if isinstance(node, ast.Attribute) else ast.literal_eval(node)


def _bound(row: Row, op: Op) -> dict[str, Argument]:
    """Arguments by name; those that were not given have their default."""
    given = {**dict(zip(row.order, op.args, strict=False)), **dict(op.kwargs)}
    if len(op.args) > len(row.order) or set(given) - set(row.order):
        raise _UnfitError
    bound = {**row.defaults, **given}
    if any(name not in row.mentioned and not _is_default(row, name, bound[name]) for name in bound):
        raise _UnfitError
    return bound


def _is_default(row: Row, name: str, value: Argument) -> bool:
    if name not in row.defaults:
        return False
    default = row.defaults[name]
    return _same_literal(_shrunk(value), default) or _same_literal(value, default)


def _same_literal(a: Argument, b: Argument) -> bool:
    """1 is 1.0 here, but not True."""
    return isinstance(a, bool) == isinstance(b, bool) and a == b


def _shrunk(value: Argument) -> Argument:
    """A tuple of equal numbers as that number."""
    if isinstance(value, tuple) and value and isinstance(value[0], int | float) and all(item == value[0] for item in value):
        return value[0]
    return value


def _filled(row: Row, bound: Mapping[str, Argument], scope: Scope) -> ast.expr:
    return _Filler(row, bound, scope).fill(row.expression)


@dataclass(frozen=True)
class _Filler:
    """Puts an op's arguments into the expression of its row."""

    row: Row
    bound: Mapping[str, Argument]
    scope: Scope

    def fill(self, node: ast.expr) -> ast.expr:
        match node:
            case ast.Name(id=name) if name in self.bound:
                return render(self.bound[name], self.scope)
            case ast.Name(id=name):
                return _parse({HERE: self.scope.here, REPLICAS: self.scope.replicas, TENSOR: self.scope.tensor}.get(name, name))
            case ast.Attribute(value, attribute):
                return ast.Attribute(self.fill(value), attribute, ast.Load())
            case ast.BinOp(left, operator, right):
                return ast.BinOp(self.fill(left), operator, self.fill(right))
            case ast.Compare(left, operators, [right]):
                return ast.Compare(self.fill(left), operators, [self.fill(right)])
            case ast.UnaryOp(operator, operand):
                return ast.UnaryOp(operator, self.fill(operand))
            case ast.Call(ast.Name(id=word), [ast.Name(id=name)]) if word in WORDS:
                return self.word(word, self.bound[name])
            case ast.Call(function, args, keywords):
                return self.call(function, args, keywords)
            case ast.Constant():
                return node
        raise AssertionError(f"{self.row.kind}: {ast.unparse(node)} is not understood")

    def call(self, function: ast.expr, args: Sequence[ast.expr], keywords: Sequence[ast.keyword]) -> ast.expr:
        positional: list[ast.expr] = []
        named: list[ast.keyword] = []
        skipped = False
        for arg in args:
            name = _name_of(arg)
            if isinstance(arg, ast.Starred):
                positional += self.spread(arg.value)
            elif name is None:
                positional.append(self.fill(arg))
            elif _word_of(arg) == "mute":
                continue
            elif _is_default(self.row, name, self.bound[name]):
                skipped = True
            elif skipped:
                named.append(ast.keyword(name, self.fill(arg)))
            else:
                positional.append(self.fill(arg))
        for keyword in keywords:
            name = _name_of(keyword.value)
            if name is None or not (_is_default(self.row, name, self.bound[name]) or _unset(self.row, self.bound[name])):
                named.append(ast.keyword(keyword.arg, self.fill(keyword.value)))
        return ast.Call(self.fill(function), positional, named)

    def spread(self, node: ast.expr) -> Iterator[ast.expr]:
        name = _name_of(node)
        value = self.bound[name] if name else None
        if not isinstance(value, tuple) or not value:
            raise _UnfitError
        return (render(item, self.scope) for item in value)

    def word(self, word: str, value: Argument) -> ast.expr:
        match word:
            case "one":
                value = value[0] if isinstance(value, tuple) and len(value) == 1 else value
            case "same":
                value = _shrunk(value)
            case "reduction":
                assert isinstance(value, int)
                value = REDUCTIONS[value]
            case "items":
                assert isinstance(value, tuple)
                return ast.List([render(item, self.scope) for item in value], ast.Load())
            case "training" if value is True and self.bound.get("running_mean", "") is not None:
                return _parse(self.scope.training)
            case "rate":
                return ast.IfExp(_parse(self.scope.training), render(value, self.scope), ast.Constant(0.0))
        return render(value, self.scope)


def _unset(row: Row, value: Argument) -> bool:
    """An optional argument that aten wants spelt as None."""
    return value is None and row.kind.startswith("aten.upsample")


def _name_of(node: ast.expr) -> str | None:
    """The parameter that an argument of the expression stands for."""
    match node:
        case ast.Name(id=name) if name not in (HERE, REPLICAS, TENSOR):
            return name
        case ast.Call(ast.Name(id=word), [ast.Name(id=name)]) if word in WORDS:
            return name
    return None


def _word_of(node: ast.expr) -> str | None:
    return node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else None


def _parse(text: str) -> ast.expr:
    return ast.parse(text, mode="eval").body


def _renamed(expression: str, rows: str) -> ast.expr:
    node = _parse(expression)
    for name in ast.walk(node):
        if isinstance(name, ast.Name) and name.id == "b":
            name.id = rows
    return node


def _slice(op: Op, scope: Scope) -> ast.expr | None:
    """``x[:, 1:5]``, where the bounds are plain."""
    defaults: tuple[Argument, ...] = (0, None, None, 1)
    source, dim, start, end, step = op.args + defaults[len(op.args) - 1 :]
    if op.kwargs or not isinstance(source, Ref) or not isinstance(dim, int):
        return None
    bounds = (None if start == 0 else start, None if end == END else end, None if step == 1 else step)
    if not all(bound is None or isinstance(bound, int) for bound in bounds):
        return None
    lower, upper, stride = (None if bound is None else render(bound, scope) for bound in bounds)
    return _subscript(scope.value(source.name), dim, ast.Slice(lower, upper, stride))


def _select(op: Op, scope: Scope) -> ast.expr | None:
    """``x[:, 0]``."""
    source, dim, index = op.args
    if not isinstance(source, Ref) or not isinstance(dim, int) or not isinstance(index, int):
        return None
    return _subscript(scope.value(source.name), dim, render(index, scope))


def _subscript(value: ast.expr, dim: int, item: ast.expr) -> ast.expr | None:
    if dim < -1:
        return None
    before: list[ast.expr] = [ast.Constant(...)] if dim == -1 else [ast.Slice() for _ in range(dim)]
    index = item if not before else ast.Tuple([*before, item], ast.Load())
    return ast.Subscript(value, index, ast.Load())


def _index(op: Op, scope: Scope) -> ast.expr | None:
    """``x[:, ids]``."""
    source, indices = op.args
    if not isinstance(source, Ref) or not isinstance(indices, tuple):
        return None
    parts: list[ast.expr] = [ast.Slice() if item is None else render(item, scope) for item in indices]
    return ast.Subscript(scope.value(source.name), parts[0] if len(parts) == 1 else ast.Tuple(parts, ast.Load()), ast.Load())


SPECIAL: Mapping[str, Callable[[Op, Scope], ast.expr | None]] = {
    "aten.slice.Tensor": _slice,
    "aten.select.int": _select,
    "aten.index.Tensor": _index,
}

_PROBE = Scope(lambda _: ast.Name("x"), here=HERE, replicas=REPLICAS, tensor=TENSOR, training=TRAINING)
