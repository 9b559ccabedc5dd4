"""Detection on texts as tools print them, some from public reports, some written to the format: what is written loads, and what
nobody knows is asked for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from autopart.cgroups import cpu_quota
from autopart.cluster.cluster import Cluster
from autopart.cluster.detect import amd, cores, nvidia
from autopart.cluster.detect.detect import Detected, detect
from autopart.cluster.detect.found import Speed, Surroundings, Wire
from autopart.cluster.detect.hosts import Host, expand, parse_hostfile
from autopart.cluster.detect.uplink import uplink
from autopart.cluster.load import parse_cluster
from autopart.errors import ClusterError
from cost_models.catalogue import catalogue, reported_as

# https://github.com/NVIDIA/nccl/issues/1617: four H100 with six NVLinks between any two.
TOPOLOGY_NV6 = """\
        GPU0    GPU1    GPU2    GPU3    NIC0    NIC1    NIC2    NIC3    CPU Affinity    NUMA Affinity   GPU NUMA ID
GPU0     X      NV6     NV6     NV6     PIX     SYS     SYS     SYS     6,14,22,30      3               N/A
GPU1    NV6      X      NV6     NV6     SYS     PIX     SYS     SYS     4,12,20,28      1               N/A
GPU2    NV6     NV6      X      NV6     SYS     SYS     PIX     SYS     7,15,23,31      7               N/A
GPU3    NV6     NV6     NV6      X      SYS     SYS     SYS     PIX     5,13,21,29      5               N/A
NIC0    PIX     SYS     SYS     SYS      X      SYS     SYS     SYS
NIC1    SYS     PIX     SYS     SYS     SYS      X      SYS     SYS
NIC2    SYS     SYS     PIX     SYS     SYS     SYS      X      SYS
NIC3    SYS     SYS     SYS     PIX     SYS     SYS     SYS      X

Legend:

  X    = Self
  SYS  = Connection traversing PCIe as well as the SMP interconnect between NUMA nodes (e.g., QPI/UPI)
  NV#  = Connection traversing a bonded set of # NVLinks
