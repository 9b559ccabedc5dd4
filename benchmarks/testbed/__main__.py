"""The testbed's command line; the exit status is that of the first rank that failed."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from autopart.errors import AutopartError
from benchmarks.testbed.launch import Result, clean, missing, opened
from benchmarks.testbed.spec import Testbed, cluster_text, load_testbed

SPARE_CORES = 0.3  # for the relays and the kernel's share of the network


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.testbed", description="A mixed cluster on one machine.")
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="run a script on every rank")
    run.add_argument("--json", type=Path, help="write what each rank used here")
    run.add_argument("--timeout", type=float, metavar="S")
    run.add_argument("hosts")
    run.add_argument("script", nargs=argparse.REMAINDER, metavar="SCRIPT ARGUMENTS")
    shown = commands.add_parser("cluster", help="print the cluster.yaml of these hosts")
    shown.add_argument("hosts")
    commands.add_parser("clean", help="remove what a killed testbed left behind")
    arguments = parser.parse_args()
    if arguments.command == "run" and not arguments.script:
        parser.error("name a script")
    try:
        return _do(arguments)
    except AutopartError as error:
        print(f"testbed: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        print("testbed: interrupted, all removed", file=sys.stderr)
        return 130


def _do(arguments: argparse.Namespace) -> int:
    if arguments.command == "cluster":
        print(cluster_text(load_testbed(arguments.hosts)), end="")
        return 0
    why = missing()
    if why:
        print(f"testbed: {why}", file=sys.stderr)
        return 2
    if arguments.command == "clean":
        print("\n".join(f"removed {name}" for name in clean()))
        return 0
    testbed = load_testbed(arguments.hosts)
    _warn(testbed)
    with opened(testbed) as running:
        result = running.launch([sys.executable, *arguments.script], timeout_s=arguments.timeout)
    _say(result)
    if arguments.json:
        arguments.json.write_text(result.to_json())
    return result.status


def _warn(testbed: Testbed) -> None:
    cores = len(os.sched_getaffinity(0))
    if testbed.cores > cores - SPARE_CORES:
        asked = f"testbed: the ranks ask for {testbed.cores:.2f} of {cores} cores"
        print(f"{asked}: they will be slower than their shares say", file=sys.stderr)


def _say(result: Result) -> None:
    for each in result.outcomes:
        how = f"status {each.status}{', out of memory' * each.oom_killed}{', stopped' * each.stopped}"
        used = f"peak {each.peak_bytes / 2**20:.0f} MiB, cpu {each.cpu_s:.1f} s, held up in {each.throttled:.0%} of periods"
        print(f"testbed: rank {each.rank} {each.host}: {how}, {used}", file=sys.stderr)
    sent = ", ".join(f"{name} {nbytes / 1e6:.1f} MB" for name, nbytes in result.sent_bytes.items())
    print(f"testbed: the machine was idle for {result.idle:.0%}; sent: {sent}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
