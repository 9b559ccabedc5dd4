"""What a profile found, for people: how far the roofline was from it, and how far the fit is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from autopart.profiling.campaign import Outcome
from autopart.report.table import table
from cost_models.accuracy import Errors, block_errors, class_errors
from cost_models.fitted import fit
from cost_models.measured import Measurements

SHOWN = 5  # of what could not be measured


def format_outcome(outcome: Outcome) -> str:
    """Tables of classes and blocks, then what is missing."""
    parts = [_samples(outcome)]
    classes, blocks = class_errors(outcome.measured), block_errors(outcome.measured)
    parts += [_table("class", classes)] if classes else []
    parts += [_table("block", blocks), _ratio(outcome.measured)] if blocks else []
    parts += ["\n".join(_skipped(outcome.skipped))] if outcome.skipped else []
    return "\n\n".join(parts) + "\n"


def _samples(outcome: Outcome) -> str:
    measured, origin = outcome.measured, outcome.measured.origin
    total = sum(len(curve.samples) for curve in measured.ops.values())
    total += sum(len(curve.samples) for curve in measured.blocks.values())
    total += sum(map(len, measured.updates.values())) + len(measured.packing)
    how = "the mean of a sustained load" if origin.method == "mean" else "the least of repeats"
    threads = f", {origin.threads} thread{'s' if origin.threads > 1 else ''}" if measured.device.kind == "cpu" else ""
    return f"{measured.device.name} on {origin.machine}{threads}: {outcome.taken} new samples of {total}, each {how}"


def _table(what: str, errors: Iterable[Errors]) -> str:
    rows = [(what, "samples", "datasheet off by", "fit off by", "fit without it")]
    for each in errors:
        percents = [f"{error:.0%}" for error in (each.analytic, each.fitted, each.unseen)]
        rows.append((each.name, str(each.samples), percents[0], percents[1], percents[2]))
    return table(rows)


def _ratio(measured: Measurements) -> str:
    forward, backward = fit(measured).blocks
    return f"A block takes {forward:.2f} times its ops one by one forward, {backward:.2f} times backward."


def _skipped(skipped: tuple[tuple[str, str], ...]) -> Iterator[str]:
    yield f"Not measured, so priced by the fit ({len(skipped)}):"
    yield from (f"  {why}" for _, why in skipped[:SHOWN])
    if len(skipped) > SHOWN:
        yield f"  and {len(skipped) - SHOWN} more"
