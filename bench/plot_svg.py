"""What bench/plots.py draws with: pieces of SVG that are read in a light and a dark page and without colours.

Colours are those of Okabe and Ito, which the colour-blind can tell apart, the blue a little lighter for dark pages; wherever two of them stand for two things, so do two
marks, two fills or a label. Lengths are in pixels.
"""
from html import escape

WIDTH = 860
COLOURS = ["#2b85c7", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00"]
GREY = "#8c8c8c"
MARKS = ["circle", "diamond", "square", "triangle", "cross", "bar"]

# Outside of the plots' own colours everything is ink on paper.
STYLE = """<style>
.paper{fill:#ffffff}.ink{fill:#1c1c1c}.soft{fill:#5a5a5a}.line{stroke:#1c1c1c;fill:none}.grid{stroke:#d8d8d8}.inside{fill:#000000}
@media (prefers-color-scheme: dark){
.paper{fill:#14171c}.ink{fill:#e8e8e8}.soft{fill:#a8a8a8}.line{stroke:#e8e8e8;fill:none}.grid{stroke:#3a3f47}}
</style>"""


def text(x, y, words, anchor="start", kind="ink", size=12, weight="normal"):
    return (f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" '
            f'font-weight="{weight}">{escape(words)}</text>')


def line(x1, y1, x2, y2, kind="grid", dashed=False):
    dashes = ' stroke-dasharray="4 3"' if dashed else ""
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"{dashes}/>'


def bar(x, y, width, height, colour, hollow=False):
    """A bar, or its outline."""
    fill = f'fill="{colour}" fill-opacity="0.25"' if hollow else f'fill="{colour}"'
    return (f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 0.5):.1f}" height="{height:.1f}" {fill} stroke="{colour}" '
            f'stroke-width="1.5"/>')


def piece(x, y, width, height, colour):
    """A part of a stacked bar; a gap parts it from the next."""
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width - 1.5, 0.3):.1f}" height="{height:.1f}" fill="{colour}"/>'


def mark(shape, x, y, colour, hollow=False, r=4.0):
    fill = "none" if hollow else colour
    style = f'fill="{fill}" fill-opacity="0.7" stroke="{colour}" stroke-width="1.5"'
    if shape == "circle":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{r:.1f}" {style}/>'
    corners = {"diamond": [(0, -1.3), (1.3, 0), (0, 1.3), (-1.3, 0)], "square": [(-1, -1), (1, -1), (1, 1), (-1, 1)],
               "triangle": [(0, -1.2), (1.2, 1), (-1.2, 1)], "cross": [(-1, -1), (1, 1), (0, 0), (1, -1), (-1, 1), (0, 0)],
               "bar": [(-1.4, -0.5), (1.4, -0.5), (1.4, 0.5), (-1.4, 0.5)]}[shape]
    points = " ".join(f"{x + r * dx:.1f},{y + r * dy:.1f}" for dx, dy in corners)
    return f'<polygon points="{points}" {style}/>'


def page(title, subtitle, height, body, caption):
    """A whole SVG: title and how to read it above, `body` from y = 48 to `height`, what was measured where below."""
    total = height + 26
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{total:.0f}" viewBox="0 0 {WIDTH} {total:.0f}" '
        f'font-family="sans-serif" role="img" aria-label="{escape(title, quote=True)}">', STYLE,
        f'<rect class="paper" width="{WIDTH}" height="{total:.0f}"/>', text(10, 20, title, size=15, weight="bold"),
        text(10, 37, subtitle, kind="soft"), *body, text(10, total - 10, caption, kind="soft", size=10), "</svg>", ""])


def legend(y, entries):
    """entries: (draw(x, y), words), side by side and over as many lines as they need; returns (pieces, y below)."""
    body, x = [], 14.0
    for draw, words in entries:
        width = 26 + 6.6 * len(words)
        if x + width > WIDTH - 10:
            x, y = 14.0, y + 18
        body += [draw(x, y - 4), text(x + 12, y, words)]
        x += width
    return body, y + 10
