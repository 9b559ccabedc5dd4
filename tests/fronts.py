"""Models as the front end understands them; those of the zoo are traced once a session."""

from __future__ import annotations

import warnings
from functools import cache

from autopart.frontend.load import Loaded
from autopart.pipeline import Front, front_end
from autopart.plans import Settings
from tests.zoo import ZOO


@cache
def front(name: str, batch_norm: str = "global", precision: str = "float64") -> Front:
    """Nobody may change its module: train a copy."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return front_of(ZOO[name].loaded(precision), batch_norm)


def front_of(loaded: Loaded, batch_norm: str = "global") -> Front:
    return front_end(loaded, Settings(precision=loaded.precision, batch_norm=batch_norm))
