"""The file of measured peaks: written after every case, so that a run that was cut short goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Peak:
    """Bytes of every used rank of a plan; ``rows`` of a microbatch over all replicas."""

    rows: int
    predicted: tuple[int, ...]
    measured: tuple[int, ...]

    @property
    def errors(self) -> tuple[float, ...]:
        """By rank, what is predicted too much, as a part of what was measured."""
        return tuple(ours / theirs - 1 for ours, theirs in zip(self.predicted, self.measured, strict=True))

    @property
    def error(self) -> float:
        """Of the rank that is predicted worst."""
        return max(self.errors, key=abs)


@dataclass
class Results:
    """By model and plan a peak, or why there is none."""

    path: Path
    peaks: dict[str, dict[str, Peak]] = field(default_factory=dict)
    refused: dict[str, dict[str, str]] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> Results:
        """What the file has; nothing where there is no file."""
        raw = json.loads(path.read_text()) if path.exists() else {}
        peaks = {
            model: {plan: Peak(each["rows"], tuple(each["predicted"]), tuple(each["measured"])) for plan, each in plans.items()}
            for model, plans in raw.get("peaks", {}).items()
        }
        return cls(path, peaks, raw.get("refused", {}))

    def save(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        peaks = {model: {plan: asdict(peak) for plan, peak in plans.items()} for model, plans in sorted(self.peaks.items())}
        self.path.write_text(json.dumps({"peaks": peaks, "refused": self.refused}) + "\n")

    def has(self, model: str, plan: str) -> bool:
        return plan in self.peaks.get(model, {}) or plan in self.refused.get(model, {})

    def add(self, model: str, plan: str, found: Peak | str) -> None:
        """A peak, or the reason for none; saved at once."""
        if isinstance(found, Peak):
            self.peaks.setdefault(model, {})[plan] = found
            self.refused.get(model, {}).pop(plan, None)
        else:
            self.refused.setdefault(model, {})[plan] = found
        self.save()

    def rows(self, model: str, plan: str) -> int | None:
        """Of a microbatch of a measurement."""
        peak = self.peaks.get(model, {}).get(plan)
        return peak.rows if peak else None

    def cases(self) -> Iterator[tuple[str, str, Peak]]:
        return ((model, plan, peak) for model, plans in sorted(self.peaks.items()) for plan, peak in plans.items())
