"""`autopart profile --links` on every rank: the nominal cluster file, and where the measured one goes."""

from __future__ import annotations

import sys

from autopart.cli import main

if __name__ == "__main__":
    nominal, measured = sys.argv[1:]
    sys.exit(main(["profile", "--links", "--devices", nominal, "-o", measured]))
