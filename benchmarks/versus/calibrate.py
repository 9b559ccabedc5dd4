"""The cluster file of a case as `autopart profile` measures it: links, and the model's ops and blocks on a rank of every type."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import benchmarks.accuracy
from benchmarks.accuracy.calibration import calibrated
from benchmarks.testbed.launch import opened
from benchmarks.testbed.spec import Testbed, cluster_text

HERE = Path(benchmarks.accuracy.__file__).parent
ROWS_TIMED = 3  # numbers of rows at which ops are timed
LIMIT_S = 900.0


def calibrated_cluster(testbed: Testbed, model: Path, batch_size: int, work: Path) -> Path:
    """Written into ``work``, where what was measured stays too."""
    found = work / "cluster.yaml"
    if found.exists():
        return found
    nominal, links, costs = work / "nominal.yaml", work / "links.yaml", work / "costs"
    nominal.write_text(cluster_text(testbed))
    if not links.exists():
        _launch(testbed, [HERE / "profile_links.py", nominal, links])
    costs.mkdir(exist_ok=True)
    _launch(testbed, [HERE / "profile_models.py", costs, nominal, "both", model, ",".join(map(str, rows(batch_size)))])
    firsts = {testbed.hosts[index].name: rank for rank, (index, local) in enumerate(testbed.ranks) if not local}
    files = {f"{host}-cpu": costs / f"{model.stem}-{rank}.json" for host, rank in firsts.items()}
    found.write_text(calibrated(nominal, links, files, ()))
    return found


def rows(batch_size: int) -> list[int]:
    """Samples of microbatches on a device, from few to half of the batch."""
    return sorted({max(1, batch_size // 2 // 4**step) for step in range(ROWS_TIMED)})


def _launch(testbed: Testbed, command: Sequence[object]) -> None:
    with opened(testbed) as running:
        ended = running.launch([sys.executable, *map(str, command)], timeout_s=LIMIT_S, echo=False)
    if ended.status:
        print("\n".join(line for each in ended.outcomes for line in each.output[-12:]), file=sys.stderr)
        raise SystemExit(f"a calibration ended with {ended.status}: {' '.join(map(str, command))}")
