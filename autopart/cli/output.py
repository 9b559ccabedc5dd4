"""Where commands write: results, files, progress; and what a message names."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TextIO

from autopart.errors import Infeasible, InputError, PlanError


def complain(text: str) -> None:
    clear = "\r\x1b[K" if sys.stderr.isatty() else ""
    print(f"{clear}autopart: {text}", file=sys.stderr)


def drop_output() -> None:
    """Nothing is left to fail when the interpreter flushes its output at the end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def users_code() -> redirect_stdout[TextIO]:
    """What a model file prints goes to stderr: stdout has results alone."""
    return redirect_stdout(sys.stderr)


@contextmanager
def about(path: str) -> Iterator[None]:
    """Names the plan file in messages about what is in it."""
    try:
        yield
    except (PlanError, Infeasible) as error:
        where = f"{path}: {error.where}" if error.where else path
        raise type(error)(error.what, where=where, remedy=error.remedy) from error


def check_output(path: str) -> None:
    """Raise InputError now rather than after a long search where a file can't be written."""
    target = Path(path)
    if target.is_dir():
        problem = "it is a directory"
    elif not target.absolute().parent.is_dir():
        problem = f"there is no directory {target.parent}"
    elif not os.access(target.absolute().parent, os.W_OK):
        problem = f"no permission to write in {target.parent}"
    else:
        return
    raise InputError(f"can't be written: {problem}", where=path, remedy="Name another file with -o.")


def write(text: str, path: str | None) -> None:
    if path is None:
        print(text, end="")
        return
    try:
        Path(path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"can't be written: {error.strerror}", where=path, remedy="Name another file with -o.") from error


def progress(arguments: argparse.Namespace) -> Callable[[str], None]:
    """Says what is going on, on one line of a terminal; silent elsewhere. Says first that PyTorch is being imported."""
    shown = not arguments.quiet and sys.stderr.isatty()

    def say(text: str) -> None:
        if shown:
            print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)

    say("starting PyTorch")
    return say
