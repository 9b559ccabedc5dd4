"""Help with examples, suggestions, completion, looking into the compiler."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from autopart.cli.completion import SHELLS, commands_of
from autopart.cli.main import build_parser
from autopart.debug import STEPS
from tests.commands import CLUSTER, MODEL, assert_refused, run

Capsys = pytest.CaptureFixture[str]
COMMANDS = commands_of(build_parser())
NAMES = [command.name for command in COMMANDS]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("model.py").write_text(MODEL)
    Path("cluster.yaml").write_text(CLUSTER)
    return tmp_path


def test_the_commands_are_these() -> None:
    """A new command or option is added on purpose: completion and help follow by themselves, docs/guide.md does not."""
    assert NAMES == ["plan", "price", "replan", "show", "devices", "explain", "diff", "profile", "compile", "run", "completion"]
    guide = Path(__file__).parents[2].joinpath("docs/guide.md").read_text()
    assert [name for name in NAMES if f"autopart {name}" not in guide] == []


@pytest.mark.parametrize("name", NAMES)
def test_help_has_examples_that_parse(name: str, capsys: Capsys) -> None:
    done = run(capsys, name, "--help")
    assert done.status == 0
    lines = re.findall(r"^  (?:source <\()?(autopart [^#\n|)]*)", done.out.partition("examples:")[2], re.MULTILINE)
    assert lines
    for line in lines:
        build_parser().parse_args(shlex.split(line)[1:])


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["plna"], "Did you mean plan or replan?"),
        (["expalin", "plan.json"], "Did you mean explain or replan?"),
        (["show", "plan.json", "--format", "txt"], "Did you mean text?"),
        (["plan", "m.py", "--device", "c", "--batch-sise", "3"], "Did you mean --batch-size"),
        (["price", "plan.json", "--qiet"], "Did you mean --quiet"),
        (["plan", "m.py", "--devices", "c", "--batch-size", "3", "--optimizer", "adamv"], "Did you mean adam or adamw?"),
    ],
    ids=str,
)
def test_what_may_have_been_meant(words: list[str], hint: str, capsys: Capsys) -> None:
    assert_refused(run(capsys, *words), hint)


def complete(line: str, capsys: Capsys) -> set[str]:
    """What bash offers for the last word of a line."""
    script = run(capsys, "completion", "bash").out
    words = line.split(" ")
    asked = (
        f"{script}\nCOMP_WORDS=({' '.join(words)}); COMP_CWORD={len(words) - 1}; _autopart; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    )
    done = subprocess.run(["bash", "-c", asked], capture_output=True, text=True, check=True, timeout=20)
    assert done.stderr == ""
    return set(done.stdout.split())


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_bash_completes(here: Path, capsys: Capsys) -> None:
    assert complete("autopart ", capsys) == {*NAMES, "--help"}
    assert complete("autopart ex", capsys) == {"explain"}
    assert complete("autopart plan model.py --opt", capsys) == {"--optimizer"}
    assert complete("autopart plan model.py --optimizer a", capsys) == {"adam", "adamw", "adagrad"}
    assert complete("autopart show mo", capsys) == {"model.py"}
    assert complete("autopart plan model.py --devices cl", capsys) == {"cluster.yaml"}
    assert complete("autopart plan model.py --batch-size mo", capsys) == set()
    assert complete("autopart completion ", capsys) == set(SHELLS)


@pytest.mark.parametrize("shell", SHELLS)
def test_completion_knows_every_command_and_option(shell: str, capsys: Capsys) -> None:
    script = run(capsys, "completion", shell).out
    for command in COMMANDS:
        assert re.search(rf"\b{command.name}\b", script)
        for option in command.options:
            assert all(re.search(rf"(?<![\w-])-*{name.lstrip('-')}\b", script) for name in option.names)
    if shutil.which(shell):
        checked = subprocess.run([shell, "-n"], input=script, capture_output=True, text=True, check=False, timeout=20)
        assert checked.returncode == 0, checked.stderr


PLAN = ("plan", "model.py", "--devices", "cluster.yaml", "--batch-size", "24")


def test_levels_of_debugging(here: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    silent = run(capsys, *PLAN)
    said = {}
    for level in "1234":
        monkeypatch.setenv("AUTOPART_DEBUG", level)
        done = run(capsys, *PLAN)
        assert done.out == silent.out, "results stay alone on stdout"
        said[level] = done.err
    assert silent.err == ""
    for step in ("trace", "shard", "blocks", "costs", "plan"):
        assert re.search(rf"^autopart +[\d.]+ s  {step}: \d", said["1"], re.MULTILINE)
    assert "best step" not in said["1"]
    assert "best step" in said["2"]
    assert "fast-cpu forward + backward" in said["2"]
    assert "what changed" not in said["2"]
    assert "shard: what changed" in said["3"]
    assert "+  %:cross_entropy_loss" in said["3"]
    assert '"stages": [' in said["4"]
    assert '"stages": [' not in said["3"]
    monkeypatch.setenv("AUTOPART_DEBUG", "loud")
    assert_refused(run(capsys, *PLAN), "AUTOPART_DEBUG='loud' is no level", "1, 2, 3 or 4")


def test_dumps_are_numbered_in_the_order_of_the_compiler(here: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOPART_DUMP", "steps")
    assert run(capsys, *PLAN).status == 0
    assert run(capsys, "compile", "plan.json", "-o", "package").status == 0
    files = sorted(path.name for path in Path("steps").iterdir())
    assert files == [f"{number:02}-{step}.txt" for number, step in enumerate(STEPS)]
    assert Path("steps/04-plan.txt").read_text().startswith('{\n  "format": 1')
