"""docs/reference/cluster.md says what the reader does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from autopart.cluster import exceptions, load, reading
from autopart.cluster.cluster import Price
from autopart.cluster.load import parse_cluster
from autopart.cluster.units import format_rate, format_seconds
from autopart.errors import ClusterError
from tests.clusters import CONTRACT

PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "cluster.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
MISTAKES = re.findall(r"`([^`]+)` in place of which `([^`]+)` stands:\n\n```text\n(.*?)\n```", PAGE, re.DOTALL)
PATHS = re.findall(r"\| (\d+) and (\d+) \| [^|]* \| ([^|]*) \| ([^|]*) \|", PAGE)


def test_examples() -> None:
    first, second, priced, own = (parse_cluster(text, "c.yaml") for text in EXAMPLES)
    assert first.digest == parse_cluster(CONTRACT, "c.yaml").digest
    assert format_rate(second.link(0, 4).bandwidth_bytes_per_s) == "125 MB/s"
    assert format_rate(second.link(3, 4).bandwidth_bytes_per_s) == "1.25 GB/s"
    assert [(group.price, group.power_w) for group in priced.groups] == [(Price(1.1, "USD"), 400), (Price(0.35, "USD"), 250)]
    assert (own.groups[0].device.name, own.groups[0].device.flops["bfloat16"]) == ("MY-GPU-48GB", 245e12)


def test_a_device_is_added_in_five_lines() -> None:
    lines = EXAMPLES[-1].partition("types:\n")[2].splitlines()
    assert len(lines) == 5


def test_paths() -> None:
    cluster = parse_cluster(EXAMPLES[0], "c.yaml")
    assert len(PATHS) == 3
    for source, target, latency, bandwidth in PATHS:
        link = cluster.link(int(source), int(target))
        assert (format_seconds(link.latency_s), format_rate(link.bandwidth_bytes_per_s)) == (latency.strip(), bandwidth.strip())


def test_there_are_mistakes() -> None:
    assert len(MISTAKES) == 4


@pytest.mark.parametrize(("right", "wrong", "message"), MISTAKES)
def test_mistakes(right: str, wrong: str, message: str) -> None:
    with pytest.raises(ClusterError) as caught:
        parse_cluster(EXAMPLES[0].replace(right, wrong, 1), "c.yaml")
    assert str(caught.value) == message


def test_every_key_is_on_the_page() -> None:
    """The keys stand in the sources of the reader."""
    sources = "".join(Path(str(module.__file__)).read_text(encoding="utf-8") for module in (load, exceptions, reading))
    for group in re.findall(r"(?:required|optional)=\(([^)]+)\)", sources):
        for key in re.findall(r'"(\w+)"', group):
            assert f"`{key}`" in PAGE or f".{key}`" in PAGE, key
