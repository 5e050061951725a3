"""The figures of `make bench` in tables: for a terminal, and for `docs/scaling.md`."""

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from statistics import median
from textwrap import wrap
from typing import Any

from course.bench.capacity import need, read_costs
from course.core.steps import ROOT
from course.core.terminal import UserError, colour, say

RESULTS = Path(".course") / "bench" / "results.json"
PAGE = Path("docs") / "scaling.md"
KEPT = Path("docs") / "bench.json"
BLOCK = re.compile(r"(<!-- (\w+): made by make scaling -->\n).*?(<!-- end -->)", re.DOTALL)
Result = dict[str, Any]
Runs = list[dict[str, dict[str, Result]]]  # for each run, results by contender and measure
Rows = list[list[str]]

TITLES = {
    "raw": "limit on websockets",
    "tutorial": "tutorial on Daphne",
    "pubsub": "tutorial on uvicorn",
    "daphne": "step 5 on Daphne",
    "uvicorn": "step 5 on uvicorn",
}
# The lines of the table: title, measure, key of its result. docs/scaling.md explains each line.
FIGURES = (
    ("deliveries/s, room of 100", "deliveries_100", "rate"),
    ("  server CPU µs each", "deliveries_100", "cpu"),
    ("  load, cores", "deliveries_100", "client"),
    ("deliveries/s, room of 500", "deliveries_500", "rate"),
    ("  server CPU µs each", "deliveries_500", "cpu"),
    ("  load, cores", "deliveries_500", "client"),
    ("latency ms, median", "latency", "median"),
    ("latency ms, 99th percentile", "latency", "p99"),
    ("joins/s, empty room", "idle", "rate"),
    ("  server CPU ms each", "idle", "cpu"),
    ("joins/s, 50 messages shown", "joins", "rate"),
    ("  server CPU ms each", "joins", "cpu"),
    ("KiB per idle connection", "idle", "memory"),
    ("stored/s, one room", "stored_1", "rate"),
    ("stored/s, 20 rooms", "stored_20", "rate"),
)
# How step 5 on uvicorn should compare to another contender: title, measure, key, the name of the
# other, and the bounds of the ratio.
GOALS = (
    ("deliveries, room of 100", "deliveries_100", "rate", "tutorial", "at least", 12),
    ("deliveries, room of 500", "deliveries_500", "rate", "tutorial", "at least", 12),
    ("deliveries, room of 100", "deliveries_100", "rate", "raw", "at least", 0.55),
    ("deliveries, room of 500", "deliveries_500", "rate", "raw", "at least", 0.55),
    ("joins, empty room", "idle", "rate", "tutorial", "at least", 1),
    ("memory per connection", "idle", "memory", "tutorial", "at most", 1),
)
# The number of people; the size of a room, and the messages of each person in a minute.
CASES = [
    *[(30, 30, 6), (1_000, 50, 1), (10_000, 2, 1), (10_000, 50, 1), (10_000, 500, 0.5)],
    *[(100_000, 2, 0.5), (100_000, 50, 0.5), (100_000, 1_000, 0.1), (1_000_000, 2, 0.2)],
    *[(1_000_000, 50, 0.2), (1_000_000, 1_000, 0.01), (100_000, 100_000, 0.01)],
]


def values(runs: Runs, name: str, measure: str, key: str, other: str = "") -> list[float]:
    """Return a figure of each run that has it; with `other`, the ratio to that contender's.

    A ratio is taken within one run: a slow run slows both.
    """
    found = []
    for run in runs:
        with suppress(KeyError, ZeroDivisionError):
            value = run[name][measure][key]
            found.append(value / run[other][measure][key] if other else value)
    return found


def short(value: float | str) -> str:
    """Write a number with three significant digits: 0.5, 12.3, 1,230, 123,000."""
    return value if isinstance(value, str) else f"{float(f'{value:.3g}'):,.10g}"


def cell(found: list[float], ranged: bool = False) -> str:
    """Write the median of some values, if asked for with their range in brackets."""
    text = short(median(found)) if found else "–"
    return f"{text} ({short(min(found))}–{short(max(found))})" if ranged and found else text


def measured(runs: Runs, names: Iterable[str], ranged: bool = False) -> Rows:
    """Return the lines of the figures that were measured."""
    rows = [
        [title, *(cell(values(runs, name, *figure), ranged) for name in names)]
        for title, *figure in FIGURES
    ]
    return [row for row in rows if set(row[1:]) != {"–"}]


def compared(runs: Runs, ranged: bool = False) -> Rows:
    """Return the table of the goals."""
    rows = [["step 5 on uvicorn", "against", "ratio", "goal", ""]]
    for title, measure, key, other, bound, goal in GOALS:
        found = values(runs, "uvicorn", measure, key, other)
        verdict = "–"
        if found:
            met = median(found) >= goal if bound == "at least" else median(found) <= goal
            verdict = "met" if met else "missed"
        rows.append([title, TITLES[other], cell(found, ranged), f"{bound} {goal:g}", verdict])
    return rows


