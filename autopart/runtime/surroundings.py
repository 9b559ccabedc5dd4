"""What stands around a computation: its random numbers, and where it was when it failed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from hashlib import blake2b

import torch

from autopart.errors import RunError


@contextmanager
def seeded(key: tuple[int, ...], device: torch.device) -> Iterator[None]:
    """Random numbers that follow from ``key`` alone; the user's generators go on afterwards as if nothing had been drawn."""
    seed = int.from_bytes(blake2b(repr(key).encode(), digest_size=8).digest()) >> 1
    on_gpu = device.type == "cuda"
    with torch.random.fork_rng([device] if on_gpu else []):
        torch.default_generator.manual_seed(seed)
        if on_gpu:
            torch.cuda.manual_seed(seed)
        yield


class noted:  # noqa: N801  (a context manager)
    """Adds to an error where it happened; a RunError that says so itself is left alone. ``place`` is asked for when one does.

    A class, for it stands around every computation: contextlib's generators take several times as long.
    """

    __slots__ = ("place",)

    def __init__(self, place: Callable[[], str]) -> None:
        self.place = place

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, RunError):
            if not error.where:
                raise RunError(error.what, where=self.place(), remedy=error.remedy) from error.__cause__
        elif isinstance(error, Exception):
            error.add_note(self.place())


@contextmanager
def no_autocast() -> Iterator[None]:
    """Where the model switches autocast off."""
    with ExitStack() as stack:
        for device in ("cpu", "cuda"):
            stack.enter_context(torch.autocast(device, enabled=False))
        yield
