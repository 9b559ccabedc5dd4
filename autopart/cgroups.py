"""What the control groups (versions 1 and 2) around this process let it have."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

ROOT = Path("/")
UNLIMITED = 2**60  # version 1 says a number near 2**63 where there is no limit


def cpu_quota(root: Path = ROOT) -> float | None:
    """Cores' worth of time that the tightest group lets it have; None without a quota."""
    found = [quota for group in groups("cpu", root) if (quota := _quota(group)) is not None]
    return min(found, default=None)


def _quota(group: Path) -> float | None:
    with suppress(OSError, ValueError):
        quota, period = (group / "cpu.max").read_text().split()
        return None if quota == "max" else float(quota) / float(period)
    with suppress(OSError, ValueError):
        limit = float((group / "cpu.cfs_quota_us").read_text())
        return None if limit < 0 else limit / float((group / "cpu.cfs_period_us").read_text())
    return None


def memory_limit(root: Path = ROOT) -> int | None:
    """Bytes that the tightest group lets it have; None without a limit."""
    found = []
    for group in groups("memory", root):
        for name in ("memory.max", "memory.limit_in_bytes"):
            with suppress(OSError, ValueError):  # "max" of version 2
                found.append(int((group / name).read_text()))
    return min((limit for limit in found if limit < UNLIMITED), default=None)


def groups(controller: str, root: Path = ROOT) -> Iterator[Path]:
    """The folders of the groups that this process is in, by a controller of version 1 or by version 2, and of those around."""
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    mounted = root / "sys/fs/cgroup"
    for line in lines:
        number, controllers, path = line.split(":", 2)
        if number != "0" and controller not in controllers.split(","):
            continue
        together = mounted / controllers  # "cpu,cpuacct", often with a link of each name to it
        top = mounted if number == "0" else together if together.is_dir() else mounted / controller
        own = top / path.lstrip("/")
        yield from (group for group in (own, *own.parents) if group == top or top in group.parents)
