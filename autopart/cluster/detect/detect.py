"""Detection: this machine, and those of an allocation or a hostfile, as a cluster file.

What is known is written. What is not is never guessed: a comment stands in its place, and ``lacking`` says what to fill in.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from os.path import commonprefix
from pathlib import Path

from autopart.cluster.detect import amd, nvidia
from autopart.cluster.detect.cores import cpu_machine, measure
from autopart.cluster.detect.found import Machine, OwnType, Surroundings, Wire, host_name, run_tool, usable_cores
from autopart.cluster.detect.hosts import Host, expand
from autopart.cluster.detect.uplink import uplink
from autopart.cluster.detect.write import Entry, written
from cost_models.catalogue import catalogue, model_name, nearest, reported_as


@dataclass(frozen=True, slots=True)
class Detected:
    """A cluster file; ``lacking`` must be filled in before it can be used, ``assumed`` was not looked at."""

    text: str
    lacking: tuple[str, ...]
    assumed: tuple[str, ...]


def here() -> Surroundings:
    """Of this machine."""
    return Surroundings(run_tool, os.environ, Path("/"), usable_cores(), host_name(), measure)


def detect(around: Surroundings, hostfile: Sequence[Host] = ()) -> Detected:
    """Of the hosts of a file, else of an allocation of Slurm, else of this machine alone."""
    machine = this_machine(around)
    hosts = tuple(hostfile) or tuple(map(Host, expand(around.environ.get("SLURM_JOB_NODELIST", "")))) or (Host(around.host),)
    asked = {} if hostfile or len(hosts) == 1 else by_slurm(around, hosts)
    machines = [_sized(asked.get(host.name, machine), host) for host in hosts]
    unseen = tuple(host.name for host in hosts if host.name not in asked and host.name != around.host)
    several = len(hosts) > 1 or any(len(set(each.types)) > 1 for each in machines)
    entries = tuple(_entries(hosts, machines, uplink(around.root) if several else None))
    own = {each.name: each for machine in machines for each in machine.own}
    remarks = dict.fromkeys(remark for machine in machines for remark in machine.remarks)
    text, lacking = written(entries, tuple(own.values()), tuple(remarks), several=several)
    assumed = (f"taken to be like {around.host}, not looked at: {', '.join(unseen)}",) if unseen else ()
    return Detected(text, lacking, assumed)


def this_machine(around: Surroundings) -> Machine:
    """Its accelerators, or where it has none its cores."""
    gpus = nvidia.visible(nvidia.parse_gpus(around.run(nvidia.QUERY) or ""), around.environ.get("CUDA_VISIBLE_DEVICES"))
    if gpus:
        machine = _machine([(gpu.name, gpu.memory_bytes) for gpu in gpus])
        return replace(machine, interconnect=nvidia.interconnect(gpus, around.run)) if len(gpus) > 1 else machine
    wanted = around.environ.get("HIP_VISIBLE_DEVICES", around.environ.get("ROCR_VISIBLE_DEVICES"))
    cards = amd.visible(amd.parse_cards(around.run(amd.QUERY) or ""), wanted)
    if cards:
        machine = _machine([(card.name, card.memory_bytes) for card in cards])
        return replace(machine, interconnect=amd.interconnect(cards, machine.types, around.run)) if len(cards) > 1 else machine
    return cpu_machine(around)


def _machine(devices: Sequence[tuple[str, int]]) -> Machine:
    """Of names as drivers report them, with their memory."""
    types: list[str] = []
    own: dict[str, OwnType] = {}
    for name, memory in devices:
        known = reported_as(name)
        types.append(known or _plain(model_name(name)))
        if not known:
            own[types[-1]] = _unknown(name, memory)
    return Machine(tuple(types), own=tuple(own.values()))


def _unknown(name: str, memory: int) -> OwnType:
    near = nearest(model_name(name), catalogue())
    hint = f"; the nearest that the catalogue has: {', '.join(near)}" if near else ""
    lines = {"memory": f"{memory // 2**20} MiB", "kind": "accelerator", "source": f"{name}, as its driver reports it"}
    return OwnType(_plain(model_name(name)), lines, ("memory_bandwidth", "flops: {float32: ...}"), hint)


def _plain(name: str) -> str:
    """As the name of a type in a file."""
    return "-".join("".join(letter if letter.isalnum() or letter in "._" else " " for letter in name).split())


def _sized(machine: Machine, host: Host) -> Machine:
    """With as many devices as the host has slots."""
    if host.slots is None or host.slots == len(machine.types):
        return machine
    types = tuple(sorted(machine.types, key=machine.types.index))
    repeated = (types * host.slots)[: host.slots]
    return replace(machine, types=tuple(sorted(repeated, key=types.index)))


def by_slurm(around: Surroundings, hosts: Sequence[Host]) -> Mapping[str, Machine]:
    """The GPUs of every node of the allocation, asked by ``srun``: task i is on node i. Links are those of this machine."""
    command = ("srun", f"--nodes={len(hosts)}", f"--ntasks={len(hosts)}", "--ntasks-per-node=1", "--label", *nvidia.QUERY)
    lines: dict[int, list[str]] = {}
    for line in (around.run(command) or "").splitlines():
        label, found, rest = line.partition(": ")
        if found and label.strip().isdigit():
            lines.setdefault(int(label), []).append(rest)
    machines = {}
    for task, own in lines.items():
        gpus = nvidia.parse_gpus("\n".join(own))
        if gpus and task < len(hosts):
            machine = _machine([(gpu.name, gpu.memory_bytes) for gpu in gpus])
            wire = nvidia.interconnect(gpus, around.run) if len(gpus) > 1 else None
            machines[hosts[task].name] = replace(machine, interconnect=wire)
    return machines


def _entries(hosts: Sequence[Host], machines: Sequence[Machine], network: Wire | None) -> Iterator[Entry]:
    """Equal machines that follow each other are one entry; a machine with two types is two, since an entry has one."""
    places = range(len(hosts))
    used: set[str] = set()
    for _, run in groupby(places, key=lambda place: (machines[place].types, machines[place].interconnect)):
        own = list(run)
        names = tuple(hosts[place].name for place in own)
        machine = machines[own[0]]
        for kind in dict.fromkeys(machine.types):
            count = machine.types.count(kind)
            name = _name(names, [host.name for host in hosts], kind if len(set(machine.types)) > 1 else "", used)
            used.add(name)
            yield Entry(name, names, kind, count, machine.interconnect if count > 1 else None, network)


def _name(own: Sequence[str], every: Sequence[str], kind: str, used: set[str]) -> str:
    """What the hosts' names share, without digits at its end, which are those of single nodes; not how another host begins."""
    shared = own[0] if len(own) == 1 else commonprefix(list(own)).rstrip("0123456789-_.") or "node"  # noqa: RUF071 - of letters
    if len(own) > 1 and any(host.startswith(shared) for host in every if host not in own):
        shared = f"{shared}-n"
    name = _plain(f"{shared} {kind}" if kind else shared)
    return name if name not in used else next(f"{name}-{n}x" for n in range(2, 10**6) if f"{name}-{n}x" not in used)
