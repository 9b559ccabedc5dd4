"""Symbolic sizes of torch.export -> Python text over ``b``, the number of samples."""

from __future__ import annotations

from typing import Any

import sympy  # type: ignore[import-untyped]

from autopart.frontend.internals import depends_on_values

BATCH = sympy.Symbol("b", integer=True, positive=True)

TEMPLATES = {
    "FloorDiv": "({0}//{1})",
    "CleanDiv": "({0}//{1})",
    "Mod": "({0} % {1})",
    "PythonMod": "({0} % {1})",
    "IntTrueDiv": "({0} / {1})",
    "FloatTrueDiv": "({0} / {1})",
    "FloatPow": "({0} ** {1})",
    "PowByNatural": "({0} ** {1})",
    "ToFloat": "(1.0*{0})",
    "Identity": "{0}",
    "OpaqueUnaryFn_sqrt": "({0} ** 0.5)",
}
VARIADIC = {"Max": "max", "Min": "min"}
WHOLE = ("TruncToInt", "FloorToInt")


class DataDependentError(Exception):
    """A size that follows from the values of a tensor, not from the shapes of the inputs."""


def text(expr: sympy.Expr) -> str | int | float:
    """The expression as Python text over ``b``; a plain number where no size of the inputs is in it.

    Operators, ``max`` and ``min`` alone, so that any rank can evaluate it.
    """
    if any(map(depends_on_values, expr.free_symbols)):
        raise DataDependentError("a size or number is read out of a tensor's values")
    if not expr.free_symbols:
        return int(expr) if expr.is_Integer else float(expr)
    found = str(_plain(expr.xreplace(dict.fromkeys(expr.free_symbols, BATCH))))
    return found[1:-1] if found.startswith("(") and _closes_last(found) else found


def _plain(expr: Any) -> Any:
    """The expression with torch's functions as symbols that are called like their Python text."""
    name = type(expr).__name__
    if name in WHOLE and type(expr.args[0]).__name__ in ("IntTrueDiv", "FloatTrueDiv"):
        return _symbol("({0}//{1})", expr.args[0].args)
    if name in TEMPLATES:
        return _symbol(TEMPLATES[name], expr.args)
    if name in VARIADIC:
        return sympy.Symbol(f"{VARIADIC[name]}({', '.join(str(_plain(arg)) for arg in expr.args)})")
    if expr.is_Atom:
        return expr
    if expr.is_Add or expr.is_Mul or (expr.is_Pow and expr.exp.is_Integer and expr.exp > 0):
        return expr.func(*map(_plain, expr.args))
    raise DataDependentError(f"the size {expr} is no plain arithmetic of the batch size")


def _symbol(template: str, args: Any) -> sympy.Symbol:
    plain = [_plain(arg) for arg in args]
    return sympy.Symbol(template.format(*map(_operand, plain)))


def _operand(arg: Any) -> str:
    if arg.is_Float:
        return repr(float(arg))
    return str(arg) if arg.is_Atom else f"({arg})"


def _closes_last(found: str) -> bool:
    """Whether the first parenthesis is closed by the last character."""
    depth = 0
    for position, char in enumerate(found):
        depth += (char == "(") - (char == ")")
        if depth == 0:
            return position == len(found) - 1
    return False