def columns(rows: Rows) -> Iterator[str]:
    """Yield the lines of a table for a terminal; all columns but the first are right-aligned."""
    first, *widths = (max(map(len, column)) for column in zip(*rows, strict=True))
    for title, *cells in rows:
        aligned = (f"  {cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
        yield f"{title:<{first}}" + "".join(aligned)


def as_markdown(rows: Rows) -> str:
    """Return a table in Markdown; all columns but the first are right-aligned."""
    lines = [rows[0], ["---", *["--:"] * (len(rows[0]) - 1)], *rows[1:]]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def crowd_text(crowd: Result) -> str:
    """Say how long the return of a crowd takes, and how many people one worker can hold."""
    return (
        f"{crowd['sockets']:,} pages lost their worker, and came back to one worker with uvicorn "
        f"at once: half of them after {crowd['half']:.0f} s, all after {crowd['all']:.0f} s. Then "
        f"the worker used {crowd['server']:.1%} of a core for silent connections, and one message "
        f"reached {crowd['reached']:,} in {crowd['seconds']:.2f} s."
    )


def report(results: Result, titles: dict[str, str]) -> Iterator[str]:
    """Yield all lines for a terminal; compare the goals, or each part with the one before."""
    runs = results["runs"]
    head = [["", *words] for words in zip(*(t.split(" on ") for t in titles.values()), strict=True)]
    yield from columns([*head, *measured(runs, titles)])
    yield ""
    if titles is TITLES:
        yield from columns(compared(runs))
        if "half" in results["crowd"]:
            yield from ["", *wrap(crowd_text(results["crowd"]), 79)]
    else:
        for title, measure, key in FIGURES:
            found = [values(runs, part, measure, key, before) for before, part in pairwise(titles)]
            if any(found) and not title.startswith(" "):
                head.append([f"× {title}", "", *map(cell, found)])
        yield from columns(head)
    yield from (colour(f"\n{fault}", "red") for fault in results["faults"])


def page(text: str, results: Result) -> str:
    """Return the page with new tables; raise UserError if a table has no place in the page."""
    runs, machine, versions = results["runs"], results["machine"], results["versions"]
    costs = read_costs(results)
    needs = [need(*case, costs) for case in CASES]
    rows = [[*needs[0]], *([*map(short, row.values())] for row in needs)]
    patterns = {name: TITLES[name] for name in ("tutorial", "pubsub", "daphne", "uvicorn")}
    costs_each = [median(values(runs, name, "deliveries_500", "cpu")) for name in patterns]
    made = {
        "measured": (
            f"The median of {len(runs)} runs, and the range in brackets. The load, the databases "
            f"and the server shared {machine['cpus']} cores ({machine['model']}). Python "
            f"{versions['python']}, Django {versions['django']}, Channels {versions['channels']}, "
            f"uvicorn {versions['uvicorn']}, Daphne {versions['daphne']}.\n\n"
            + as_markdown([["", *TITLES.values()], *measured(runs, TITLES, ranged=True)])
            + f"\n\n{crowd_text(results['crowd'])}"
        ),
        "compared": as_markdown(compared(runs, ranged=True)),
        "plain": as_markdown(
            [
                ["", *patterns.values()],
                ["deliveries/s of half a core", *(short(500_000 / cost) for cost in costs_each)],
            ]
        ),
        "costs": as_markdown([["what", "cost"], *([k, short(v)] for k, v in costs.items())]),
        # Nobody can scroll paper, which has room for nine columns. The first two name a row.
        "needs": as_markdown([row[:9] for row in rows]),
        "shared": as_markdown([row[:2] + row[9:] for row in rows]),
    }
    if sorted(found[2] for found in BLOCK.finditer(text)) != sorted(made):
        raise UserError(f"{PAGE.as_posix()} needs one place for each of: {', '.join(made)}.")
    return BLOCK.sub(lambda found: found[1] + made[found[2]] + "\n" + found[3], text)


def scaling(take: bool = False, root: Path = ROOT) -> int:
    """Write the tables of the page, with `take` from the latest figures of `make bench`."""
    if take and not (root / RESULTS).exists():
        raise UserError("Nothing has been measured yet. Run: make bench")
    source = root / (RESULTS if take else KEPT)
    current = (root / PAGE).read_text("utf-8")
    try:
        text = page(current, json.loads(source.read_bytes()))
    except (KeyError, ValueError) as error:
        sentence = f"{source.name} lacks what the page needs ({error}): run make bench."
        raise UserError(sentence) from None
    if take:
        (root / KEPT).write_bytes(source.read_bytes())
    if current != text:
        (root / PAGE).write_text(text, "utf-8", newline="\n")
    say(f"{PAGE.as_posix()}: {'up to date' if current == text else 'written'}.")
    return 0
