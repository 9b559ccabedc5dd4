"""completion: a script that completes commands, options and their choices in a shell, generated from the parser."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable
from dataclasses import dataclass

from autopart.cli.arguments import Parser, Subparsers

SHELLS = ("bash", "zsh", "fish")


@dataclass(frozen=True, slots=True)
class Option:
    """``names`` are all spellings; ``choices`` of its argument; ``takes`` one at all."""

    names: tuple[str, ...]
    takes: bool
    choices: tuple[str, ...]
    is_file: bool
    help: str


@dataclass(frozen=True, slots=True)
class Completed:
    """A command: its options, and the choices of its positional argument (none: a file)."""

    name: str
    help: str
    options: tuple[Option, ...]
    choices: tuple[str, ...]


def commands_of(parser: Parser) -> tuple[Completed, ...]:
    """All commands of a parser, with what can follow them."""
    (sub,) = (action for action in parser.actions if isinstance(action, argparse._SubParsersAction))  # noqa: SLF001 - no public name
    helps = {each.dest: each.help or "" for each in sub._get_subactions()}  # noqa: SLF001 - no public way to them
    return tuple(_command(name, helps.get(name, ""), command) for name, command in sub.choices.items())


def _command(name: str, text: str, parser: Parser) -> Completed:
    options = [_option(action) for action in parser.actions if action.option_strings]
    choices = [str(c) for action in parser.actions if not action.option_strings for c in action.choices or ()]
    return Completed(name, text, tuple(options), tuple(choices))


def _option(action: argparse.Action) -> Option:
    return Option(
        names=tuple(action.option_strings),
        takes=action.nargs != 0,
        choices=tuple(map(str, action.choices or ())),
        is_file=action.metavar in ("FILE", "DIR", "CLUSTER.yaml"),
        help=(action.help or "").replace("%%", "%"),
    )


def bash(commands: tuple[Completed, ...]) -> str:
    """For ``source <(autopart completion bash)``."""
    names = " ".join(each.name for each in commands)
    return "\n".join(
        [
            "_autopart() {",
            '    local word="${COMP_WORDS[COMP_CWORD]}" previous="${COMP_WORDS[COMP_CWORD-1]}" command="${COMP_WORDS[1]}"',
            "    COMPREPLY=()",
            "    if [[ $COMP_CWORD -eq 1 ]]; then",
            f'        COMPREPLY=($(compgen -W "{names} --help" -- "$word")); return',
            "    fi",
            '    case "$command $previous" in',
            *_arguments(commands, lambda words: f'COMPREPLY=($(compgen -W "{words}" -- "$word"))'),
            "    esac",
            '    case "$command" in',
            *(f"        {each.name}) {_words(each)} ;;" for each in commands),
            "    esac",
            "}",
            "complete -o filenames -F _autopart autopart",
        ]
    )


def _words(command: Completed) -> str:
    """Options after a dash; else the choices of the argument, or files."""
    options = " ".join(name for option in command.options for name in option.names)
    rest = f'compgen -W "{" ".join(command.choices)}" -- "$word"' if command.choices else 'compgen -f -- "$word"'
    return f'if [[ $word == -* ]]; then COMPREPLY=($(compgen -W "{options}" -- "$word")); else COMPREPLY=($({rest})); fi'


def _arguments(commands: tuple[Completed, ...], offer: Callable[[str], str]) -> list[str]:
    """What may follow an option that takes an argument: its choices; nothing where no file is meant."""
    lines = []
    for command in commands:
        for option in command.options:
            if option.takes and not option.is_file:
                places = " | ".join(f'"{command.name} {name}"' for name in option.names)
                offered = f"{offer(' '.join(option.choices))}; return" if option.choices else "return"
                lines.append(f"        {places}) {offered} ;;")
    return lines


def zsh(commands: tuple[Completed, ...]) -> str:
    """For ``source <(autopart completion zsh)``, or a file ``_autopart`` in ``fpath``."""
    names = " ".join(each.name for each in commands)
    return "\n".join(
        [
            "#compdef autopart",
            "_autopart() {",
            '    local command="${words[2]}" previous="${words[CURRENT-1]}"',
            f"    if (( CURRENT == 2 )); then compadd -- {names} --help; return; fi",
            '    case "$command $previous" in',
            *_arguments(commands, lambda words: f"compadd -- {words}"),
            "    esac",
            '    case "$command" in',
            *(f"        {each.name}) {_zsh_words(each)} ;;" for each in commands),
            "    esac",
            "}",
            "compdef _autopart autopart",
        ]
    )


def _zsh_words(command: Completed) -> str:
    options = " ".join(name for option in command.options for name in option.names)
    rest = f"compadd -- {' '.join(command.choices)}" if command.choices else "_files"
    return f'if [[ "${{words[CURRENT]}}" == -* ]]; then compadd -- {options}; else {rest}; fi'


def fish(commands: tuple[Completed, ...]) -> str:
    """For ``autopart completion fish | source``."""
    lines = []
    for command in commands:
        lines.append(f"complete -c autopart -f -n __fish_use_subcommand -a {command.name} -d {shlex.quote(command.help)}")
        here = f"complete -c autopart -n '__fish_seen_subcommand_from {command.name}'"
        if command.choices:
            lines.append(f"{here} -f -a '{' '.join(command.choices)}'")
        for option in command.options:
            spelt = " ".join(f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in option.names)
            argument = f" -x -a '{' '.join(option.choices)}'" if option.choices else " -r" * option.takes
            lines.append(f"{here} {spelt}{argument} -d {shlex.quote(option.help)}")
    return "\n".join(lines)


def add_parsers(commands: Subparsers, whole: Parser) -> None:
    """``whole`` is the parser that the commands belong to."""

    def completion_command(arguments: argparse.Namespace) -> None:
        write = {"bash": bash, "zsh": zsh, "fish": fish}[arguments.shell]
        print(write(commands_of(whole)))

    parser = commands.add_parser(
        "completion",
        help="a script that completes commands and options in a shell",
        description="Print a completion script for a shell.",
        examples="source <(autopart completion bash)          # in ~/.bashrc; zsh alike\nautopart completion fish | source",
    )
    parser.add_argument("shell", choices=SHELLS)
    parser.set_defaults(command=completion_command)
