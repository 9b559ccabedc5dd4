"""The documentation runs, and says what the code says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from autopart import debug

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
    links = [(page, link) for page in pages for link in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text())]
    broken = [f"{page.relative_to(ROOT)} -> {link}" for page, link in links if not (page.parent / link).exists()]
    assert links
    assert not broken
