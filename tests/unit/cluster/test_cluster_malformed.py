"""Malformed cluster files: each ends in one message with its line, the words that matter, and a remedy."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from autopart.cluster.load import load_cluster, parse_cluster
from autopart.errors import ClusterError
from tests.clusters import CONTRACT

# id: (text of CONTRACT to replace, what stands there instead, line of the complaint, words of the message)
EDITS: dict[str, tuple[str, str, int, tuple[str, ...]]] = {
    "number without a unit": ("300 GB/s", "300", 5, ("without a unit", "300 GB/s")),
    "latency without a unit": ("latency: 3 us", "latency: 0.000003", 5, ("without a unit", "10 us")),
    "unknown unit": ("300 GB/s", "300 furlongs", 5, ("furlongs", "bandwidth")),
    "memory unit for bandwidth": ("300 GB/s", "300 GiB", 5, ("GiB", "unit of memory")),
    "time unit for bandwidth": ("300 GB/s", "300 us", 5, ("us", "unit of time")),
    "case of a unit": ("200 Gb/s", "200 gb/s", 6, ("GB/s (bytes)", "Gb/s (bits)")),
    "price without a unit": ("count: 8}", "count: 8, price: 3}", 4, ("without a unit", "3.67 USD/h")),
    "price of a second": ("count: 8}", "count: 8, price: 3 USD/s}", 4, ("'USD/s' is not a unit of price", "Did you mean USD/h?")),
    "price in small letters": ("count: 8}", "count: 8, price: 3 usd/h}", 4, ("'usd/h'", "USD/h")),
    "price without an hour": ("count: 8}", "count: 8, price: 3 EUR}", 4, ("'EUR' is not a unit of price", "3.67 USD/h")),
    "free": ("count: 8}", "count: 8, price: 0 USD/h}", 4, ("positive",)),
    "negative price": ("count: 8}", "count: 8, price: -3 USD/h}", 4, ("positive",)),
    "power without a unit": ("count: 8}", "count: 8, power: 400}", 4, ("without a unit", "400 W")),
    "power as a price": ("count: 8}", "count: 8, power: 4 USD/h}", 4, ("'USD/h' is not a unit of power",)),
    "price of a type": ("types:\n  box-cpu: {", "types:\n  box-cpu: {price: 3, ", 14, ("types.box-cpu.price", "without a unit")),
    "multiprocessors of half": ("box-cpu: {", "box-cpu: {units: 0.5, ", 14, ("'0.5', not a whole number",)),
    "a fraction in percent": ("box-cpu: {", "box-cpu: {reached: {float32: 87}, ", 14, ("'87', not a fraction", "such as 0.8")),
    "nothing reached": ("box-cpu: {", "box-cpu: {reached: {float32: 0.0}, ", 14, ("'0.0', not a fraction",)),
    "reached by what": ("box-cpu: {", "box-cpu: {reached: {attn: 0.5}, ", 14, ("'attn'", "Did you mean attention")),
    "slip in a unit": ("200 Gb/s", "200 Gbps", 6, ("Gbps", "Did you mean Gb/s?")),
    "memory bandwidth in bits": ("memory_bandwidth: 10 GB/s", "memory_bandwidth: 10 Gb/s", 14, ("Gb/s", "(bytes)")),
    "memory in bits": ("memory: 2 GiB", "memory: 2 Gb", 14, ("Gb", "GB (bytes)")),
    "memory bandwidth as a size": ("memory_bandwidth: 10 GB/s", "memory_bandwidth: 10 GB", 14, ("GB is a unit of memory",)),
    "speed unit": ("50 GFLOP/s", "50 GFLOPS", 14, ("GFLOPS", "Did you mean GFLOP/s?")),
    "not a number": ("300 GB/s", "fast", 5, ("'fast'", "bandwidth")),
    "NaN bandwidth": ("300 GB/s", ".nan GB/s", 5, ("not a finite",)),
    "infinite bandwidth": ("300 GB/s", "inf GB/s", 5, ("not a finite",)),
    "overflowing bandwidth": ("300 GB/s", "1e400 GB/s", 5, ("not a finite",)),
    "zero bandwidth": ("300 GB/s", "0 GB/s", 5, ("positive",)),
    "negative bandwidth": ("300 GB/s", "-300 GB/s", 5, ("positive",)),
    "negative latency": ("latency: 3 us", "latency: -3 us", 5, ("negative",)),
    "huge bandwidth": ("300 GB/s", "1e30 GB/s", 5, ("too large",)),
    "huge latency": ("latency: 3 us", "latency: 9e9 s", 5, ("too large",)),
    "tiny memory": ("memory: 2 GiB", "memory: 2 B", 14, ("too small",)),
    "huge memory": ("memory: 2 GiB", "memory: 1e12 TiB", 14, ("too large",)),
    "zero speed": ("50 GFLOP/s", "0 GFLOP/s", 14, ("positive",)),
    "unknown key": ("network: {bandwidth: 200", "netwrok: {bandwidth: 200", 6, ("netwrok", "Did you mean network")),
    "unknown key at the top": ("links:", "link:", 11, ("'link'", "Did you mean links")),
    "unknown key of a link": ("latency: 50 us", "delay: 50 us", 12, ("'delay'", "between, bandwidth, latency")),
    "unknown device type": ("A100-80GB", "A100", 4, ("'A100'", "A100-40GB or A100-80GB")),
    "misspelt device type": ("V100-16GB", "v100 16 gb", 8, ("Did you mean V100-16GB?",)),
    "device type nobody makes": ("A100-80GB", "Zorkmid", 4, ("'Zorkmid'", "autopart devices")),
    "no device type": ("{type: A100-80GB, count: 8}", "{count: 8}", 4, ("has no type",)),
    "no device count": ("{type: A100-80GB, count: 8}", "{type: A100-80GB}", 4, ("has no count",)),
    "no devices": ("    devices: {type: A100-80GB, count: 8}\n", "", 2, ("no devices",)),
    "no name": ("  - name: v\n    devices", "  - devices", 7, ("no name",)),
    "no interconnect": ("    interconnect: {bandwidth: 12 GB/s, latency: 10 us}\n", "", 7, ("interconnect", "4 devices")),
    "no network": ("    network: {bandwidth: 25 Gb/s, latency: 30 us}\n", "", 7, ("'v' has no network",)),
    "no latency": (", latency: 30 us", "", 10, ("has no latency",)),
    "no nodes": ("nodes:", "notes:", 1, ("notes", "Did you mean nodes")),
    "zero devices": ("count: 8", "count: 0", 4, ("at least 1",)),
    "zero nodes": ("count: 2", "count: 0", 3, ("at least 1",)),
    "negative count": ("count: 8", "count: -8", 4, ("at least 1",)),
    "NaN count": ("count: 8", "count: .nan", 4, ("whole number",)),
    "fractional count": ("count: 8", "count: 7.5", 4, ("whole number",)),
    "count with a unit": ("count: 8", "count: 8 GPUs", 4, ("whole number",)),
    "count of yes": ("count: 8", "count: yes", 4, ("whole number",)),
    "count without a value": ("count: 2", "count:", 3, ("no value",)),
    "huge count": ("count: 8", "count: 1" + "0" * 40, 4, ("more than 1,000,000",)),
    "too many devices together": ("count: 2", "count: 200_000", 2, ("1,600,000 devices",)),
    "count as a list": ("count: 8", "count: [8]", 4, ("a list",)),
    "duplicate node names": ("name: v", "name: a", 7, ("'a'", "line 2")),
    "name of an expanded node": ("name: v", "name: a1", 7, ("'a1'", "a0, a1")),
    "name with a space": ("name: v", "name: my box", 7, ("'my box'", "letters")),
    "nodes as a mapping": ("nodes:\n  - name: a\n    count: 2", "nodes:\n    name: a\n    count: 2", 7, ("not YAML",)),
    "devices as text": ("{type: V100-16GB, count: 4}", "4 x V100-16GB", 8, ("not a mapping",)),
    "key twice": ("    count: 2\n", "    count: 2\n    count: 3\n", 4, ("'count' comes twice", "line 3")),
    "link to an unknown node": ("[a, v]", "[a, w]", 12, ("no node 'w'", "a, v")),
    "link to a node beyond the count": ("[a, v]", "[a2, v]", 12, ("no node 'a2'", "Did you mean a")),
    "link naming one node twice": ("[a, v]", "[v, v]", 12, ("one node twice",)),
    "link from an entry to its own node": ("[a, v]", "[a, a1]", 12, ("one node twice",)),
    "link of three": ("[a, v]", "[a, v, a]", 12, ("3 nodes, not two",)),
    "link of one": ("[a, v]", "a", 12, ("not a list",)),
    "the same link twice": (
        "latency: 50 us}\n",
        "latency: 50 us}\n  - {between: [v, a], bandwidth: 1 Gb/s, latency: 1 ms}\n",
        13,
        ("same two nodes", "line 12"),
    ),
    "links as a mapping": ("  - {between: [a, v], ", "  {between: [a, v], ", 12, ("not a list",)),
    "new type without memory": ("memory: 2 GiB, ", "", 14, ("'box-cpu' has no memory",)),
    "new type without speeds": (", flops: {float32: 50 GFLOP/s}", "", 14, ("flops",)),
    "new type without float32": ("float32: 50", "bfloat16: 50", 14, ("float32",)),
    "correction of a misspelt type": ("box-cpu: {memory: 2 GiB, memory_bandwidth: 10 GB/s, ", "A100-80: {", 14, ("A100-80GB",)),
    "unknown dtype": ("float32: 50", "fp32: 50", 14, ("'fp32'", "Did you mean float32?")),
    "unknown key of a type": ("memory: 2 GiB", "ram: 2 GiB", 14, ("'ram'", "memory")),
    "unknown kind": ("memory: 2 GiB", "kind: gpu, memory: 2 GiB", 14, ("'gpu'", "accelerator, cpu")),
    "tab": ("    count: 2", "\tcount: 2", 3, ("tab", "spaces")),
    "unclosed bracket": ("{type: V100-16GB, count: 4}", "{type: V100-16GB, count: 4", 9, ("not YAML", "line 8")),
    "unclosed quote": ("name: v", 'name: "v', 15, ("ends in the middle",)),
    "bad indentation": ("    count: 2", "   count: 2", 3, ("not YAML", "indentation")),
    "control character": ("name: v", "name: v\x00", 7, ("control character",)),
    "merge key": ("    count: 2", "    <<: {count: 2}", 3, ("merge keys",)),
    "unknown alias": ("count: 2", "count: *two", 3, ("not YAML", "alias")),
    "two documents": ("links:", "---\nlinks:", 11, ("not YAML", "document")),
}


@pytest.mark.parametrize("case", EDITS)
def test_one_line_is_wrong(case: str) -> None:
    old, new, line, words = EDITS[case]
    assert CONTRACT.count(old) >= 1, "the edit does not apply"
    with pytest.raises(ClusterError) as caught:
        parse_cluster(CONTRACT.replace(old, new, 1), "c.yaml")
    message = str(caught.value)
    assert message.startswith(f"c.yaml:{line}: "), message
    for word in words:
        assert word in message
    assert caught.value.remedy
    assert caught.value.exit_status == 2


WHOLE = {
    "empty": ("", 1, "empty"),
    "comments alone": ("# nothing\n", 1, "empty"),
    "a list": ("- a\n- b\n", 1, "a list, not a mapping"),
    "a word": ("hello\n", 1, "not a mapping"),
    "JSON cut off": ('{"nodes": [{"name": "a", ', 1, "ends in the middle"),
    "nodes without a value": ("nodes:\n", 1, "not a list"),
    "no node": ("nodes: []\n", 1, "is empty"),
    "types alone": ("types:\n  x: {}\n", 1, "no nodes"),
    "nested too deeply": ("[" * 1000, None, "nested too deeply"),
}


@pytest.mark.parametrize("case", WHOLE)
def test_the_whole_file_is_wrong(case: str) -> None:
    text, line, words = WHOLE[case]
    with pytest.raises(ClusterError) as caught:
        parse_cluster(text, "c.yaml")
    assert caught.value.where == ("c.yaml" if line is None else f"c.yaml:{line}")
    assert words in str(caught.value)
    assert caught.value.remedy


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="no such file"):
        load_cluster(tmp_path / "none.yaml")


def test_directory(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="directory"):
        load_cluster(tmp_path)


def test_path_that_no_file_can_have() -> None:
    with pytest.raises(ClusterError, match="can't be read"):
        load_cluster("a\0b")


def test_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "latin.yaml"
    path.write_bytes(CONTRACT.replace("name: v", "name: caf\xe9").encode("latin-1"))
    with pytest.raises(ClusterError, match=r"latin\.yaml:7: this is not UTF-8"):
        load_cluster(path)


def test_far_too_large(tmp_path: Path) -> None:
    path = tmp_path / "weights.bin"
    path.write_bytes(b"x" * (2**20 + 1))
    with pytest.raises(ClusterError, match="too large"):
        load_cluster(path)


@pytest.mark.parametrize("cut", range(1, len(CONTRACT) - 1, 7))
def test_truncated_anywhere(cut: int) -> None:
    """A file that ends early is a ClusterError or a smaller cluster, never another exception."""
    try:
        devices = len(parse_cluster(CONTRACT[:cut], "c.yaml").ranks)
    except ClusterError as error:
        outcome = error.where.partition(":")[0]
    else:
        outcome = devices
    assert outcome in {"c.yaml", 16, 20}


@pytest.mark.parametrize("seed", range(10))
def test_random_damage(seed: int) -> None:
    """A few characters changed, lost or added: a complaint with place and remedy, or still a cluster."""
    rng = random.Random(seed)
    for _ in range(30):
        text = list(CONTRACT)
        for _ in range(rng.randint(1, 4)):
            place = rng.randrange(len(text))
            text[place : place + rng.randint(0, 1)] = rng.choice(["", *"{}[]:,-#&*!|>'\"%@`\t\n 0aGB/s.~<?=é"])
        try:
            outcome = parse_cluster("".join(text), "c.yaml").groups[0].count >= 1
        except ClusterError as error:
            outcome = error.where.startswith("c.yaml:") and bool(error.remedy)
        assert outcome, "".join(text)


def test_two_currencies() -> None:
    text = CONTRACT.replace("count: 8}", "count: 8, price: 3 USD/h}").replace("count: 4}", "count: 4, price: 1 EUR/h}")
    with pytest.raises(ClusterError, match=r"^c.yaml:7: 'v' is priced in EUR, 'a' in USD\n  Convert all prices") as caught:
        parse_cluster(text, "c.yaml")
    assert caught.value.exit_status == 2
