"""Lines as ruff would lay them out, and names."""

from __future__ import annotations

import ast

import pytest

from autopart.codegen.layout import assign, bracketed, constant, define, give_back, source
from autopart.codegen.names import Namer, class_name, identifier, path_name


def expression(text: str) -> ast.expr:
    return ast.parse(text, mode="eval").body


def test_a_short_statement_is_one_line() -> None:
    assert assign(["a", "b"], expression("x.split(2, dim=1)"), 1) == ["    a, b = x.split(2, dim=1)"]


def test_a_long_call_moves_its_arguments_then_splits_them() -> None:
    middle = assign(["y"], expression(f"function({', '.join('argument' + str(i) for i in range(10))})"), 0)
    assert middle[0] == "y = function("
    assert len(middle) == 3
    many = assign(["y"], expression(f"function({', '.join('argument' + str(i) for i in range(20))}, last=1)"), 0)
    assert many[:2] == ["y = function(", "    argument0,"]
    assert many[-2:] == ["    last=1,", ")"]


def test_a_list_is_split_one_a_line() -> None:
    lines = assign(["y"], expression(f"cat([{', '.join('tensor' + str(i) for i in range(20))}], dim=1)"), 0)
    assert lines[:3] == ["y = cat(", "    [", "        tensor0,"]
    assert lines[-3:] == ["    ],", "    dim=1,", ")"]


def test_literals() -> None:
    assert source(expression("f('x', mode='sum')")) == 'f("x", mode="sum")'
    assert source(expression("f(-1.5e+308, 1e-05)")) == "f(-1.5e308, 1e-05)"


def test_definitions_and_returns() -> None:
    assert define("f", ["m: Tree", "x: Tensor"], "Tensor", 1) == ["    def f(m: Tree, x: Tensor) -> Tensor:"]
    assert give_back(["a", "b"], 2) == ["        return a, b"]
    assert len(give_back([f"value_{i}" for i in range(30)], 0)) == 32
    assert bracketed("(", ["a"], ",)", 0) == ["(a,)"]
    assert constant("gives", ['"x"'], 1, "for stage 1") == ['    gives = ("x",)  # for stage 1']


@pytest.mark.parametrize(
    ("path", "name"),
    [("transformer.h.3", "h_3"), ("h.3.attn", "attn"), ("conv.0.1", "conv_0_1"), ("a-b", "a_b"), ("3", "layer_3")],
)
def test_names_of_modules(path: str, name: str) -> None:
    assert path_name(path) == name


def test_names_of_classes_leave_numbers_out() -> None:
    assert class_name("model.layers.17") == "model_layers"
    assert class_name("transformer.h.3.attn") == "h_attn"


def test_names_are_given_once_and_hide_nothing() -> None:
    namer = Namer()
    assert [namer.take(word) for word in ("add", "add", "sum", "lambda", "torch", "b", "add_2")] == [
        "add", "add_2", "total", "lambda_", "torch_", "b_", "add_2_2",
    ]  # fmt: skip
    assert identifier("3 x") == "_3_x"
