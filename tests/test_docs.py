"""The documentation runs, and says what the code says."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from autopart import debug
from autopart.cli.main import build_parser
from tests.commands import run

ROOT = Path(__file__).parent.parent


def test_the_walkthrough_runs() -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs/walkthrough.md").read_text(), re.DOTALL)
    done = subprocess.run([sys.executable, "-c", "\n".join(blocks)], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


def test_every_environment_variable_is_documented() -> None:
    documented = set(re.findall(r"AUTOPART_[A-Z]+", (ROOT / "docs/env.md").read_text()))
    assert documented == set(debug.VARIABLES)


def test_links_between_pages_lead_somewhere() -> None:
    pages = [ROOT / "README.md", *ROOT.glob("docs/**/*.md")]
    links = [(page, *link) for page in pages for link in re.findall(r"\]\(([^)#:\s]*)(?:#([^)]*))?\)", page.read_text())]
    broken = [f"{page.relative_to(ROOT)} -> {link}#{anchor}" for page, link, anchor in links if not leads(page, link, anchor)]
    assert links
    assert not broken


def leads(page: Path, link: str, anchor: str) -> bool:
    """Whether there is such a file, with such a heading."""
    target = page.parent / link if link else page
    if target == ROOT / "docs/reference/cli.md":  # the site's own, written from the parser
        return True
    return target.exists() and (not anchor or anchor in headings(target))


def headings(page: Path) -> set[str]:
    """Anchors of a page's headings."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    return {
        re.sub(r"[^\w -]", "", title).strip().lower().replace(" ", "-") for title in re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    }


def test_the_site_has_every_page() -> None:
    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
    named = set(re.findall(r"[\w/-]+\.md", str(config["nav"])))
    pages = {str(page.relative_to(ROOT / "docs")) for page in ROOT.glob("docs/**/*.md")}
    assert named == pages | {"reference/cli.md"}


def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="an extra: pip install -e '.[docs]'")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert "--what-if" in (tmp_path / "reference/cli.html").read_text()
    assert "ShardSampler" in (tmp_path / "reference/library.html").read_text()


def commands_of(page: str) -> list[str]:
    """What a page has its reader type."""
    return re.findall(r"^\$ ((?:autopart|cp) .*)$", (ROOT / "docs" / page).read_text(), re.MULTILINE)


@pytest.mark.parametrize("page", ["getting-started.md", "tasks.md"])
def test_the_commands_of_a_page_run(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In their order, in one folder; with a smaller model in the place of GPT-2, and with no training run."""
    (tmp_path / "examples/models").mkdir(parents=True)
    (tmp_path / "examples/clusters").symlink_to(ROOT / "examples/clusters")
    (tmp_path / "examples/models/gpt2.py").write_text((ROOT / "examples/models/mlp.py").read_text())
    monkeypatch.chdir(tmp_path)
    lines = commands_of(page)
    assert len(lines) >= 6
    for line in lines:
        program, *words = ["4" if word in ("32", "64") else word for word in shlex.split(line)]  # few samples are planned sooner
        if program == "cp":
            shutil.copy(*words)
        elif words[0] == "run":
            build_parser().parse_args(words)
        else:
            done = run(capsys, *words)
            assert done.status == 0, (line, done.err)
