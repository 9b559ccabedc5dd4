"""The HTML report in a headless Chromium: no complaint on the console, every panel drawn, zoom, hover and keys at work.

How long a page takes to be there is printed (``-s`` shows it): a figure of this machine, which decides nothing.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from autopart.report.html import format_html
from tests.chromium import Page, browser, find_chromium
from tests.shown import Shown, alone, large, small

pytestmark = pytest.mark.skipif(find_chromium() is None, reason="no Chromium on PATH: apt-get install chromium")
PANELS = ("cluster", "baselines", "timeline", "memory", "stages", "traffic", "ops")
TIMELINE, MEMORY, TIP = "#timeline canvas", "#memory canvas", "#tip"
SHIFT = 8
GUTTER = 224  # pixels of names on the left


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pages")


def opened(page: Page, folder: Path, made: Shown, **how: Any) -> None:
    """The plan's report on the page, as if nothing had happened before."""
    path = folder / f"{made.plan.batch_size}.html"
    if not path.exists():
        path.write_text(format_html(made.scored, made.index), encoding="utf-8")
    page.problems.clear()
    page.requests.clear()
    page.open(path, **how)


def shown(page: Page, selector: str) -> tuple[float, float, int]:
    """Start and end of the time that a drawing shows, and how many slices or steps are in it."""
    data = json.loads(page.run(f"JSON.stringify(document.querySelector('{selector}').dataset)"))
    return float(data["start"]), float(data["end"]), int(data["drawn"])


def tip(page: Page) -> str:
    """What the tip says; nothing where it is hidden."""
    return str(page.run(f"document.querySelector('{TIP}').hidden ? '' : document.querySelector('{TIP}').innerText"))


def ink(page: Page, selector: str) -> int:
    """How many different colours a drawing has: a blank one has one."""
    script = (
        f"(() => {{ const c = document.querySelector('{selector}');"
        "const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; const s = new Set();"
        "for (let i = 0; i < d.length; i += 4) s.add(d[i] << 16 | d[i + 1] << 8 | d[i + 2]); return s.size; })()"
    )
    return int(page.run(script))


@pytest.mark.parametrize("how", [{}, {"dark": True}, {"width": 390, "height": 840}], ids=["light", "dark", "phone"])
@pytest.mark.parametrize("make", [small, large])
def test_every_panel_is_drawn(make: type(small), how: dict[str, Any], page: Page, folder: Path) -> None:  # type: ignore[valid-type]
    opened(page, folder, make(), **how)
    sys.stdout.write(f"\n{make.__name__}, {how}: drawn after {page.run('document.body.dataset.ready')} ms\n")
    assert page.problems == []
    assert all(address.startswith(("file:", "data:")) for address in page.requests), page.requests
    for panel in PANELS:
        assert page.run(f"document.querySelector('#{panel} .body').getBoundingClientRect().height") > 20, panel
        assert page.run(f"document.querySelector('#{panel} .body').children.length") > 0, panel
    for drawing in (TIMELINE, MEMORY):
        assert shown(page, drawing)[2] > 10
        assert ink(page, drawing) > 10
    wide = page.run("document.documentElement.scrollWidth")
    assert wide <= page.run("innerWidth"), "the page itself never scrolls sideways"


def test_one_device_alone(page: Page, folder: Path) -> None:
    """No messages, no sums, no baselines."""
    opened(page, folder, alone())
    assert page.problems == []
    assert shown(page, TIMELINE)[2] == 3, "forward, backward, update; a sum of one rank's gradients takes no time"
    assert "No stage sends anything" in page.run("document.querySelector('#traffic').innerText")
    assert "has no baselines" in page.run("document.querySelector('#baselines').innerText")


def test_themes_differ(page: Page, folder: Path) -> None:
    colours = []
    for dark in (False, True):
        opened(page, folder, small(), dark=dark)
        colours.append(page.run("getComputedStyle(document.body).backgroundColor"))
    assert colours[0] != colours[1]


def test_every_event_of_the_timeline_is_drawn(page: Page, folder: Path) -> None:
    opened(page, folder, small())
    assert shown(page, TIMELINE)[2] == len(small().scored.timeline.events)


