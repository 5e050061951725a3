"""Draw events as a sequence diagram: SVG for the page and for a file, a table, Mermaid, a line.

The same events always give the same picture: nothing here asks the clock or the machine.
"""

import shutil
from collections.abc import Iterator, Sequence
from html import escape
from itertools import accumulate
from pathlib import Path
from unicodedata import east_asian_width

from course.core.terminal import UserError, colour, say
from course.wire.events import DATABASE, LAYER, Event, fold

# The colours of events: on light ground, on dark ground, in the terminal.
COLOURS = {
    "open": ("#116329", "#56d364", "green"),
    "frame": ("#0550ae", "#79c0ff", "blue"),
    "close": ("#57606a", "#b1bac4", "dim"),
    "group": ("#6639ba", "#d2a8ff", "magenta"),
    "event": ("#953800", "#ffa657", "yellow"),
    "database": ("#0a6670", "#5ed3dd", "cyan"),
    "error": ("#b3131d", "#ff8f87", "red"),
}
STYLE = """
.wire { font: 18px ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace;
  color-scheme: light dark; --ground: light-dark(#ffffff, #0d1117);
  --ink: light-dark(#1f2328, #f0f6fc); --line: light-dark(#afb8c1, #484f58) }
.wire text { fill: var(--ink); white-space: pre }
.wire .title { font-weight: bold; text-anchor: middle }
.wire .time { font-size: 14px; text-anchor: end }
.wire .life { stroke: var(--line); stroke-width: 2; stroke-dasharray: 3 5 }
.wire .label { paint-order: stroke; stroke: var(--ground); stroke-width: 6px; fill: var(--kind) }
.wire .error .label { font-weight: bold }
.wire .arrow { stroke: var(--kind); stroke-width: 2.5; fill: none }
.wire .tip { fill: var(--kind) }
.wire .hit { fill: transparent }
.wire .row:focus { outline: none }
.wire .row:hover .hit, .wire .row:focus .hit { fill: var(--kind); fill-opacity: .2 }
.wire .row:hover .label, .wire .row:focus .label { stroke: none }
"""
for name, (light, dark, _) in COLOURS.items():
    STYLE += f".wire .{name} {{ --kind: light-dark({light}, {dark}) }}\n"
# In pixels: the width of a letter, the height of a line of text and of an arrow, the width of the
# column with the times, and that of a lane, whose longest word is often "consumer".
LETTER, LINE, ROW, LEFT, LANE = 10.9, 22, 41, 48, 100
# Of a Mermaid text: a page has room for six lanes in letters as large as the prose, because labels
# have several lines. With less padding, Mermaid breaks the longest word with a hyphen.
HEAD = (
    '%%{init: {"sequence": {"mirrorActors": false, "wrap": true, "wrapPadding": 18, "width": 112, '
    '"actorMargin": 12, "diagramMarginX": 10}}}%%'
)
MOST = 300  # rows of one picture on the page
LAST = {"end", "disconnect", "close", "refuse"}  # after these, a lane has nothing to do


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
    words = lane.split()
    worker = words[0] if words[0].startswith("worker") else ""
    number = int(words[-1]) if words[-1].isdecimal() else 1_000_000
    worker = {LAYER: "worker1~", DATABASE: "~"}.get(lane, worker)
    return worker, number, "consumer" in lane, lane


def find_lanes(rows: Sequence[Event]) -> list[str]:
    """Return the lanes of these rows, from left to right."""
    return sorted({lane for row in rows for lane in (row.source, row.target)}, key=place)


