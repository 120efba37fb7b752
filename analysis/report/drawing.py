"""A matplotlib figure as SVG inside a page: no fixed size, and text and axes in the page's own colour."""

import io
import re

from markupsafe import Markup, escape
from matplotlib.figure import Figure

from analysis import style


def inline_svg(fig: Figure, label: str) -> Markup:
    """The figure as one <svg> element that scales with its container; `label` is read out in its place."""
    buffer = io.StringIO()
    with style.context():
        fig.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    # Several figures on a page would repeat the ids of their groups; those of markers and clips are content hashes.
    svg = re.sub(r'<g id="[^"]*">', "<g>", svg)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    svg = svg.replace(style.INK, "currentColor")
    return Markup(svg.replace("<svg", Markup('<svg role="img" aria-label="{}"').format(escape(label)), 1))
