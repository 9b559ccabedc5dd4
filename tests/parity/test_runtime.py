"""The emitted package, trained on several ranks, against the unsplit model."""

from __future__ import annotations

from parity import Part, assert_parity
from zoo import ZOO


def test_stages_of_unlike_replicas_train_like_one_device() -> None:
    assert_parity(ZOO["gpt2"].loaded(), [Part((2, 1)), Part((3,))], batch=6, microbatches=2)
