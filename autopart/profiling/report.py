"""What was measured of links, as tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from autopart.cluster.units import format_rate, format_seconds
from autopart.profiling.paths import Links, by_type
from cost_models.links import Fit


def format_links(found: Links) -> str:
    """Paths, processor time of messages, collectives beside their formulas."""
    cluster = found.measured
    paths = [(path.name(cluster), *_line(each)) for path, each in found.fits.items()]
    cpu = [
        (name, format_seconds(each.fixed_s), _per_mebibyte(each), _residuals(each))
        for name, each in by_type(found.measured, found.cpu).items()
    ]
    calls = [
        (each.name, _ranks(each.ranks), str(each.nbytes), *_beside(each.measured_s, each.formula_s)) for each in found.collectives
    ]
    parts = [_table(("path", "latency", "bandwidth", "residuals"), paths)]
    parts += [_table(("device time of a message", "each", "a MiB", "residuals"), cpu)] if cpu else []
    parts += [_table(("collective", "ranks", "bytes", "measured", "formula", "formula / measured"), calls)] if calls else []
    return "\n\n".join(parts)


def _line(found: Fit) -> tuple[str, str, str]:
    return format_seconds(found.fixed_s), format_rate(found.link.bandwidth_bytes_per_s), _residuals(found)


def _per_mebibyte(found: Fit) -> str:
    return format_seconds(found.byte_s * 2**20)


def _residuals(found: Fit) -> str:
    return f"{found.mean_residual:.0%}, at most {found.worst_residual:.0%}"


def _ranks(ranks: Sequence[int]) -> str:
    return f"{ranks[0]}-{ranks[-1]}"


def _beside(measured_s: float, formula_s: float) -> tuple[str, str, str]:
    return format_seconds(measured_s), format_seconds(formula_s), f"{formula_s / measured_s:.2f}"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [tuple(header), *map(tuple, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines)