def test_wheel_zooms_where_the_pointer_is(page: Page, folder: Path) -> None:
    opened(page, folder, large())
    left, top, width, _ = page.box(TIMELINE)
    x = round(left + width * 0.6)  # the pointer is on whole pixels
    start, end, _ = shown(page, TIMELINE)
    under = start + (end - start) * (x - left - GUTTER) / (width - GUTTER)
    for _ in range(6):
        page.mouse("mouseWheel", x, top + 60, deltaX=0, deltaY=-200)
    page.settle()
    near, far, _ = shown(page, TIMELINE)
    assert far - near < 0.2 * (end - start)
    assert near + (far - near) * (x - left - GUTTER) / (width - GUTTER) == pytest.approx(under, rel=1e-6)
    assert shown(page, MEMORY)[:2] == (near, far), "both drawings show the same time"
    for _ in range(12):
        page.mouse("mouseWheel", x, top + 60, deltaX=0, deltaY=200)
    page.settle()
    assert shown(page, TIMELINE)[:2] == (start, end), "and never more than the step"
    assert page.problems == []


def test_over_the_names_the_wheel_scrolls_the_page(page: Page, folder: Path) -> None:
    opened(page, folder, large())
    left, top, _, _ = page.box(TIMELINE)
    before = shown(page, TIMELINE)
    page.mouse("mouseWheel", left + 40, top + 60, deltaX=0, deltaY=-200)
    page.settle()
    assert shown(page, TIMELINE) == before


def test_drag_moves(page: Page, folder: Path) -> None:
    opened(page, folder, large())
    left, top, width, _ = page.box(TIMELINE)
    for _ in range(4):
        page.mouse("mouseWheel", left + width / 2, top + 60, deltaX=0, deltaY=-200)
    page.settle()
    start, end, _ = shown(page, TIMELINE)
    page.mouse("mousePressed", left + 500, top + 60, button="left", buttons=1, clickCount=1)
    page.mouse("mouseMoved", left + 400, top + 60, button="left", buttons=1)
    page.mouse("mouseReleased", left + 400, top + 60, button="left", clickCount=1)
    page.settle()
    moved, moved_end, _ = shown(page, TIMELINE)
    assert moved - start == pytest.approx((end - start) * 100 / (width - GUTTER), rel=1e-6)
    assert moved_end - moved == pytest.approx(end - start)


def test_two_fingers_zoom(page: Page, folder: Path) -> None:
    opened(page, folder, small(), width=390, height=840)
    left, top, _, _ = page.box(TIMELINE)
    whole = shown(page, TIMELINE)

    def touch(kind: str, *places: float) -> None:
        points = [{"x": left + x, "y": top + 60, "id": i} for i, x in enumerate(places)]
        page.call("Input.dispatchTouchEvent", type=kind, touchPoints=points)

    touch("touchStart", 160)
    touch("touchStart", 160, 240)
    for spread in (10, 20, 40):
        touch("touchMove", 160 - spread, 240 + spread)
    touch("touchEnd")
    page.settle()
    start, end, _ = shown(page, TIMELINE)
    assert end - start == pytest.approx(whole[1] * 80 / 160, rel=0.02)
    assert page.problems == []


def test_buttons(page: Page, folder: Path) -> None:
    opened(page, folder, small())
    whole = shown(page, TIMELINE)
    press = "document.querySelector('#timeline button[aria-label=\"{}\"]').click()"
    page.run(press.format("Zoom in"))
    page.settle()
    closer = shown(page, TIMELINE)
    assert closer[1] - closer[0] == pytest.approx(0.6 * whole[1])
    page.run(press.format("Later"))
    page.settle()
    assert shown(page, TIMELINE)[0] > closer[0]
    page.run(press.format("Show the whole step"))
    page.settle()
    assert shown(page, TIMELINE) == whole


