"""Draw events as a sequence diagram: SVG for the page and for a file, a table, Mermaid, a line.

The same events always give the same picture: nothing here asks the clock or the machine.
"""

import shutil
from collections.abc import Iterable, Sequence
from html import escape
from itertools import accumulate
from unicodedata import east_asian_width

from course.core.terminal import colour
from course.wire.events import DATABASE, KINDS, LAYER, Event, fold

# Each colour of the terminal has a shade on light ground and one on dark ground.
STYLE = """<style>
.wire { font: 18px ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace;
  color-scheme: light dark; --ground: light-dark(#ffffff, #0d1117); background: var(--ground);
  --ink: light-dark(#1f2328, #f0f6fc); --line: light-dark(#afb8c1, #484f58); color: var(--ink) }
.wire text { fill: var(--kind, var(--ink)); white-space: pre }
.wire .time { font-size: 14px }
.wire .title { font-weight: bold; text-anchor: middle }
.wire .life { stroke: var(--line); stroke-width: 2; stroke-dasharray: 3 5 }
.wire .label { paint-order: stroke; stroke: var(--ground); stroke-width: 6px }
.wire .arrow { stroke: var(--kind); stroke-width: 2.5; fill: var(--kind) }
.wire .hit { fill: transparent }
.wire :is(:hover, :focus) > .hit { fill: var(--kind); fill-opacity: .2 }
.wire :is(:hover, :focus) > .label { stroke: none }
.wire .green { --kind: light-dark(#116329, #56d364) }
.wire .blue { --kind: light-dark(#0550ae, #79c0ff) }
.wire .dim { --kind: light-dark(#57606a, #b1bac4) }
.wire .magenta { --kind: light-dark(#6639ba, #d2a8ff) }
.wire .yellow { --kind: light-dark(#953800, #ffa657) }
.wire .cyan { --kind: light-dark(#0a6670, #5ed3dd) }
.wire .red { --kind: light-dark(#b3131d, #ff8f87) }
</style>"""
# In pixels: the width of a letter, the height of a line of text, of the titles and of an arrow, the
# width of the column with the times, and the least of a lane: twelve tabs fit on a projector.
LETTER, LINE, TOP, ROW, LEFT, LANE = 10.9, 22, 76, 41, 56, 44
# Of a Mermaid text: a page has room for six lanes in letters as large as the prose, because labels
# have several lines. With less padding, Mermaid breaks the longest word with a hyphen.
HEAD = (
    '%%{init: {"sequence": {"mirrorActors": false, "wrap": true, "wrapPadding": 18, "width": 112, '
    '"actorMargin": 12, "diagramMarginX": 10}}}%%'
)


def fit(text: str, room: float) -> str:
    """Return as much of a text as fits into `room` pixels."""
    widths = accumulate(2 if east_asian_width(letter) in "FW" else 1 for letter in text)
    fitting = sum(width * LETTER <= room for width in widths)
    return text if fitting == len(text) else text[: fitting - 1] + "…"


def place(lane: str) -> tuple[str, int, bool, str]:
    """Return where a lane stands: by worker, each tab beside its consumer.

    The channel layer stands after the first worker, so an event that reaches another worker is seen
    to cross it.
    """
    first, last = lane.partition(" ")[0], lane.rpartition(" ")[2]
    worker = {LAYER: "worker1~", DATABASE: "~"}.get(lane, first if "worker" in first else "")
    return worker, int(last) if last.isdecimal() else 10**6, "consumer" in lane, lane


def find_lanes(rows: Iterable[Event]) -> list[str]:
    """Return the lanes of these rows, from left to right."""
    return sorted({lane for row in rows for lane in (row.source, row.target)}, key=place)


