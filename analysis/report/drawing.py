"""A matplotlib figure as SVG inside a page: no fixed size, and text and axes in the page's own colour."""

import hashlib
import io
import re

import matplotlib as mpl
from markupsafe import Markup, escape
from matplotlib.figure import Figure

from analysis import style


def inline_svg(fig: Figure, label: str) -> Markup:
    """The figure as one <svg> element that scales with its container; `label` is read out in its place.

    Figures of one page need labels that differ: the ids of markers and clips are made of content and label.
    """
    buffer = io.StringIO()
    with style.context(), mpl.rc_context({"svg.hashsalt": label}):
        fig.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    svg = buffer.getvalue()
    # The ids of groups ("axes_1") would be the same in every figure.
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    return _scaled(svg, label)


def inlined(svg: str, label: str) -> Markup:
    """The same of a figure that was saved as a file."""
    prefix = hashlib.sha256(label.encode()).hexdigest()[:6]
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    svg = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{prefix}", svg)
    svg = svg.replace('style="fill: #ffffff"/>', 'style="fill: none"/>')
    return _scaled(svg.replace("stroke: #ffffff", "stroke: var(--paper)"), label)


def _scaled(svg: str, label: str) -> Markup:
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    svg = svg.replace(style.INK, "currentColor")
    return Markup(svg.replace("<svg", Markup('<svg role="img" aria-label="{}"').format(escape(label)), 1))
