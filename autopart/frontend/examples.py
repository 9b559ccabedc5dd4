"""The example batch: its tensors in order, where each lies in what a user passes, which dim counts samples."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Example:
    """One tensor of a batch. ``path`` as in ir.graph.Input; ``name`` is what its value is called."""

    path: Path
    name: str
    tensor: torch.Tensor
    batch_dim: int | None


def leaves(tree: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Whatever is no tuple, list or dict in a nested structure, with its path, in order."""
    match tree:
        case tuple() | list():
            for index, item in enumerate(tree):
                yield from leaves(item, (*path, index))
        case Mapping():
            for key, item in tree.items():
                yield from leaves(item, (*path, key))
        case _:
            yield path, tree


def rebuild(tree: Any, values: Iterator[Any]) -> Any:
    """A structure like ``tree`` whose leaves are ``values``, in order."""
    match tree:
        case tuple() | list():
            return type(tree)(rebuild(item, values) for item in tree)
        case Mapping():
            return {key: rebuild(item, values) for key, item in tree.items()}
        case _:
            return next(values)


def names_of(function: Any, skip: int = 0) -> list[str]:
    """Names of a function's positional parameters, as far as it tells."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return []
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [parameter.name for parameter in parameters if parameter.kind in positional][skip:]


def path_name(path: Path, positional: Sequence[str], fallback: str) -> str:
    """A readable name for the tensor at ``path``: the keyword, or what forward calls it."""
    first, *rest = path
    if isinstance(first, int):
        first = positional[first] if first < len(positional) else f"{fallback}_{first}"
    return "_".join([str(first), *map(str, rest)])


def batch_dim_of(batch_dims: Any, path: Path, name: str, position: int) -> int | None:
    """What ``batch_dims`` says of one tensor: an int or None for all, a tuple by position, a dict by name or key. Default 0."""
    match batch_dims:
        case Mapping():
            found = batch_dims[name] if name in batch_dims else batch_dims.get(path[0], 0)
            if isinstance(found, tuple | list):
                found = found[path[-1]] if isinstance(path[-1], int) and path[-1] < len(found) else 0
            return found  # type: ignore[no-any-return]
        case tuple() | list():
            return batch_dims[position] if position < len(batch_dims) else 0
        case _:
            return batch_dims  # type: ignore[no-any-return]
