"""What commands take: a parser that suggests what may have been meant, and the types of arguments."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from typing import NoReturn, TypeAlias

from autopart.plans import GRANULARITIES, LAYOUT, OPTIMIZERS, PRECISIONS

Command = Callable[[argparse.Namespace], None]
Subparsers: TypeAlias = "argparse._SubParsersAction[Parser]"  # noqa: SLF001 - argparse has no public name


class Parser(argparse.ArgumentParser):
    """Names what may have been meant by a word that it does not know; examples under its help stay as they are written."""

    def __init__(self, *args: object, examples: str = "", **kwargs: object) -> None:
        """``examples``: command lines, one a line."""
        if examples:
            kwargs["epilog"] = "examples:\n" + "\n".join(f"  {line}" for line in examples.splitlines())
            kwargs["formatter_class"] = argparse.RawDescriptionHelpFormatter
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]

    def parse_known_args(self, args=None, namespace=None):  # type: ignore[no-untyped-def]
        """As argparse, which also calls it for the arguments of a command; keeps them for ``error``."""
        self._given = tuple(sys.argv[1:] if args is None else args)
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """As argparse, with a suggestion for every word that is no command, choice or option of this parser."""
        known = list(dict.fromkeys(self.words()))
        wrong = re.findall(r"invalid choice: '([^']*)'", message)
        wrong += [name for each in self._given if (name := each.partition("=")[0]).startswith("--") and name not in known]
        hints = [f"\n  Did you mean {' or '.join(near)}?" for word in wrong if (near := get_close_matches(word, known, n=2))]
        super().error(message + "".join(hints))

    @property
    def actions(self) -> list[argparse.Action]:
        """Options and arguments, in their order."""
        return list(self._actions)

    def words(self) -> Iterator[str]:
        """Commands, options and choices that it knows, and the options of its commands."""
        for action in self.actions:
            yield from action.option_strings
            if isinstance(action.choices, dict):
                yield from action.choices
                yield from (word for command in action.choices.values() for word in command.words() if word.startswith("-"))
            elif action.choices:
                yield from map(str, action.choices)


def quiet(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--quiet", action="store_true", help="no progress on stderr")


def add_settings(parser: Parser) -> None:
    """What ``plans.Settings`` holds."""
    parser.add_argument("--optimizer", choices=OPTIMIZERS, default="adamw", help="whose state memory must hold (adamw)")
    parser.add_argument("--precision", choices=PRECISIONS, default="float32", help="bfloat16 is autocast over float32 parameters")
    parser.add_argument(
        "--granularity",
        choices=GRANULARITIES,
        default="block",
        help="where stages may be cut: at any op (small models), between blocks, or between whole layers (block)",
    )
    parser.add_argument(
        "--batch-norm",
        choices=["global", "local"],
        default="global",
        help="statistics over the global batch, or each microbatch's own",
    )


def positive(text: str) -> int:
    """An argument that counts something."""
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 2**31:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 up")
    return int(text)


def positive_number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number")
    return value


seconds = positive_number


def duration(text: str) -> float:
    """A time with its unit, in seconds."""
    from autopart.cluster.units import TIME, QuantityError, parse

    try:
        value = parse(text, TIME)
    except QuantityError as error:
        raise argparse.ArgumentTypeError(f"{error.what}. {error.remedy}") from error
    if not value:
        raise argparse.ArgumentTypeError(f"{text!r}: nothing takes no time")
    return value


def layout(text: str) -> tuple[str, str]:
    """A glob and what is wished for what it matches."""
    glob, _, wish = text.rpartition("=")
    if not glob or not LAYOUT.fullmatch(wish):
        raise argparse.ArgumentTypeError(f"{text!r} is not a name and a layout, such as '*.fc1.weight=S(0)'")
    return glob, wish


def fraction(text: str) -> float:
    """A share from 0 to 1."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a fraction such as 0.01")
    return value