class Picture:
    """The diagram of these events, `width` pixels wide, or wider if the lanes need more."""

    def __init__(self, events: Sequence[Event], width: int = 1200, most: int = MOST) -> None:
        rows = fold(events)
        self.rows, self.left_out = rows[-most:], max(len(rows) - most, 0)
        lanes = find_lanes(self.rows)
        self.lane = max(LANE, (width - LEFT) // max(len(lanes), 1))
        self.width = LEFT + self.lane * len(lanes)
        self.height = ROW * len(self.rows) + LINE
        self.lines = max((len(lane.split()) for lane in lanes), default=1)  # of the titles
        self.top = LINE * self.lines + 10  # where the arrows begin
        self.x = {lane: LEFT + self.lane * (n + 0.5) for n, lane in enumerate(lanes)}

    def head(self) -> str:
        """Return the titles of the lanes, a word a line."""
        titles = []
        for lane, x in self.x.items():
            words = lane.split()
            for line, word in enumerate(words, 1 + self.lines - len(words)):
                text = f"<title>{escape(lane)}</title>{escape(fit(word, self.lane))}"
                titles.append(f'<text class="title" x="{x}" y="{LINE * line}">{text}</text>')
        return svg(self.width, self.top, *titles)

    def body(self, top: int = 0) -> str:
        """Return the life of each lane, then each row; `top` is where the SVG stands in another."""
        lives = []
        for lane, x in self.x.items():
            own = [n for n, row in enumerate(self.rows) if lane in (row.source, row.target)]
            bottom = ROW * (own[-1] + 1) if self.rows[own[-1]].kind in LAST else self.height
            lives.append(f'<path class="life" d="M{x} {ROW * own[0]}V{bottom}"/>')
        rows = ["".join(self.row(row, ROW * number)) for number, row in enumerate(self.rows)]
        return svg(self.width, self.height, *lives, *rows, top=top)

    def row(self, row: Event, top: int) -> Iterator[str]:
        """Yield one arrow with its words."""
        x1, x2, y = self.x[row.source], self.x[row.target], top + ROW - 8
        whole = escape(f"{row.at:.3f} s, {row.who}: {row.label}")
        yield f'<g class="row {row.colour}" role="img" tabindex="-1"><title>{whole}</title>'
        yield f'<rect class="hit" y="{top + 2}" width="{self.width}" height="{ROW - 2}"/>'
        yield f'<text class="time" x="{LEFT - 8}" y="{y}">{row.at:.1f}</text>'
        # The words begin at the arrow's left end, or end at its right end: where there is room.
        left, right = min(x1, x2) + 14, max(x1, x2) - 14
        words, anchor, x = fit(row.label, self.width - left), "start", left
        if words != row.label and right - LEFT > self.width - left:
            words, anchor, x = fit(row.label, right - LEFT), "end", right
        lift = y - 8 if x1 != x2 else y
        place = f'x="{x}" y="{lift}" text-anchor="{anchor}"'
        yield f'<text class="label" {place}>{escape(words)}</text>'
        # The arrow comes last: the ground around the letters must not cover its tip.
        back = 11 if x2 < x1 else -11
        if x1 != x2:
            yield f'<path class="arrow" d="M{x1} {y}H{x2 + back}"/>'
            yield f'<path class="tip" d="M{x2} {y}l{back} -5v10z"/>'
        elif row.kind in ("end", "error"):
            yield f'<path class="arrow" d="M{x1 - 6} {y - 12}l12 12m0 -12l-12 12"/>'
        else:
            yield f'<circle class="tip" cx="{x1}" cy="{y - 6}" r="6"/>'
        yield "</g>"

    def table(self) -> str:
        """Return the rows of an HTML table."""
        lines = []
        for row in self.rows:
            fields = f"{row.at:.3f}", row.who, row.label
            cells = "".join(f"<td>{escape(field)}</td>" for field in fields)
            lines.append(f'<tr class="{row.colour}">{cells}</tr>')
        return "".join(lines)


def svg(width: int, height: int, *content: str, top: int = 0) -> str:
    """Return an SVG element."""
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    start = f'<svg xmlns="http://www.w3.org/2000/svg" class="wire" y="{top}" {size}>'
    return "".join([start, *content, "</svg>"])


def static_svg(events: Sequence[Event]) -> str:
    """Return the whole diagram as one SVG file: light and dark, without a script."""
    picture = Picture(events, most=len(events))
    style = f"<style>{STYLE}.wire {{ background: var(--ground) }}</style>"
    height = picture.top + picture.height
    return svg(picture.width, height, style, picture.head(), picture.body(picture.top)) + "\n"


def mermaid(events: Sequence[Event]) -> str:
    """Return the diagram as a Mermaid text, for a README."""
    rows = fold(events)
    names = {lane: f"l{number}" for number, lane in enumerate(find_lanes(rows))}
    lines = [f"    participant {name} as {lane}" for lane, name in names.items()]
    for row in rows:
        arrow = "-x" if row.colour == "error" else "->>"
        # Mermaid has its own meaning for some signs.
        words = [f"#{ord(c)};" if c in "#;<>%&" else c for c in fit(row.label, 60 * LETTER)]
        lines.append(f"    {names[row.source]}{arrow}{names[row.target]}: {''.join(words)}")
    # Without this, each name stands below the diagram again.
    return "\n".join([HEAD, "sequenceDiagram", *lines]) + "\n"


def terminal_line(event: Event) -> str:
    """Return an event as one line of the terminal, aligned and coloured."""
    lane = 25 if "worker" in event.who else 13  # the length of "worker1 task Subscription"
    line = f"{event.at:9.3f}  {event.source:<{lane}} → {event.target:<{lane}}  {event.label}"
    width = shutil.get_terminal_size((160, 24)).columns
    return colour(fit(line, width * LETTER), COLOURS[event.colour][2])


def wire(name: str) -> int:
    """Write an SVG file and a Mermaid file beside the recording called `name`; return 0."""
    file = Path(name)
    try:
        lines = file.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file} cannot be read: {error}.") from None
    events = sorted(map(Event.from_json, filter(None, lines)), key=lambda event: event.at)
    for suffix, content in ((".svg", static_svg(events)), (".mmd", mermaid(events))):
        file.with_suffix(suffix).write_text(content, "utf-8", newline="\n")
        say(f"{len(events)} events are drawn in {file.with_suffix(suffix)}")
    return 0
