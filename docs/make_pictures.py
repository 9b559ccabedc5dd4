"""The pictures of the documentation, by the tool itself: ``make pictures``. Takes some minutes; screenshots need a Chromium.

``gpt2-office.svg`` is the README's plan as ``autopart show --format svg`` draws it, ``report-*.png`` are its HTML report and
that of Llama 70B over 128 devices.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from autopart import pipeline
from autopart.cluster.load import load_cluster
from autopart.frontend.load import load
from autopart.planner.meshes import Index, make_index
from autopart.planner.score import Score, score
from autopart.plans import Settings
from autopart.report.html import format_html
from autopart.report.svg import format_svg
from tests.chromium import Page, browser, find_chromium

PATIENCE_S = 600.0  # of the solver, which a busy machine needs to reach its gap
IMAGES = Path(__file__).parent / "images"


def main() -> None:
    """All of them; those of the browser only where there is one."""
    office = planned("examples/models/gpt2.py", "examples/clusters/cpus.yaml", 48, Settings())
    scored, index = office
    save("gpt2-office.svg", format_svg(scored.plan, index.cluster, index.blocks, scored.timeline).encode())
    if find_chromium() is None:
        sys.exit("no Chromium: the screenshots stay as they are")
    large = planned("examples/models/llama_70b.py", "examples/clusters/large.yaml", 512, Settings(precision="bfloat16"))
    with browser() as page, tempfile.TemporaryDirectory() as folder:
        files = {name: Path(folder, f"{name}.html") for name in ("office", "large")}
        for file, (its_score, its_index) in zip(files.values(), (office, large), strict=True):
            file.write_text(format_html(its_score, its_index), encoding="utf-8")
        screenshots(page, files)


def planned(model: str, cluster: str, batch_size: int, settings: Settings) -> tuple[Score, Index]:
    """The plan that the tool finds, simulated."""
    front = pipeline.front_end(load(model, empty=True, precision=settings.precision), settings)
    machines = load_cluster(cluster)
    plan = pipeline.decide(front, machines, batch_size, settings, pipeline.Limits(time_limit_s=PATIENCE_S))
    index = make_index(front.blocks, machines, batch_size, settings, plan.model)
    return score(plan, index), index


def screenshots(page: Page, files: dict[str, Path]) -> None:
    """Of whole pages in both themes, of a zoomed timeline, of a phone."""
    for theme in ("light", "dark"):
        page.open(files["office"], width=1180, height=900, dark=theme == "dark")
        shot(page, f"report-{theme}.png", "#memory")
    page.open(files["large"], width=1180, height=520)
    shot(page, "report-large.png", "#timeline")
    zoomed(page)
    page.open(files["office"], width=390, height=844)
    shot(page, "report-phone.png", "#timeline")


def zoomed(page: Page) -> None:
    """The middle of the step, a slice pointed at."""
    left, top, width, _ = page.box("#timeline canvas")
    x = round(left + width / 2)
    for _ in range(8):
        page.mouse("mouseWheel", x, top + 60, deltaX=0, deltaY=-220)
    page.box("#timeline")
    top = page.run("document.querySelector('#timeline canvas').getBoundingClientRect().top")
    page.mouse("mouseMoved", x, round(top) + 22 + 3 * 24 + 12)
    page.settle()
    page.screenshot(IMAGES / "report-zoom.png", 0, page.run("scrollY"), 1180, 420, seen=True)


def shot(page: Page, name: str, last: str) -> None:
    """From the top of the page to the end of a panel."""
    bottom = page.run(f"document.querySelector('{last}').getBoundingClientRect().bottom + scrollY")
    page.screenshot(IMAGES / name, 0, 0, page.run("innerWidth"), bottom + 12)


def save(name: str, content: bytes) -> None:
    (IMAGES / name).write_bytes(content)


if __name__ == "__main__":
    main()
