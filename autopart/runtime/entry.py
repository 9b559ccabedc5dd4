"""How a training script starts and ends: errors as one message, process groups closed."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable

from autopart.errors import AutopartError
from autopart.runtime.world import leave


def command(main: Callable[[], None]) -> None:
    """Runs ``main``; an error of autopart's is one message with its exit status, any other a traceback; 130 if interrupted."""
    try:
        main()
    except AutopartError as error:
        _leave(f"rank {os.environ.get('RANK', '0')}: {error}", error.exit_status)
    except KeyboardInterrupt:
        _leave("interrupted", 130)
    except Exception:
        _leave(f"rank {os.environ.get('RANK', '0')} failed\n{traceback.format_exc()}", 1)
    leave()


def _leave(message: str, status: int) -> None:
    """At once: threads that wait for a dead peer are not waited for."""
    sys.stdout.flush()
    print(f"autopart: {message}", file=sys.stderr, flush=True)  # noqa: T201  (the script's standard error)
    os._exit(status)
