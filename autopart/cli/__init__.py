"""The command line: a module for each family of commands, each with its parsers. Results to stdout, progress to stderr.

torch and the solver are imported inside the commands that need them: ``autopart --help`` answers at once.
"""

from autopart.cli.main import main

__all__ = ["main"]
