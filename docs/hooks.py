"""For mkdocs: the page of the command line, written from the parser."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

from mkdocs.structure.files import File, Files

from autopart.cli.main import build_parser


def on_files(files: Files, config: Any) -> Files:
    """Adds reference/cli.md."""
    files.append(File.generated(config, "reference/cli.md", content=command_line()))
    return files


def command_line() -> str:
    """A section for every command."""
    parser = build_parser()
    (commands,) = (action for action in parser.actions if isinstance(action, argparse._SubParsersAction))  # noqa: SLF001
    return "\n".join(
        ["# Command line", "", *_intro(), *(line for name, each in commands.choices.items() for line in _command(name, each))]
    )


def _intro() -> Iterator[str]:
    yield "Results go to stdout, progress to stderr (on a terminal alone; `--quiet` for none)."
    yield "[Exit statuses](errors.md) are 0, 1, 2 and 130."
    yield ""


def _command(name: str, parser: argparse.ArgumentParser) -> Iterator[str]:
    yield f"## autopart {name}"
    yield ""
    yield "```text"
    parser.prog = f"autopart {name}"
    yield from parser.format_help().rstrip().splitlines()
    yield "```"
    yield ""