def test_hover_names_the_slice(page: Page, folder: Path) -> None:
    """The first forward of stage 0 runs at once, on the row of the first rank."""
    opened(page, folder, small())
    left, top, _, _ = page.box(TIMELINE)
    page.mouse("mouseMoved", left + GUTTER + 10, top + 22 + 12)
    page.settle()
    assert "forward of microbatch 0, stage 0" in tip(page)
    assert "rank 16" in tip(page)
    assert "V100-16GB" in tip(page)
    page.mouse("mouseMoved", left + GUTTER + 10, top + 5)
    page.settle()
    assert tip(page) == ""


def test_the_keyboard_walks_from_slice_to_slice(page: Page, folder: Path) -> None:
    opened(page, folder, small())
    page.box(TIMELINE)
    page.run(f"document.querySelector('{TIMELINE}').focus()")
    page.key("ArrowRight")
    assert "forward of microbatch 0, stage 0" in tip(page)
    page.key("ArrowRight")
    assert "forward of microbatch 1, stage 0" in tip(page)
    page.key("ArrowDown")
    assert "rank 17" in tip(page)
    page.key("ArrowLeft")
    page.key("ArrowUp")
    assert "forward of microbatch 0, stage 0" in tip(page)
    whole = shown(page, TIMELINE)
    page.key("+")
    page.key("ArrowRight", SHIFT)
    start, end, _ = shown(page, TIMELINE)
    assert end - start < whole[1]
    page.key("0")
    assert shown(page, TIMELINE) == whole
    page.key("Escape")
    assert tip(page) == ""
    assert page.problems == []


def test_a_device_leads_to_its_row(page: Page, folder: Path) -> None:
    """Rank 30 is in stage 7 of the large plan, whose row another rank stands for at first."""
    opened(page, folder, large())
    device = "[...document.querySelectorAll('.device')].find((each) => each.innerText === '30')"
    page.run(f"{device}.click()")
    page.settle()
    assert page.run(f"{device}.getAttribute('aria-pressed')") == "true"
    left, top, _, _ = page.box(TIMELINE)
    page.mouse("mouseMoved", left + 900, top + 22 + 7 * 24 + 12)
    page.settle()
    assert "rank 30 " in tip(page)


def test_every_rank_has_a_row_on_request(page: Page, folder: Path) -> None:
    opened(page, folder, large())
    few = page.box(TIMELINE)[3]
    page.run(
        "(() => { const s = document.querySelectorAll('#timeline select')[1]; s.value = 'every';"
        "s.dispatchEvent(new Event('change')); })()"
    )
    page.settle()
    assert page.box(TIMELINE)[3] > 2 * few
    assert page.problems == []


def test_memory_at_the_pointer(page: Page, folder: Path) -> None:
    opened(page, folder, small())
    left, top, width, _ = page.box(MEMORY)
    page.mouse("mouseMoved", left + (width + GUTTER) / 2, top + 22 + 20)
    page.settle()
    assert "that rank 16 (V100-16GB) has to use" in tip(page)


def test_ops_with_their_formula(page: Page, folder: Path) -> None:
    """By pointer and by keyboard focus, of every stage that can be chosen."""
    opened(page, folder, small())
    for stage in range(3):
        page.run(
            f"(() => {{ const s = document.querySelector('#ops select'); s.value = '{stage}';"
            "s.dispatchEvent(new Event('change')); })()"
        )
        left, top, _, _ = page.box("#ops tbody tr")
        page.mouse("mouseMoved", left + 20, top + 8)
        page.settle()
        assert "forward: " in tip(page)
        assert " + max(" in tip(page)
        assert "FLOP/s" in tip(page)
    blocks = len(small().plan.stages[2].blocks)
    assert page.run("document.querySelectorAll('#ops .strip button:not(.rest)').length") == blocks
    page.run("document.querySelector('#ops .strip button:last-of-type').click()")
    assert page.problems == []


def test_baselines_are_listed_with_their_reason(page: Page, folder: Path) -> None:
    opened(page, folder, small())
    said = page.run("document.querySelector('#baselines').innerText")
    for baseline in small().plan.baselines:
        assert baseline.name in said
    assert "20 devices, but 8 blocks" in said
    assert "× 1" in said or "× 2" in said
