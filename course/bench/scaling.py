"""`make scaling`: the tables of `docs/scaling.md`, from figures that are committed beside it."""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from course.bench.capacity import Figures, Need, need, read_figures
from course.bench.contenders import CONTENDERS
from course.bench.driver import RESULTS
from course.bench.figures import (
    FIGURES,
    GOALS,
    comeback_line,
    missed,
    ratio,
    short,
    spread,
    values,
    whereabouts,
)
from course.core.steps import ROOT
from course.core.terminal import UserError, colour, say

PAGE = Path("docs") / "scaling.md"
KEPT = Path("docs") / "bench.json"
BLOCK = re.compile(r"(<!-- (\w+): made by make scaling -->\n).*?(<!-- end -->)", re.DOTALL)

# The number of people, the size of a room, and the messages of each person in a minute.
CASES = (
    (30, 30, 6.0),
    (1_000, 50, 1.0),
    (10_000, 2, 1.0),
    (10_000, 50, 1.0),
    (10_000, 500, 0.5),
    (100_000, 2, 0.5),
    (100_000, 50, 0.5),
    (100_000, 1_000, 0.1),
    (1_000_000, 2, 0.2),
    (1_000_000, 50, 0.2),
    (1_000_000, 1_000, 0.01),
    (100_000, 100_000, 0.01),
)


def as_table(head: list[str], rows: Iterator[list[str]]) -> list[str]:
    """Return the lines of a table in Markdown; all columns but the first are right-aligned."""
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *rows]
    return [f"| {' | '.join(cells)} |" for cells in lines]


def measured(results: dict[str, Any]) -> list[str]:
    """Return a description of machine and programs, and the table of medians."""

    def rows() -> Iterator[list[str]]:
        for figure in FIGURES:
            row = [figure.title.strip()]
            for contender in CONTENDERS:
                numbers = values(results["runs"], contender.name, figure.measure, figure.key)
                found = spread([number * figure.factor for number in numbers])
                if found:
                    apart = f"{short(found.least)}–{short(found.most)}"
                    row.append(f"**{short(found.median)}** ({apart})")
                else:
                    row.append("–")
            yield row

    machine, versions, crowd = results["machine"], results["versions"], results["crowd"]
    runs = len(results["runs"])
    return [
        f"The median of {runs} run{'s' if runs > 1 else ''}, and the range in brackets. The load, "
        f"the databases and the server shared {machine['cpus']} cores ({machine['model']}). "
        f"Python {versions['python']}, Django {versions['django']}, Channels "
        f"{versions['channels']}, uvicorn {versions['uvicorn']}, Daphne {versions['daphne']}.",
        "",
        *as_table(["", *(" on ".join(each.title) for each in CONTENDERS)], rows()),
        "",
        f"{crowd['sockets']:,} idle connections on one worker with uvicorn: {crowd['alive']:,} "
        f"stayed, and answered {crowd['pings']:,} pings. The worker used {crowd['server']:.1%} "
        f"of a core meanwhile. Then one message reached {crowd['reached']:,} in "
        f"{crowd['seconds']:.2f} s. {comeback_line(results)}",
    ]


def compared(results: dict[str, Any]) -> list[str]:
    """Return the table of ratios."""
    titles = {contender.name: " on ".join(contender.title) for contender in CONTENDERS}

    def rows() -> Iterator[list[str]]:
        for goal in GOALS:
            found = ratio(results["runs"], goal)
            if found:
                shown = f"**{short(found.median)}** ({short(found.least)}–{short(found.most)})"
                verdict = "met" if goal.met(found.median) else "missed"
                yield [goal.title, titles[goal.against], shown, goal.wanted, verdict]

    lines = as_table(["step 5 on uvicorn", "against", "ratio", "goal", ""], rows())
    for goal in missed(results["runs"]):
        if samples := results.get("samples", {}).get(goal.measure):
            lines += ["", whereabouts(results["runs"], goal, samples)]
    return lines


