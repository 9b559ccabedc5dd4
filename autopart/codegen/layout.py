"""Statements as lines of at most 120 columns, laid out as ``ruff format`` would."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence

WIDTH = 120
INDENT = "    "


def source(node: ast.expr) -> str:
    """An expression on one line: strings in double quotes, exponents without a plus."""
    text = re.sub(r"(?<=\de)\+(?=\d)", "", ast.unparse(node))
    return text if '"' in text else text.replace("'", '"')


def assign(targets: Sequence[str], value: ast.expr, depth: int) -> list[str]:
    """``a, b = value``."""
    return expression(f"{', '.join(targets)} = " if targets else "", value, depth)


def give_back(values: Sequence[str], depth: int) -> list[str]:
    """``return a, b``."""
    line = f"{INDENT * depth}return {', '.join(values)}"
    if len(line) <= WIDTH:
        return [line]
    return [f"{INDENT * depth}return (", *(f"{INDENT * (depth + 1)}{value}," for value in values), f"{INDENT * depth})"]


def define(name: str, parameters: Sequence[str], result: str, depth: int) -> list[str]:
    """``def name(parameters) -> result:``."""
    return bracketed(f"def {name}(", list(parameters), f") -> {result}:", depth)


def expression(prefix: str, node: ast.expr, depth: int, suffix: str = "") -> list[str]:
    """``prefix`` ``node`` ``suffix``, broken at the brackets of the last call where it is too long."""
    line = f"{INDENT * depth}{prefix}{source(node)}{suffix}"
    if len(line) <= WIDTH:
        return [line]
    match node:
        case ast.Call(function, args, keywords) if args or keywords:
            items: list[ast.expr | ast.keyword] = [*args, *keywords]
            head, tail = f"{prefix}{source(function)}(", f"){suffix}"
            together = f"{INDENT * (depth + 1)}{', '.join(_item(item) for item in items)}"
            if len(together) <= WIDTH:
                return [f"{INDENT * depth}{head}", together, f"{INDENT * depth}{tail}"]
            return _one_a_line(head, items, tail, depth)
        case ast.List(elements):
            return _one_a_line(f"{prefix}[", elements, f"]{suffix}", depth)
        case ast.Tuple(elements):
            return _one_a_line(f"{prefix}(", elements, f"){suffix}", depth)
    if suffix:
        return [line]
    return [f"{INDENT * depth}{prefix}(", f"{INDENT * (depth + 1)}{source(node)}", f"{INDENT * depth})"]


def bracketed(head: str, items: Sequence[str], tail: str, depth: int, *, always: bool = False) -> list[str]:
    """``head`` items ``tail`` on one line, or the items on a line of their own, or (``always``) a line for each."""
    line = f"{INDENT * depth}{head}{', '.join(items)}{tail}"
    if len(line) <= WIDTH and not always:
        return [line]
    together = f"{INDENT * (depth + 1)}{', '.join(items)}"
    body = [together] if len(together) <= WIDTH and not always else [f"{INDENT * (depth + 1)}{item}," for item in items]
    return [f"{INDENT * depth}{head}", *body, f"{INDENT * depth}{tail}"]


def constant(name: str, items: Sequence[str], depth: int, comment: str = "") -> list[str]:
    """``name = (items)  # comment``."""
    line = f"{INDENT * depth}{name} = ({', '.join(items)}{',' if len(items) == 1 else ''})"
    if len(line) <= WIDTH - 3 - len(comment):
        return [line + (f"  # {comment}" if comment else "")]
    said = [f"{INDENT * depth}# {comment}"] if comment else []
    return [*said, f"{INDENT * depth}{name} = (", *(f"{INDENT * (depth + 1)}{item}," for item in items), f"{INDENT * depth})"]


def table(name: str, items: Sequence[str]) -> list[str]:
    """A module's tuple: an item a line, one item alone on the name's line where it fits."""
    alone = f"{name} = ({items[0]},)"
    return [alone] if len(items) == 1 and len(alone) <= WIDTH else bracketed(f"{name} = (", items, ")", 0, always=True)


def _item(item: ast.expr | ast.keyword) -> str:
    return source(item) if isinstance(item, ast.expr) else f"{item.arg}={source(item.value)}"


def _one_a_line(head: str, items: Sequence[ast.expr | ast.keyword], tail: str, depth: int) -> list[str]:
    lines = [f"{INDENT * depth}{head}"]
    for item in items:
        if isinstance(item, ast.expr):
            lines += expression("", item, depth + 1, ",")
        else:
            lines += expression(f"{item.arg}=", item.value, depth + 1, ",")
    return [*lines, f"{INDENT * depth}{tail}"]
