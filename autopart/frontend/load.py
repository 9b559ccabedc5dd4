"""model.py, or a live module -> Loaded: the module, and how to make a batch for it."""

from __future__ import annotations

import copy
import importlib.util
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from autopart.errors import ModelError
from autopart.frontend.empty import convertible, parameters_without_memory
from autopart.frontend.examples import Example, batch_dim_of, leaves, names_of, path_name, rebuild

PRECISIONS = ("float32", "float64", "bfloat16")
Batch = tuple[Any, ...] | Mapping[str, Any]


PYTHON = "A model file is Python source and its name ends in .py."
CALLED = "model() is called without arguments, example_inputs() and example_targets() with a number of samples."


@dataclass(frozen=True)
class Loaded:
    """A model and how to feed it. ``example_inputs(n)`` makes a tuple or dict of tensors for n samples, ``example_targets(n)`` a
    tuple; ``loss(output, *targets)`` is None where the module itself returns one. ``path`` is "" for a live module.
    """

    path: str
    factory: str
    module: nn.Module
    example_inputs: Callable[[int], Batch]
    example_targets: Callable[[int], tuple[Any, ...]] | None = None
    loss: Callable[..., Any] | None = None
    batch_dims: Any = 0
    precision: str = "float32"

    @property
    def name(self) -> str:
        """What reports call the model."""
        return Path(self.path).stem if self.path else type(self.module).__name__

    @property
    def where(self) -> str:
        return self.path or type(self.module).__name__


def load(spec: str, *, empty: bool = False, precision: str = "float32") -> Loaded:
    """The model of ``MODEL.py`` or ``MODEL.py:FACTORY``; ``empty`` builds it with parameters that take no memory."""
    path, factory = split_spec(spec)
    file = _execute(path)
    build = _function(file, factory, path)
    make_inputs = _function(file, "example_inputs", path)
    with parameters_without_memory() if empty else nullcontext():
        module = _user_call(f"{factory}()", path, build)
    if not isinstance(module, nn.Module):
        raise ModelError(
            f"{factory}() returned {_described(module)}, expected a torch.nn.Module",
            where=path,
            remedy=f"End {factory}() with `return` and the module.",
        )
    loaded = Loaded(
        path=path,
        factory=factory,
        module=module,
        example_inputs=make_inputs,
        example_targets=getattr(file, "example_targets", None),
        loss=getattr(file, "loss", None),
        batch_dims=getattr(file, "batch_dims", 0),
    )
    return _prepared(loaded, precision)


def loaded_from(
    model: nn.Module,
    example_inputs: Callable[[int], Batch] | Batch,
    *,
    loss: Callable[..., Any] | None = None,
    example_targets: Callable[[int], tuple[Any, ...]] | tuple[Any, ...] | None = None,
    batch_dims: Any = 0,
    precision: str = "float32",
) -> Loaded:
    """A live module as if it came from a file. Inputs and targets may be functions of the batch size, or one batch of tensors,
    whose samples are then repeated as needed. The module itself is left as it is.
    """
    if not isinstance(model, nn.Module):
        raise ModelError(f"expected a torch.nn.Module, got {_described(model)}")
    wants = precision == "float64" and any(p.dtype != torch.float64 for p in model.parameters() if p.is_floating_point())
    loaded = Loaded(
        path="",
        factory=type(model).__name__,
        module=copy.deepcopy(model) if wants else model,
        example_inputs=_resizer(example_inputs, batch_dims, model.forward, 0, "input"),
        example_targets=None if example_targets is None else _resizer(example_targets, batch_dims, loss, 1, "target"),
        loss=loss,
        batch_dims=batch_dims,
    )
    return _prepared(loaded, precision)


def split_spec(spec: str) -> tuple[str, str]:
    """``MODEL.py:FACTORY`` -> path and factory; ``model`` where none is named."""
    path, colon, factory = spec.rpartition(":")
    if colon and factory.isidentifier():
        return path, factory
    return spec, "model"


def batch_of(loaded: Loaded, batch_size: int) -> tuple[Batch, tuple[Any, ...]]:
    """Example inputs and targets for ``batch_size`` samples, in the precision of the model."""
    inputs = _user_call("example_inputs()", loaded.where, loaded.example_inputs, batch_size)
    if not isinstance(inputs, tuple | Mapping):
        raise ModelError(
            f"example_inputs({batch_size}) returned {_described(inputs)}, expected a tuple or a dict of tensors",
            where=loaded.where,
            remedy="Return a tuple for positional arguments, as in `return (x,)`, or a dict for keyword arguments.",
        )
    targets: Any = ()
    if loaded.example_targets is not None:
        targets = _user_call("example_targets()", loaded.where, loaded.example_targets, batch_size)
        targets = (targets,) if isinstance(targets, torch.Tensor) else targets
        if not isinstance(targets, tuple | list):
            raise ModelError(
                f"example_targets({batch_size}) returned {_described(targets)}, expected a tensor or a tuple of tensors",
                where=loaded.where,
                remedy="What it returns is passed on: loss(output, *targets).",
            )
    convert = _doubled if loaded.precision == "float64" else (lambda tensor: tensor)
    inputs, targets = (rebuild(tree, (convert(leaf) for _, leaf in leaves(tree))) for tree in (inputs, targets))
    return inputs, tuple(targets)


