"""``python -m benchmarks.memory.limit``: plans that the model calls feasible, trained under the memory that it was promised.

Of every trial the device's memory is the least with which the plan is feasible: what it is predicted to need is all that the
reserve leaves. Every rank runs the emitted train.py in a memory cgroup (version 1, no swap) of exactly that size. The first
trial, of a few KiB, has no limit: what it takes is the framework's.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from autopart.cluster.load import load_cluster
from autopart.cluster.units import format_bytes
from autopart.package import write_package
from autopart.pipeline import Built, Front, emit_package, localized
from autopart.plans import Settings
from autopart.program.check import check_plan
from autopart.program.lower import lower
from benchmarks.memory.measure import CPU, measured_case, predicted_bytes, rows_for, source_of
from benchmarks.testbed.cgroups import ROOT, limit_memory, remove_cgroups
from benchmarks.testbed.kernel import die_with_parent
from cost_models.memory import RESERVE, usable_bytes
from tests.parity.parity import Case, plan_of

OUTPUT = Path("docs/design/memory_limit.json")
REPOSITORY = Path(__file__).resolve().parents[2]
STEPS, TIMEOUT_S, POLL_S, PAGE = 4, 240.0, 0.02, 4096
IDLE = ("mlp", "data 2")
TRIALS = (
    ("gpt2", "one rank"), ("gpt2", "recompute"), ("gpt2", "ZeRO 3"), ("llama", "two stages"), ("bert", "data 2"),
    ("t5", "two stages"), ("vit", "tensor 2"), ("whisper", "one rank"), ("mixtral", "one rank"), ("mamba", "one rank"),
    ("swin", "recompute"), ("convnext", "one rank"), ("segformer", "one rank"), ("wav2vec2", "data 2"), ("resnet", "data 2"),
    ("unet", "one rank"), ("inception", "two stages"), ("inplace_cnn", "recompute"), ("recommender", "ZeRO 1"),
    ("dlrm", "ZeRO 2"), ("lstm_batch_first", "one rank"), ("mlp", "tensor 2"),
)  # fmt: skip
CLUSTER = """\
types:
  box: {{kind: cpu, memory: {memory} B, memory_bandwidth: 10 GB/s, flops: {{float32: 50 GFLOP/s}}}}
nodes:
  - name: box
    devices: {{type: box, count: {ranks}}}
    interconnect: {{bandwidth: 10 GB/s, latency: 10 us}}
    network: {{bandwidth: 10 Gb/s, latency: 50 us}}
