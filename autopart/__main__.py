"""``python -m autopart`` is ``autopart``."""

import sys

from autopart.cli import main

sys.exit(main())