def examples(loaded: Loaded, batch_size: int) -> list[Example]:
    """The tensors of an example batch, checked: each has a batch dim of ``batch_size``, or is said to have none."""
    inputs, targets = batch_of(loaded, batch_size)
    forward, target_names = names_of(loaded.module.forward), names_of(loaded.loss, 1) if loaded.loss else []
    listed = [(path, path_name(path, forward, "input"), leaf) for path, leaf in leaves(inputs)]
    listed += [(("targets", *path), path_name(path, target_names, "target"), leaf) for path, leaf in leaves(targets)]
    if not listed:
        raise ModelError("example_inputs() gives no tensors", where=loaded.where, remedy="Return what the model is called with.")
    return _distinct([_checked(loaded, *item, position, batch_size) for position, item in enumerate(listed)])


def _distinct(listed: list[Example]) -> list[Example]:
    """No tensor twice: labels that are the input ids are still an input of their own."""
    seen: set[int] = set()
    found = []
    for example in listed:
        tensor = example.tensor.clone() if id(example.tensor) in seen else example.tensor
        seen.add(id(tensor))
        found.append(replace(example, tensor=tensor))
    return found


def _checked(loaded: Loaded, path: tuple[str | int, ...], name: str, leaf: Any, position: int, batch_size: int) -> Example:
    maker = "example_targets" if path[0] == "targets" else "example_inputs"
    if not isinstance(leaf, torch.Tensor):
        raise ModelError(
            f"{name} in {maker}({batch_size}) is {_described(leaf)}, expected a tensor",
            where=loaded.where,
            remedy="Settings that are no tensors belong into the factory: a small wrapper module passes them on.",
        )
    dim = batch_dim_of(loaded.batch_dims, path, name, position) if leaf.dim() else None
    if dim is None:
        return Example(path, name, leaf, None)
    if not isinstance(dim, int) or not -leaf.dim() <= dim < leaf.dim():
        raise ModelError(
            f"batch_dims says {dim!r} for {name}, which has {leaf.dim()} dims",
            where=loaded.where,
            remedy="Name the dim that counts samples, from 0; None if all samples share the tensor.",
        )
    if leaf.shape[dim] != batch_size:
        raise ModelError(
            f"{maker}({batch_size}) gives {name} the sizes {list(leaf.shape)}: dim {dim} should be the batch size {batch_size}",
            where=loaded.where,
            remedy=f"Use batch_size in {maker}(); or say batch_dims = {{{name!r}: DIM}}, None if all samples share {name}.",
        )
    return Example(path, name, leaf, dim % leaf.dim())


def _prepared(loaded: Loaded, precision: str) -> Loaded:
    """In training mode, in its precision, its examples checked at two batch sizes."""
    if precision not in PRECISIONS:
        raise ModelError(f"unknown precision {precision!r}", remedy=f"Use one of {', '.join(PRECISIONS)}.")
    for name, function in (("loss", loaded.loss), ("example_targets", loaded.example_targets)):
        if function is not None and not callable(function):
            raise ModelError(
                f"{name} is {_described(function)}, expected a function",
                where=loaded.where,
                remedy="autopart looks for functions of the names model, example_inputs, example_targets and loss.",
            )
    if not any(parameter.requires_grad for parameter in loaded.module.parameters()):
        raise ModelError(
            "the model has no trainable parameter", where=loaded.where, remedy="There is nothing to train: set requires_grad."
        )
    if not loaded.module.training:
        loaded.module.train()
    if precision == "float64":
        with convertible():
            loaded.module.double()
    loaded = replace(loaded, precision=precision)
    few, more = examples(loaded, 3), examples(loaded, 5)
    _agree(loaded, few, more)
    return loaded