def costs(figures: Figures) -> list[str]:
    """Return the figures that the model calculates with."""
    rows = [
        ("handing one message to one socket", figures.delivery, "µs of a worker"),
        ("storing and publishing one message", figures.message, "µs of a worker"),
        ("hearing of one message through Redis", figures.heard, "µs of a worker"),
        ("one person coming back, when everybody does", figures.join, "µs of a worker"),
        ("storing one message", figures.database_message, "µs of PostgreSQL"),
        ("one person joining", figures.database_join, "µs of PostgreSQL"),
        ("comparing one room's counter", figures.database_counter, "µs of PostgreSQL"),
        ("one message", figures.redis_message, "µs of Redis"),
        ("… for each process that hears it", figures.redis_subscriber, "µs of Redis"),
        ("an idle connection", figures.memory, "KiB"),
        ("a worker with nobody", figures.base / 1024, "MiB"),
        ("one room", figures.room, "messages stored per second"),
        ("idle connections seen on one worker", figures.crowd, "sockets"),
    ]
    return as_table(
        ["what", "figure", "unit"], ([what, short(figure), unit] for what, figure, unit in rows)
    )


def percent(share: float) -> str:
    """Write a share as a percentage."""
    return f"{share:.0%}" if share >= 0.01 else "under 1%"


def row(case: tuple[int, int, float], found: Need) -> list[str]:
    """Return a row of the table of needs."""
    people, size, rate = case
    return [
        f"{people:,}",
        f"{size:,}",
        f"{rate:g}",
        f"{short(found.messages)} / {short(found.deliveries)}",
        f"{found.workers.count:,} ({found.workers.reason})",
        f"{short(found.memory)} GiB",
        f"{found.redis_servers:,} ({short(found.published)})",
        f"{short(found.database_cores)} ({short(found.writes)} + {short(found.counters)})",
        f"{found.database_connections:,}",
        f"{short(found.network)} Mbit/s",
        f"{short(found.back)} s",
        f"{found.first} ({percent(found.shares[found.first])})",
    ]


def needs(figures: Figures) -> list[str]:
    """Return the table of the needs in all cases."""
    head = ["people", "in a room", "messages a minute, each", "messages / deliveries per second"]
    head += ["workers (because of)", "their memory", "Redis servers (messages × processes)"]
    head += ["PostgreSQL's cores (writes + counters per second)", "its connections, at most"]
    head += ["network", "all back after", "full first"]
    rows = ([*row(case, need(*case, figures))] for case in CASES)
    return as_table(head, rows)


def blocks(results: dict[str, Any]) -> dict[str, list[str]]:
    """Return the generated parts of the page, by name."""
    figures = read_figures(results)
    return {
        "measured": measured(results),
        "compared": compared(results),
        "costs": costs(figures),
        "needs": needs(figures),
    }


def page(text: str, results: dict[str, Any]) -> str:
    """Return the page with new tables; raise UserError if a table has no place in the page."""
    made = blocks(results)
    if sorted(found[2] for found in BLOCK.finditer(text)) != sorted(made):
        raise UserError(f"{PAGE.as_posix()} needs one place for each of: {', '.join(made)}.")
    return BLOCK.sub(lambda found: found[1] + "\n".join(made[found[2]]) + "\n" + found[3], text)


def scaling(take: bool = False, check: bool = False, root: Path = ROOT) -> int:
    """Write the tables of the page, or with `check` only tell whether they are up to date.

    With `take`, first keep the latest figures of `make bench`. Return the exit code, which is 1 if
    the page is stale.
    """
    if take and not (root / RESULTS).exists():
        raise UserError("Nothing has been measured yet. Run: make bench")
    source = root / (RESULTS if take else KEPT)
    current = (root / PAGE).read_text("utf-8")
    try:
        text = page(current, json.loads(source.read_bytes()))
    except (KeyError, ValueError) as error:
        raise UserError(
            f"{source.name} lacks what the page needs ({error}): run make bench."
        ) from None
    if take:
        (root / KEPT).write_bytes(source.read_bytes())
    if check and current != text:
        stale = f"{PAGE.as_posix()} is not what {KEPT.as_posix()} says. Run: make scaling"
        print(colour(stale, "red", sys.stderr), file=sys.stderr)
        return 1
    if current != text:
        (root / PAGE).write_text(text, "utf-8", newline="\n")
    say(f"{PAGE.as_posix()}: {'up to date' if current == text else 'written'}.")
    return 0
