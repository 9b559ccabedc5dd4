"""Money, energy and the front of step time against devices, from the command line."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from tests.commands import CLUSTER, MODEL, Done, assert_refused, run

SCHEMA = json.loads((Path(__file__).parents[2] / "docs/schema/plan.schema.json").read_text())
PRICED = CLUSTER.replace("fast-cpu, count: 2", "fast-cpu, count: 2, price: 3.60 USD/h").replace(
    "slow-cpu: {", "slow-cpu: {price: 0.36 USD/h, power: 20 W, "
)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("model.py").write_text(MODEL.replace("64", "1024"))
    Path("cluster.yaml").write_text(PRICED)
    return tmp_path


def plan(capsys: pytest.CaptureFixture[str], *more: str) -> Done:
    return run(capsys, "plan", "model.py", "--devices", "cluster.yaml", "--batch-size", "512", *more)


def cost(path: str = "plan.json") -> dict:
    raw = json.loads(Path(path).read_text())
    Draft202012Validator(SCHEMA).validate(raw)
    found = raw["estimate"]["cost"]
    assert found["value"] == pytest.approx(found["rate"] / 3600 * raw["estimate"]["step_time_s"])
    return found


def test_the_cheapest_plan(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = plan(capsys, "--objective", "cost")
    assert done.status == 0, done.err
    found = cost()
    assert found["objective"] == "cost"
    assert found["unit"] == "USD"
    assert found["rate"] == 0.36, "one slow device at a tenth of the price is a third as fast"
    assert found["each"] == {"fast": 3.6, "slow": 0.36}
    assert found["step_limit_s"] is None
    assert found["gap"] <= 0.01
    assert found["lower_bound"] <= found["value"]
    assert re.search(
        r"^cost 0\.\d+ USD a step, at 0\.36 USD/h; by the formula no plan takes less than 0\.\d+ USD: gap", done.out, re.MULTILINE
    )
    assert "instead                           step" in done.out
    assert run(capsys, "show", "plan.json") == done
    assert run(capsys, "price", "plan.json", "-o", "again.json") == done
    assert Path("again.json").read_bytes() == Path("plan.json").read_bytes()


def test_other_prices_have_no_bound(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan(capsys, "--objective", "cost")
    Path("cluster.yaml").write_text(PRICED.replace("0.36", "0.72"))
    done = run(capsys, "price", "plan.json", "-o", "again.json")
    assert done.status == 0, "the plan runs as before"
    before, after = cost(), cost("again.json")
    assert after["value"] == pytest.approx(2 * before["value"])
    assert after["lower_bound"] is None
    assert after["gap"] is None
    assert re.search(r"^cost 0\.\d+ USD a step, at 0\.72 USD/h$", done.out, re.MULTILINE)


def test_a_limit_on_the_step(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan(capsys)
    fastest_s = json.loads(Path("plan.json").read_text())["estimate"]["step_time_s"]
    plan(capsys, "--objective", "cost")
    cheapest_s, least = json.loads(Path("plan.json").read_text())["estimate"]["step_time_s"], cost()["value"]
    middle_s = (fastest_s + cheapest_s) / 2
    assert plan(capsys, "--objective", "cost", "--step-limit", f"{middle_s * 1e3:.6f} ms").status == 0
    assert json.loads(Path("plan.json").read_text())["estimate"]["step_time_s"] <= middle_s
    assert cost()["value"] > least
    assert cost()["step_limit_s"] == pytest.approx(middle_s, rel=1e-4)


def test_a_limit_that_nothing_keeps(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = plan(capsys, "--objective", "cost", "--step-limit", "1us")
    assert_refused(done, "no plan keeps a step of 1 us: by the formula none is faster than", "simulated", status=1)
    limit = re.findall(r"--step-limit '(.*)' or more", done.err)
    assert plan(capsys, "--objective", "cost", "--step-limit", *limit).status == 0


def test_energy_needs_the_power_of_every_device(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert_refused(
        plan(capsys, "--objective", "energy"), "cluster.yaml: no power is known of the devices of fast (fast-cpu)", "400 W"
    )
    Path("cluster.yaml").write_text(PRICED.replace("3.60 USD/h", "3.60 USD/h, power: 100 W"))
    done = plan(capsys, "--objective", "energy")
    raw = json.loads(Path("plan.json").read_text())
    assert raw["estimate"]["cost"]["value"] == pytest.approx(20 * raw["estimate"]["step_time_s"])
    assert re.search(r"^energy [\d.]+ m?J a step, at 20 W; by the formula", done.out, re.MULTILINE)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("--objective money", ("--objective", "'money'", "cost")),
        ("--step-limit 5ms", ("--step-limit with --objective step", "Take --objective cost or energy")),
        ("--objective cost --step-limit 5", ("--step-limit", "without a unit", "10 us")),
        ("--objective cost --step-limit 0s", ("--step-limit", "'0s'")),
        ("--objective cost --step-limit fast", ("--step-limit", "'fast'")),
    ],
)
def test_what_makes_no_sense(arguments: str, words: tuple[str, ...], here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert_refused(plan(capsys, *arguments.split()), *words)


def test_prices_are_asked_for(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("cluster.yaml").write_text(CLUSTER)
    done = plan(capsys, "--objective", "cost")
    assert_refused(done, "no price is known of the devices of fast (fast-cpu), slow (slow-cpu)", "price: 3.67 USD/h")
    assert not Path("plan.json").exists()


def test_the_front(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = plan(capsys, "--front")
    raw = json.loads(Path("plan.json").read_text())
    Draft202012Validator(SCHEMA).validate(raw)
    front = raw["front"]
    assert front[0]["devices"] == 1
    assert len(front) > 1
    assert [point["devices"] for point in front] == sorted({point["devices"] for point in front})
    steps = [point["step_time_s"] for point in front]
    assert steps == sorted(steps, reverse=True)
    assert steps[-1] == raw["estimate"]["step_time_s"]
    for point in front:
        assert sum(point["types"].values()) == point["devices"]
        assert point["lower_bound_s"] <= point["formula_s"]
        assert point["cost"]["rate"] == pytest.approx(
            3.6 * point["types"].get("fast-cpu", 0) + 0.36 * point["types"].get("slow-cpu", 0)
        )
        assert "energy" not in point, "the power of one type is not known"
    table = done.out[done.out.index("devices  of") :].splitlines()
    assert table[0].split() == ["devices", "of", "step", "formula", "gap", "rate", "cost"]
    assert len(table) == 1 + len(front)
    assert run(capsys, "show", "plan.json") == done
    assert json.loads(plan(capsys, "--front", "--json").out) == raw