def draw(rows: Sequence[Event], width: int = 1200) -> tuple[int, int, str, str]:
    """Return width and height of a diagram, and its SVG: titles of the lanes, and all below them.

    The diagram is wider than `width` if the lanes need more.
    """
    lanes = find_lanes(rows)
    room = max(LANE, (width - LEFT) // max(len(lanes), 1))
    width, height = LEFT + room * len(lanes), ROW * len(rows) + LINE
    places = {lane: LEFT + room * (number + 0.5) for number, lane in enumerate(lanes)}
    titles, below = [STYLE], []
    for lane, x in places.items():
        for up, word in enumerate(reversed(lane.split())):
            text = f"<title>{escape(lane)}</title>{escape(fit(word, room))}"
            y = TOP - 10 - LINE * up
            titles.append(f'<text class="title" x="{x}" y="{y}">{text}</text>')
        own = [number for number, row in enumerate(rows) if lane in (row.source, row.target)]
        gone = rows[own[-1]].kind in ("end", "disconnect", "close", "refuse")
        end = ROW * (own[-1] + 1) if gone else height
        below.append(f'<path class="life" d="M{x} {ROW * own[0]}V{end}"/>')
    for number, row in enumerate(rows):
        arrow = draw_arrow(row, places[row.source], places[row.target], width)
        below.append(f'<g transform="translate(0 {ROW * number})">{arrow}</g>')
    return width, height, "".join(titles), "".join(below)


def draw_arrow(row: Event, x1: float, x2: float, width: int) -> str:
    """Return one arrow with its words."""
    # The words begin at the arrow's left end, or end at its right end: where there is room.
    left, right = min(x1, x2) + 14, max(x1, x2) - 14
    words, anchor, x = fit(row.label, width - left), "start", left
    if words != row.label and right - LEFT > width - left:
        words, anchor, x = fit(row.label, right - LEFT), "end", right
    tip = 8 if x2 < x1 else -8
    path = f"M{x1} 34H{x2}m{tip} -4L{x2} 34l{tip} 4"
    if x1 == x2:
        cross, square = "l12 12m0 -12l-12 12", "h12v12h-12z"
        path = f"M{x1 - 6} 14{square if row.kind == 'thread' else cross}"
    # The arrow comes last: the ground around the letters must not cover its tip.
    return (
        f'<g class="{KINDS[row.kind]}" role="img" tabindex="-1">'
        f"<title>{row.at:.3f} s, {escape(row.who)}: {escape(row.label)}</title>"
        f'<rect class="hit" width="{width}" height="{ROW}"/>'
        f'<text class="time" x="4" y="26">{row.at:.1f}</text>'
        f'<text class="label" x="{x}" y="26" text-anchor="{anchor}">{escape(words)}</text>'
        f'<path class="arrow" d="{path}"/></g>'
    )


def table(rows: Sequence[Event]) -> str:
    """Return the rows of an HTML table."""
    cells = [(KINDS[row.kind], f"{row.at:.3f}", row.who, row.label) for row in rows]
    line = '<tr class="{}"><td>{}</td><td>{}</td><td>{}</td></tr>'
    return "".join(line.format(*map(escape, row)) for row in cells)


def svg(width: int, height: int, content: str) -> str:
    """Return an SVG element."""
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" class="wire" {size}>{content}</svg>'


def static_svg(events: Iterable[Event]) -> str:
    """Return the whole diagram as one SVG file: light and dark, without a script."""
    width, height, titles, below = draw(fold(events))
    return svg(width, TOP + height, f'{titles}<g transform="translate(0 {TOP})">{below}</g>') + "\n"


def mermaid(events: Iterable[Event]) -> str:
    """Return the diagram as a Mermaid text, for a README."""
    rows = fold(events)
    names = {lane: f"l{number}" for number, lane in enumerate(find_lanes(rows))}
    lines = [f"    participant {name} as {lane}" for lane, name in names.items()]
    for row in rows:
        arrow = "-x" if KINDS[row.kind] == "red" else "->>"
        # Mermaid has its own meaning for some signs.
        words = [f"#{ord(c)};" if c in "#;<>%&" else c for c in fit(row.label, 60 * LETTER)]
        lines.append(f"    {names[row.source]}{arrow}{names[row.target]}: {''.join(words)}")
    return "\n".join([HEAD, "sequenceDiagram", *lines]) + "\n"


def terminal_line(event: Event) -> str:
    """Return an event as one line of the terminal, aligned and coloured."""
    lane = 25 if "worker" in event.who else 13  # the length of "worker1 task Subscription"
    line = f"{event.at:9.3f}  {event.source:<{lane}} → {event.target:<{lane}}  {event.label}"
    width = shutil.get_terminal_size((160, 24)).columns
    return colour(fit(line, width * LETTER), KINDS[event.kind])
