"""Symbolic sizes of torch.export -> Python text over ``b``, the number of samples."""

from __future__ import annotations

from typing import Any

import sympy
from sympy.printing.precedence import PRECEDENCE
from sympy.printing.str import StrPrinter
from torch.utils._sympy.symbol import SymT, symbol_is_type

BATCH = sympy.Symbol("b", integer=True, positive=True)


class DataDependent(Exception):
    """A size that follows from the values of a tensor, not from the shapes of the inputs."""


class _Printer(StrPrinter):  # type: ignore[misc]
    """Python with operators, ``max`` and ``min`` alone, so that any rank can evaluate it."""

    def _operator(self, expr: Any, operator: str, precedence: str = "Mul") -> str:
        level = PRECEDENCE[precedence]
        return f" {operator} ".join(self.parenthesize(arg, level, strict=False) for arg in expr.args)

    def _print_FloorDiv(self, expr: Any) -> str:
        return self._operator(expr, "//").replace(" ", "")

    _print_CleanDiv = _print_FloorDiv

    def _print_Mod(self, expr: Any) -> str:
        return self._operator(expr, "%")

    _print_PythonMod = _print_Mod

    def _print_IntTrueDiv(self, expr: Any) -> str:
        return f"({self._operator(expr, '/')})"

    _print_FloatTrueDiv = _print_IntTrueDiv

    def _print_FloatPow(self, expr: Any) -> str:
        return f"({self._operator(expr, '**', 'Pow')})"

    _print_PowByNatural = _print_FloatPow

    def _print_ToFloat(self, expr: Any) -> str:
        return f"(1.0*{self.parenthesize(expr.args[0], PRECEDENCE['Mul'], strict=False)})"

    def _print_Identity(self, expr: Any) -> str:
        return str(self._print(expr.args[0]))

    def _print_OpaqueUnaryFn_sqrt(self, expr: Any) -> str:
        return f"({self.parenthesize(expr.args[0], PRECEDENCE['Pow'], strict=False)} ** 0.5)"

    def _print_TruncToInt(self, expr: Any) -> str:
        inner = expr.args[0]
        if type(inner).__name__ in ("IntTrueDiv", "FloatTrueDiv"):
            return self._operator(inner, "//").replace(" ", "")
        return str(self.emptyPrinter(expr))

    _print_FloorToInt = _print_TruncToInt

    def _print_Max(self, expr: Any) -> str:
        return f"max({', '.join(self._print(arg) for arg in expr.args)})"

    def _print_Min(self, expr: Any) -> str:
        return f"min({', '.join(self._print(arg) for arg in expr.args)})"

    def emptyPrinter(self, expr: Any) -> str:  # noqa: N802  (sympy's name)
        raise DataDependent(f"the size {expr} is no plain arithmetic of the batch size")


def text(expr: sympy.Expr) -> str | int | float:
    """The expression as Python text over ``b``; a plain number where no size of the inputs is in it."""
    for symbol in expr.free_symbols:
        if symbol_is_type(symbol, (SymT.UNBACKED_INT, SymT.UNBACKED_FLOAT)):
            raise DataDependent("a size or number is read out of a tensor's values")
    expr = expr.xreplace({symbol: BATCH for symbol in expr.free_symbols})
    if expr.is_Integer:
        return int(expr)
    if expr.is_number and not expr.free_symbols:
        return float(expr)
    return str(_Printer().doprint(expr))
