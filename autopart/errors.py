"""The ways autopart says no.

    AutopartError
    ├── InputError            the user's input is wrong (exit status 2): what, where, what to do
    │   ├── ModelError        a model file, its factory, its example inputs
    │   ├── TraceError        what torch.export can't trace, with module, source line and remedy
    │   ├── ClusterError      a cluster file or the device catalogue
    │   ├── CostsError        a file of measured costs
    │   ├── ProfileError      a profiled graph
    │   └── PlanError         a plan file: malformed, or of another model or cluster
    ├── Infeasible            the answer is no (exit status 1): what is missing, the nearest change that helps
    ├── Incomplete            what was found out is not all that is needed (exit status 1)
    └── RunError              a rank died, a checkpoint does not match (exit status 1)

A mistake of autopart's own is an ``assert`` with a message, never one of these.
"""

from __future__ import annotations


class AutopartError(Exception):
    """Base of every error that a user may see; ``str(error)`` is the whole message."""

    exit_status = 2

    def __init__(self, what: str, *, where: str = "", remedy: str = "") -> None:
        """``where`` is ``file:line`` or a module path, ``remedy`` a sentence that says what to do."""
        self.what, self.where, self.remedy = what, where, remedy
        place = f"{where}: " if where else ""
        advice = f"\n  {remedy}" if remedy else ""
        super().__init__(f"{place}{what}{advice}")


class InputError(AutopartError):
    """Something that the user wrote can't be used as it is."""


class ModelError(InputError):
    """A model file, its factory or its example inputs."""


class TraceError(InputError):
    """A model that can't be traced, or an op that can't be split."""


class ClusterError(InputError):
    """A cluster file, or a device type that nobody knows."""


class CostsError(InputError):
    """A file of measured costs that is malformed, or of another machine or kind of device."""


class ProfileError(InputError):
    """A profiled graph or layer profile that is malformed."""


class PlanError(InputError):
    """A plan file that is malformed, or does not fit its model or cluster."""


class Infeasible(AutopartError):  # noqa: N818 - an answer, not an error
    """No plan fits; the remedy names the nearest change that helps."""

    exit_status = 1


class Incomplete(AutopartError):  # noqa: N818 - an answer, not an error
    """Something was written that a person must complete."""

    exit_status = 1


class RunError(AutopartError):
    """A run that could not be carried out."""

    exit_status = 1
