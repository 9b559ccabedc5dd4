"""Zoo models as the front end understands them, each traced once a session."""

from __future__ import annotations

import warnings
from functools import cache

from autopart.pipeline import Front, front_end
from autopart.plans import Settings
from tests.zoo import ZOO


@cache
def front(name: str, batch_norm: str = "global", precision: str = "float64") -> Front:
    """Nobody may change its module: train a copy."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return front_end(ZOO[name].loaded(precision), Settings(precision=precision, batch_norm=batch_norm))