"""

# https://github.com/NVIDIA/go-gpuallocator/issues/17, two of its rows: consumer cards over PCIe; a terminal underlines the head.
TOPOLOGY_SYS = """\
\x1b[4mGPU0\tGPU1\tNIC0\tNIC1\tCPU Affinity\tNUMA Affinity\tGPU NUMA ID\x1b[0m
GPU0\t X \tSYS\tSYS\tSYS\t0-55,112-167\t0\t\tN/A
GPU1\tSYS\t X \tSYS\tSYS\t0-55,112-167\t0\t\tN/A
NIC0\tSYS\tSYS\t X \tPIX
NIC1\tSYS\tSYS\tPIX\t X
"""

# https://github.com/Azure/azhpc-diagnostics/issues/73 (the links of a V100), with a head for each GPU.
NVLINKS = """\
GPU 2: Tesla V100-SXM2-32GB (UUID: GPU-00000000-0000-0000-0000-000000000002)
         Link 0: 25.781 GB/s
         Link 1: 25.781 GB/s
GPU 3: Tesla V100-SXM2-32GB (UUID: GPU-00000000-0000-0000-0000-000000000003)
         Link 0: 25.781 GB/s
         Link 1: 25.781 GB/s
         Link 2: 25.781 GB/s
         Link 3: <inactive>
         Link 4: 25.781 GB/s
         Link 5: <inactive>
"""

# https://github.com/marimo-team/marimo/issues/9237
ROCM_CARD = """\
{
  "card0": {
    "GPU use (%)": "0",
    "VRAM Total Memory (B)": "21458059264",
    "VRAM Total Used Memory (B)": "27856896",
    "Card Series": "Radeon RX 7900 XT",
    "Card Model": "0x744c",
    "Card Vendor": "Advanced Micro Devices, Inc. [AMD/ATI]",
    "Card SKU": "D70401XT"
  }
}
"""


def csv(*names: str, memory: int = 81559, generation: str = "5", lanes: str = "16") -> str:
    """As ``nvidia-smi --query-gpu=... --format=csv,noheader,nounits`` prints it."""
    return "".join(f"{i}, GPU-{i}aaa, {name}, {memory}, {generation}, {lanes}\n" for i, name in enumerate(names))


def links_of(count: int, rate: str) -> str:
    links = "".join(f"         Link {link}: {rate} GB/s\n" for link in range(6))
    return "".join(f"GPU {gpu}: NVIDIA H100 80GB HBM3 (UUID: GPU-{gpu}aaa)\n{links}" for gpu in range(count))


def around(
    tmp_path: Path,
    tools: Mapping[Sequence[str], str] | None = None,
    environ: Mapping[str, str] | None = None,
    affinity: int = 4,
) -> Surroundings:
    """A machine with these tools, of 16 GiB, whose cores do 70 GFLOP/s and copy 8 GB/s."""
    meminfo = tmp_path / "proc/meminfo"
    meminfo.parent.mkdir(exist_ok=True)
    meminfo.write_text("MemTotal:       16777216 kB\nMemFree:         1000000 kB\n")
    speed = Speed(70e9, 8e9, Wire(2e9, 1e-5, "measured over a TCP connection"))
    return Surroundings(lambda command: (tools or {}).get(command), environ or {}, tmp_path, affinity, "box", lambda _: speed)


H100 = {
    nvidia.QUERY: csv(*["NVIDIA H100 80GB HBM3"] * 4),
    nvidia.TOPOLOGY: TOPOLOGY_NV6,
    nvidia.NVLINKS: links_of(4, "26.562"),
}


def loaded(found: Detected) -> Cluster:
    assert not found.lacking, found.text
    return parse_cluster(found.text, "cluster.yaml")


# What tools print


def test_gpus() -> None:
    """The second as an older driver in a virtual machine may have it."""
    first, second = nvidia.parse_gpus(csv("NVIDIA A10") + "7, GPU-7b, Tesla T4, 15360, [N/A], [N/A]\n")
    assert first == nvidia.Gpu(0, "GPU-0aaa", "NVIDIA A10", 81559 * 2**20, 5, 16)
    assert (second.index, second.name, second.pcie_generation, second.pcie_lanes) == (7, "Tesla T4", None, None)
    assert nvidia.parse_gpus("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n") == ()


def test_the_matrix_of_links() -> None:
    ways = nvidia.parse_topology(TOPOLOGY_NV6)
    assert {ways[a, b] for a in range(4) for b in range(4) if a != b} == {"NV6"}
    assert len(ways) == 16, "NICs are no GPUs"
    assert nvidia.parse_topology(TOPOLOGY_SYS)[0, 1] == "SYS"
    assert nvidia.parse_topology("") == {}


def test_the_slowest_active_link_of_each_gpu() -> None:
    assert nvidia.parse_nvlinks(NVLINKS) == {2: 25.781e9, 3: 25.781e9}


@pytest.mark.parametrize(
    ("wanted", "indices"),
    [(None, [0, 1, 2]), ("2,0", [2, 0]), ("GPU-1", [1]), ("", []), ("1,-1,2", [1]), ("0,7,1", [0])],
)
def test_visible_gpus(wanted: str | None, indices: list[int]) -> None:
    """As the CUDA C Programming Guide has it of CUDA_VISIBLE_DEVICES: what comes after an unknown device is not seen."""
    gpus = nvidia.parse_gpus(csv("NVIDIA A10", "NVIDIA A10", "NVIDIA A10"))
    assert [gpu.index for gpu in nvidia.visible(gpus, wanted)] == indices


def test_cards_of_amd() -> None:
    assert amd.parse_cards(ROCM_CARD) == (amd.Card(0, "Radeon RX 7900 XT", 21458059264),)
    assert amd.parse_cards("WARNING: AMD GPU device(s) is/are in a low-power state\n" + ROCM_CARD)
    older = ROCM_CARD.replace("Card Series", "Card series")
    assert amd.parse_cards(older) == amd.parse_cards(ROCM_CARD)
    assert amd.parse_cards("no JSON") == amd.parse_cards("{}") == ()


@pytest.mark.parametrize(
    ("name", "type_name"),
    [
        ("NVIDIA A100-SXM4-80GB", "A100-80GB"),
        ("A100-SXM4-40GB", "A100-40GB"),
        ("NVIDIA A100 80GB PCIe", "A100-80GB-PCIe"),
        ("NVIDIA H100 80GB HBM3", "H100-80GB"),
        ("Tesla V100-SXM2-16GB", "V100-16GB"),
        ("Tesla T4", "T4-16GB"),
        ("NVIDIA GeForce RTX 4090", "RTX-4090"),
        ("GeForce RTX 3090", "RTX-3090"),
        ("AMD Instinct MI300X", "MI300X-192GB"),
        ("Tesla V100-PCIE-16GB", None),  # slower than the SXM2 card of the catalogue
        ("NVIDIA GeForce RTX 4090 D", None),
        ("NVIDIA A100-SXM4-80GB MIG 1g.10gb", None),
    ],
)
def test_names_of_drivers(name: str, type_name: str | None) -> None:
    assert reported_as(name) == type_name


def test_names_of_drivers_are_of_one_type_each() -> None:
    known = [reported_as(name) for name in ("Tesla P100-SXM2-16GB", "NVIDIA L4", "NVIDIA L40S", "NVIDIA A40", "NVIDIA A30")]
    assert len(set(known)) == len(known)
    assert set(known) <= set(catalogue())


# Hosts


@pytest.mark.parametrize(
    ("nodelist", "names"),
    [
        ("gnode[10,20,25,37]", ["gnode10", "gnode20", "gnode25", "gnode37"]),  # SLURM_JOB_NODELIST of a user's job
        ("a[01-03,7],b2", ["a01", "a02", "a03", "a7", "b2"]),
        ("linux[1-3,6]", ["linux1", "linux2", "linux3", "linux6"]),  # slurm_hostlist_create(3)
        ("rack[0-1]node[8-9]", ["rack0node8", "rack0node9", "rack1node8", "rack1node9"]),
        ("n[098-101]", ["n098", "n099", "n100", "n101"]),
        ("single", ["single"]),
        ("", []),
    ],
)
def test_a_node_list_of_slurm(nodelist: str, names: list[str]) -> None:
    assert list(expand(nodelist)) == names


def test_a_hostfile() -> None:
    text = "# two nodes\nworker-1 slots=8\n\nworker-2   slots=4  # the old one\nworker-3\n"
    assert parse_hostfile(text, "hosts") == (Host("worker-1", 8), Host("worker-2", 4), Host("worker-3"))


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ("a slots=8\na slots=8\n", "hosts:2", "the host 'a' comes twice"),
        ("a slots=many\n", "hosts:1", "'a slots=many' is not a host and its slots"),
        ("a slots=0\n", "hosts:1", "'a slots=0' is not a host and its slots"),
        ("\na 8 gpus\n", "hosts:2", "'a 8 gpus' is not a host and its slots"),
        ("# nothing\n", "hosts", "there is no host in it"),
    ],
)
def test_a_wrong_hostfile(text: str, where: str, what: str) -> None:
    with pytest.raises(ClusterError) as caught:
        parse_hostfile(text, "hosts")
    assert (caught.value.where, caught.value.what) == (where, what)


# Cluster files


def test_a_node_of_gpus(tmp_path: Path) -> None:
    """Six NVLinks of 26.562 GB/s between any two."""
    (group,) = loaded(detect(around(tmp_path, H100))).groups
    assert (group.name, group.device.name, group.devices) == ("box", "H100-80GB", 4)
    assert group.interconnect.bandwidth_bytes_per_s == pytest.approx(6 * 26.562e9, rel=1e-3)


def test_gpus_over_pcie(tmp_path: Path) -> None:
    """A lane of generation 4 moves 16e9 bits a second, of which 128 in 130 are data."""
    tools = {
        nvidia.QUERY: csv("NVIDIA GeForce RTX 4090", "NVIDIA GeForce RTX 4090", generation="4", lanes="16"),
        nvidia.TOPOLOGY: TOPOLOGY_SYS,
    }
    (group,) = loaded(detect(around(tmp_path, tools))).groups
    assert (group.device.name, group.devices) == ("RTX-4090", 2)
    assert group.interconnect.bandwidth_bytes_per_s == pytest.approx(16 * 16e9 / 8 * 128 / 130, rel=1e-3)


def test_a_pair_without_nvlink_sets_the_pace(tmp_path: Path) -> None:
    tools = {**H100, nvidia.TOPOLOGY: TOPOLOGY_NV6.replace("GPU3    NV6     NV6     NV6", "GPU3    SYS     NV6     NV6")}
    tools[nvidia.TOPOLOGY] = tools[nvidia.TOPOLOGY].replace("X      NV6     NV6     NV6", "X      NV6     NV6     SYS")
    found = detect(around(tmp_path, tools))
    (group,) = loaded(found).groups
    assert group.interconnect.bandwidth_bytes_per_s == pytest.approx(16 * 32e9 / 8 * 128 / 130, rel=1e-3)
    assert "5 of 6 pairs have NVLink" in found.text


def test_one_visible_gpu_needs_no_link(tmp_path: Path) -> None:
    (group,) = loaded(detect(around(tmp_path, H100, {"CUDA_VISIBLE_DEVICES": "2"}))).groups
    assert group.devices == 1


def test_an_unknown_gpu_is_asked_for(tmp_path: Path) -> None:
    """And the file says in which line what is missing."""
    tools = {nvidia.QUERY: csv("NVIDIA GeForce RTX 5090", memory=32607)}
    found = detect(around(tmp_path, tools))
    lines = found.text.splitlines()
    assert [what.partition(" is not known")[0] for what in found.lacking] == [
        f"line {lines.index('    # memory_bandwidth: ...') + 1}: memory_bandwidth of RTX-5090",
        f"line {lines.index('    # flops: {float32: ...}') + 1}: flops of RTX-5090",
    ]
    assert "RTX-3090" in found.lacking[0], "a near name is named, not taken"
    with pytest.raises(ClusterError, match="has no memory_bandwidth and no flops"):
        parse_cluster(found.text, "cluster.yaml")
    filled = found.text.replace("# memory_bandwidth: ...", "memory_bandwidth: 1792 GB/s")
    filled = filled.replace("# flops: {float32: ...}", "flops: {float32: 104.8 TFLOP/s}")
    (group,) = parse_cluster(filled, "cluster.yaml").groups
    assert group.device.memory_bytes == 32607 * 2**20


def test_a_link_that_nobody_knows_is_asked_for(tmp_path: Path) -> None:
    tools = {nvidia.QUERY: csv("Tesla T4", "Tesla T4", generation="[N/A]", lanes="[N/A]")}
    found = detect(around(tmp_path, tools))
    assert [what.partition(" is ")[0] for what in found.lacking] == ["line 5: the interconnect of box"]
    assert found.text.splitlines()[4].strip().startswith("# interconnect:")


def test_amd_cards_and_their_links(tmp_path: Path) -> None:
    cards = {f"card{i}": {"VRAM Total Memory (B)": "206141652992", "Card Series": "AMD Instinct MI300X"} for i in range(3)}
    pairs = {f"(Topology) Link type between DRM devices {a} and {b}": "XGMI" for b in range(3) for a in range(b)}
    tools = {amd.QUERY: json.dumps(cards), amd.TOPOLOGY: json.dumps({"system": pairs})}
    (group,) = loaded(detect(around(tmp_path, tools))).groups
    assert (group.device.name, group.devices, group.interconnect.bandwidth_bytes_per_s) == ("MI300X-192GB", 3, 64e9)
    (one,) = loaded(detect(around(tmp_path, tools, {"HIP_VISIBLE_DEVICES": "1"}))).groups
    assert one.devices == 1
    mixed = json.dumps({"system": {**pairs, next(iter(pairs)): "PCIE"}})
    assert detect(around(tmp_path, {**tools, amd.TOPOLOGY: mixed})).lacking


def test_two_types_in_a_machine_are_two_entries(tmp_path: Path) -> None:
    """An entry has one type; the way between the two is not known."""
    found = detect(around(tmp_path, {nvidia.QUERY: csv("Tesla T4", "NVIDIA A10")}))
    assert [line.partition("is not known")[0] for line in found.lacking] == [
        "line 5: the network of box-T4-16GB ",
        "line 8: the network of box-A10-24GB ",
    ]


# Several nodes


def with_uplink(tmp_path: Path) -> None:
    for port in ("mlx5_0", "mlx5_1"):
        files = tmp_path / f"sys/class/infiniband/{port}/ports/1"
        files.mkdir(parents=True)
        (files / "rate").write_text("200 Gb/sec (4X HDR)\n")
        (files / "state").write_text("4: ACTIVE\n" if port == "mlx5_0" else "1: DOWN\n")


def test_an_uplink(tmp_path: Path) -> None:
    card = tmp_path / "sys/class/net/eno1"
    (card / "device").mkdir(parents=True)
    (card / "speed").write_text("10000\n")
    (tmp_path / "sys/class/net/lo").mkdir()
    (tmp_path / "sys/class/net/lo/speed").write_text("99999\n")
    wire = uplink(tmp_path)
    assert wire is not None
    assert wire.bandwidth_bytes_per_s == 10e9 / 8
    with_uplink(tmp_path)
    wire = uplink(tmp_path)
    assert wire is not None
    assert wire.bandwidth_bytes_per_s == 200e9 / 8, "InfiniBand that is up comes first"
    assert uplink(tmp_path / "nothing") is None


def test_an_allocation_of_slurm(tmp_path: Path) -> None:
    """Two nodes of four GPUs, then one of two: each node is asked, in any order of its lines."""
    with_uplink(tmp_path)
    own = csv(*["NVIDIA H100 80GB HBM3"] * 4)
    two = csv(*["NVIDIA H100 80GB HBM3"] * 2)
    labelled = [f"{task}: {line}" for task, text in enumerate((own, own, two)) for line in text.splitlines()]
    command = ("srun", "--nodes=3", "--ntasks=3", "--ntasks-per-node=1", "--label", *nvidia.QUERY)
    tools = {**H100, command: "\n".join(reversed(labelled))}
    found = detect(around(tmp_path, tools, {"SLURM_JOB_NODELIST": "gnode[08-09,12]"}))
    first, second = loaded(found).groups
    assert (first.count, first.devices_per_node, second.count, second.devices_per_node) == (2, 4, 1, 2)
    assert first.network.bandwidth_bytes_per_s == 25e9
    assert "# gnode08, gnode09, in the order of ranks" in found.text
    assert not found.assumed


def test_nodes_that_can_not_be_asked_are_taken_to_be_like_this_one(tmp_path: Path) -> None:
    with_uplink(tmp_path)
    found = detect(around(tmp_path, H100, {"SLURM_JOB_NODELIST": "box,other"}))
    assert [group.devices for group in loaded(found).groups] == [8]
    assert found.assumed == ("taken to be like box, not looked at: other",)


def test_hosts_of_a_file(tmp_path: Path) -> None:
    with_uplink(tmp_path)
    hosts = parse_hostfile("box slots=4\nnode2 slots=4\nnode3 slots=2\n", "hosts")
    found = detect(around(tmp_path, H100, {"SLURM_JOB_NODELIST": "elsewhere"}), hosts)
    groups = loaded(found).groups
    assert [(group.count, group.devices_per_node) for group in groups] == [(2, 4), (1, 2)]
    assert found.assumed == ("taken to be like box, not looked at: node2, node3",)


def test_a_network_that_nobody_knows_is_asked_for(tmp_path: Path) -> None:
    found = detect(around(tmp_path, H100), parse_hostfile("box\nnode2\n", "hosts"))
    assert len(found.lacking) == 1
    assert "network" in found.lacking[0]


# Cores


def groups_of(tmp_path: Path, lines: str, files: Mapping[str, str]) -> None:
    (tmp_path / "proc/self").mkdir(parents=True, exist_ok=True)
    (tmp_path / "proc/self/cgroup").write_text(lines)
    for name, text in files.items():
        path = tmp_path / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_cores_of_a_machine(tmp_path: Path) -> None:
    """What the file says, times what the cost model reaches of it, is what was measured."""
    (group,) = loaded(detect(around(tmp_path))).groups
    assert (group.device.name, group.device.kind, group.devices) == ("box-cpu", "cpu", 4)
    assert group.device.memory_bytes == 4 * 2**30
    assert group.device.flops["float32"] * 0.70 == pytest.approx(70e9)
    assert group.device.memory_bandwidth_bytes_per_s * 0.80 == pytest.approx(8e9)
    assert group.interconnect.bandwidth_bytes_per_s == 2e9


def test_quotas_of_version_2(tmp_path: Path) -> None:
    """The tightest of the groups around this process holds."""
    files = {"job/cpu.max": "250000 100000", "job/step/cpu.max": "max 100000", "job/memory.max": str(2**30)}
    machine = around(tmp_path)
    groups_of(tmp_path, "0::/job/step\n", files)
    assert cpu_quota(tmp_path) == 2.5
    assert cores.memory_bytes(tmp_path) == 2**30
    (group,) = loaded(detect(machine)).groups
    assert (group.devices, group.device.memory_bytes) == (2, 2**29)


def test_quotas_of_version_1(tmp_path: Path) -> None:
    files = {
        "cpu/box/cpu.cfs_quota_us": "-1",
        "cpu/box/cpu.cfs_period_us": "100000",
        "memory/box/memory.limit_in_bytes": "9223372036854771712",
    }
    around(tmp_path)
    groups_of(tmp_path, "4:memory:/box\n1:cpu,cpuacct:/box\n", files)
    assert cpu_quota(tmp_path) is None
    assert cores.memory_bytes(tmp_path) == 16 * 2**30
    (tmp_path / "sys/fs/cgroup/cpu/box/cpu.cfs_quota_us").write_text("50000")
    assert cpu_quota(tmp_path) == 0.5
    (group,) = loaded(detect(around(tmp_path))).groups
    assert group.devices == 1, "half a core is one, as slow as it is measured"


def test_a_core_and_the_loopback_are_really_measured() -> None:
    speed = cores.measure(1)
    assert speed.flops > 1e8
    assert speed.bandwidth_bytes_per_s > 1e7
    assert speed.loopback.bandwidth_bytes_per_s > 1e6
    assert 0 < speed.loopback.latency_s < 1
