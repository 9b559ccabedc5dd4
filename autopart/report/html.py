"""A plan as one HTML file that needs nothing beside it: page, style, script and data put together."""

from __future__ import annotations

import json
import re
from html import escape
from importlib.resources import files

from autopart.planner.meshes import Index
from autopart.planner.score import Score
from autopart.report.page import page_data

SCRIPTS = ("format", "decode", "colors", "dom", "view", "canvas", "timeline", "memory", "cluster", "tables", "ops", "main")
"""In the order in which they build on each other; one scope holds them all."""
STYLES = ("page", "panels")


def format_html(scored: Score, index: Index) -> str:
    """HTML text."""
    data = json.dumps(page_data(scored, index), separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    script = "".join(_asset(f"{name}.js") for name in SCRIPTS)
    plan = scored.plan
    parts = {
        "title": escape(f"{plan.model.path} over {plan.cluster.path}"),
        "style": "".join(_asset(f"{name}.css") for name in STYLES),
        "data": data,
        "script": f"(() => {{\n'use strict';\n{script}}})();",
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda mark: parts[mark[1]], _asset("page.html"))


def _asset(name: str) -> str:
    return files("autopart.report").joinpath("assets", name).read_text(encoding="utf-8")