def _agree(loaded: Loaded, few: list[Example], more: list[Example]) -> None:
    """Two batches may differ in the batch dim alone."""
    if [example.path for example in few] != [example.path for example in more]:
        raise ModelError(
            "example_inputs() gives other tensors for other batch sizes",
            where=loaded.where,
            remedy="Return the same tensors, of batch_size samples each.",
        )
    for a, b in zip(few, more, strict=True):
        sizes = [[size for dim, size in enumerate(e.tensor.shape) if dim != e.batch_dim] for e in (a, b)]
        if sizes[0] != sizes[1] or a.tensor.dtype != b.tensor.dtype:
            raise ModelError(
                f"{a.name} is {list(a.tensor.shape)} for 3 samples, {list(b.tensor.shape)} for 5: not only its batch dim changes",
                where=loaded.where,
                remedy="Make every size but the batch a constant.",
            )


def _execute(path: str) -> ModuleType:
    """The module that the file defines."""
    file = Path(path)
    if not file.is_file():
        what = "is a directory, expected a Python file" if path and file.is_dir() else "no such file"
        raise ModelError(what, where=path or "''", remedy="Name a file that defines model() and example_inputs(batch_size).")
    spec = importlib.util.spec_from_file_location(f"autopart_model_{file.stem}", file.resolve())
    if spec is None or spec.loader is None:
        raise ModelError("is no Python file", where=path, remedy=PYTHON)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    with _directory_on_path(file):
        try:
            spec.loader.exec_module(module)
        except SyntaxError as error:
            where = f"{_shown(error.filename, path)}:{error.lineno}" if error.lineno else path
            raise ModelError(f"syntax error: {error.msg}", where=where, remedy=(error.text or PYTHON).strip()) from None
        except (Exception, SystemExit) as error:
            raise _raised("the file", path, error) from error
    return module


@contextmanager
def _directory_on_path(file: Path) -> Iterator[None]:
    """Lets a model file import its neighbours, and packages of the directory that the command runs in."""
    directories = [str(file.resolve().parent), str(Path.cwd())]
    sys.path[:0] = directories
    try:
        yield
    finally:
        for directory in directories:
            sys.path.remove(directory)


def _function(file: ModuleType, name: str, path: str) -> Callable[..., Any]:
    found = getattr(file, name, None)
    if callable(found):
        return found  # type: ignore[no-any-return]
    what = "returns an nn.Module" if name != "example_inputs" else "returns a tuple or dict of tensors"
    argument = "batch_size" if name == "example_inputs" else ""
    problem = f"defines no {name}({argument})" if found is None else f"{name} is {_described(found)}, expected a function"
    raise ModelError(problem, where=path, remedy=f"Add a function {name}({argument}) that {what}.")


def _user_call(what: str, path: str, function: Callable[..., Any], *args: Any) -> Any:
    try:
        return function(*args)
    except (Exception, SystemExit) as error:
        raise _raised(what, path, error) from error


def _raised(what: str, path: str, error: BaseException) -> ModelError:
    """An exception of the user's code, with the line of their file that it came from."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).name == Path(path).name]
    where = f"{path}:{own[-1].lineno}" if own and Path(path).suffix else path
    text = str(error).strip().split("\n")[0]
    line = own[-1].line if own else CALLED
    return ModelError(f"{what} raised {type(error).__name__}: {text}", where=where, remedy=line or "")


def _shown(filename: str | None, path: str) -> str:
    """The model file as the user named it, another file by its whole path."""
    return path if filename is None or Path(filename).resolve() == Path(path).resolve() else filename


def _resizer(batch: Callable[[int], Any] | Any, batch_dims: Any, function: Any, skip: int, fallback: str) -> Callable[[int], Any]:
    """A function of the batch size from one batch of tensors: samples repeat in a cycle."""
    if callable(batch):
        return batch
    if isinstance(batch, torch.Tensor) and fallback == "target":
        batch = (batch,)
    names = names_of(function, skip) if function is not None else []

    def resized(path: tuple[str | int, ...], leaf: Any, position: int, batch_size: int) -> Any:
        if not isinstance(leaf, torch.Tensor) or not leaf.dim():
            return leaf
        dim = batch_dim_of(batch_dims, path, path_name(path, names, fallback), position)
        if not isinstance(dim, int) or not -leaf.dim() <= dim < leaf.dim() or not leaf.shape[dim]:
            return leaf
        return leaf.index_select(dim, torch.arange(batch_size) % leaf.shape[dim])

    def example(batch_size: int) -> Any:
        listed = list(leaves(batch))
        return rebuild(batch, (resized(path, leaf, i, batch_size) for i, (path, leaf) in enumerate(listed)))

    return example


def _doubled(leaf: Any) -> Any:
    if not isinstance(leaf, torch.Tensor):
        return leaf
    return leaf.double() if leaf.is_floating_point() else leaf.to(torch.complex128) if leaf.is_complex() else leaf


def _described(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        return f"a tensor of sizes {list(value.shape)}"
    text = " ".join(repr(value).split())
    return "nothing (None)" if value is None else f"{type(value).__name__} {text:.60}"