"""


@dataclass(frozen=True, slots=True)
class Trial:
    """Bytes of every rank. ``anonymous`` is the most that was not pages of files, which the system can take back, as polled."""

    model: str
    plan: str
    rows: int
    memory: int
    predicted: tuple[int, ...]
    used: tuple[int, ...]
    anonymous: tuple[int, ...]
    killed: tuple[bool, ...]
    statuses: tuple[int, ...]

    @property
    def survived(self) -> bool:
        return not any(self.killed) and not any(self.statuses)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory.limit", description=__doc__)
    parser.add_argument("--activations-mib", type=int, default=256, help="saved by one microbatch on one rank")
    parser.add_argument("-o", "--output", type=Path, default=OUTPUT, help="trials that it has are not run again")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    done = json.loads(arguments.output.read_text()) if arguments.output.exists() else []
    known = {(each["model"], each["plan"], bool(each["memory"])) for each in done}
    for (name, plan), limited in ((IDLE, False), *((trial, True) for trial in TRIALS)):
        if (name, plan, limited) not in known:
            trial = _trial(name, plan, arguments.activations_mib * 2**20 if limited else 2**12, limited=limited)
            done.append(asdict(trial))
            arguments.output.write_text("[\n" + ",\n".join(map(json.dumps, done)) + "\n]\n")
            print(_line(trial), flush=True)
    return 0 if all(not any(each["killed"]) for each in done) else 1


def _line(trial: Trial) -> str:
    sizes = (trial.memory, max(trial.predicted), max(trial.used), max(trial.anonymous))
    shown = "".join(f"{format_bytes(size):>11}" for size in sizes)
    return f"{trial.model:18}{trial.plan:12}{shown}  {'survived' if trial.survived else f'died {trial.statuses}'}"


def _trial(name: str, plan: str, activation_bytes: int, *, limited: bool) -> Trial:
    source = source_of(name)
    rows = rows_for(name, activation_bytes)
    case = measured_case(name, plan, rows)
    assert case is not None, f"{name} has no plan {plan}"
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        predicted = predicted_bytes(_built(source, case, folder, CPU.memory_bytes))
        memory = _least_memory(max(predicted)) if limited else CPU.memory_bytes
        built = _built(source, case, folder, memory)
        assert max(predicted_bytes(built)) <= usable_bytes(built.cluster.device(0)), "the plan is not feasible"
        write_package(folder, emit_package(built), source.loaded, source.traced, case.batch)
        used, anonymous, killed, statuses = _trained(folder, case.ranks, memory if limited else 0)
    return Trial(name, plan, rows, memory if limited else 0, predicted, used, anonymous, killed, statuses)


def _least_memory(needed: int) -> int:
    """Of a device on which so many bytes are left, in whole pages."""
    reserve = RESERVE["cpu"]
    return math.ceil((needed + reserve.fixed_bytes + 1) / (1 - reserve.fraction) / PAGE) * PAGE


def _built(source: Front, case: Case, folder: Path, memory: int) -> Built:
    (folder / "cluster.yaml").write_text(CLUSTER.format(memory=memory, ranks=case.ranks))
    cluster = load_cluster(str(folder / "cluster.yaml"))
    plan = plan_of(source.blocks, case, Settings(precision=source.loaded.precision))
    check_plan(plan, source.blocks, cluster)
    local = localized(plan, source, cluster)
    return Built(plan, source, cluster, local, lower(local.blocks, local.plan, local.shards))


Used = tuple[tuple[int, ...], tuple[int, ...], tuple[bool, ...], tuple[int, ...]]


def _trained(folder: Path, ranks: int, memory: int) -> Used:
    """Some steps of the emitted train.py, each rank in a cgroup of its own; no limit where ``memory`` is 0."""
    name = f"autopart-limit-{os.getpid()}"
    groups = [ROOT / "memory" / name / f"rank{rank}" for rank in range(ranks)]
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for group in groups:
            group.mkdir(parents=True)
            if memory:
                limit_memory(group, memory)
        port = _free_port()
        processes += [_started(folder, group, rank, ranks, port) for rank, group in enumerate(groups)]
        anonymous = _watched(processes, groups)
        used = tuple(int((group / "memory.max_usage_in_bytes").read_text()) for group in groups)
        killed = tuple(_numbers(group / "memory.oom_control").get("oom_kill", 0) > 0 for group in groups)
        return used, anonymous, killed, tuple(process.returncode for process in processes)
    finally:
        for process in processes:
            process.kill()
            process.wait()
        remove_cgroups(name)


def _started(folder: Path, group: Path, rank: int, ranks: int, port: int) -> subprocess.Popen[bytes]:
    def between_fork_and_exec() -> None:
        die_with_parent()
        (group / "cgroup.procs").write_text(str(os.getpid()))

    variables = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(REPOSITORY),
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(ranks),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    command = [sys.executable, str(folder / "train.py"), "--steps", str(STEPS)]
    quiet = subprocess.DEVNULL
    return subprocess.Popen(command, env=variables, preexec_fn=between_fork_and_exec, stdin=quiet, stdout=quiet)


def _watched(processes: Sequence[subprocess.Popen[bytes]], groups: Sequence[Path]) -> tuple[int, ...]:
    """Until all ranks ended, or one failed: the most anonymous bytes of each."""
    most = [0] * len(groups)
    end_s = time.monotonic() + TIMEOUT_S
    while any(process.poll() is None for process in processes):
        for rank, group in enumerate(groups):
            most[rank] = max(most[rank], _numbers(group / "memory.stat")["rss"])
        if time.monotonic() > end_s or any(process.poll() for process in processes):
            for process in processes:
                with suppress(ProcessLookupError):
                    process.send_signal(signal.SIGTERM)
                process.wait()
        time.sleep(POLL_S)
    return tuple(most)


def _numbers(file: Path) -> Mapping[str, int]:
    return {key: int(value) for key, value in (line.split() for line in file.read_text().splitlines())}


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


if __name__ == "__main__":
    sys.exit(main())
