"""`make scaling`: the tables of `docs/scaling.md`, from figures that are committed beside it."""

import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from statistics import median
from typing import Any

from course.bench.capacity import Need, largest, read_costs
from course.bench.contenders import CONTENDERS
from course.bench.driver import RESULTS
from course.bench.figures import FIGURES, GOALS, comeback_line, short, whereabouts
from course.core.steps import ROOT
from course.core.terminal import UserError, colour, say

PAGE = Path("docs") / "scaling.md"
KEPT = Path("docs") / "bench.json"
BLOCK = re.compile(r"(<!-- (\w+): made by make scaling -->\n).*?(<!-- end -->)", re.DOTALL)

# The number of people; the size of a room, and the messages of each person in a minute.
CASES = (
    (30, ((30, 6.0),)),
    (1_000, ((50, 1.0),)),
    (10_000, ((2, 1.0), (50, 1.0), (500, 0.5))),
    (100_000, ((2, 0.5), (50, 0.5), (1_000, 0.1))),
    (1_000_000, ((2, 0.2), (50, 0.2), (1_000, 0.01))),
    (100_000, ((100_000, 0.01),)),
)


def as_table(head: list[str], rows: Iterable[list[str]]) -> list[str]:
    """Return the lines of a table in Markdown; all columns but the first are right-aligned."""
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *rows]
    return [f"| {' | '.join(cells)} |" for cells in lines]


def ranged(values: list[float]) -> str:
    """Write the median of some values, and their range in brackets."""
    if not values:
        return "–"
    return f"**{short(median(values))}** ({short(min(values))}–{short(max(values))})"


def measured(results: dict[str, Any]) -> list[str]:
    """Return a description of machine and programs, and the table of medians."""
    runs, machine, versions = results["runs"], results["machine"], results["versions"]
    crowd = results["crowd"]
    rows = (
        [figure.title.strip(), *(ranged(figure.values(runs, each.name)) for each in CONTENDERS)]
        for figure in FIGURES
    )
    return [
        f"The median of {len(runs)} run{'s' if len(runs) > 1 else ''}, and the range in brackets. "
        f"The load, the databases and the server shared {machine['cpus']} cores "
        f"({machine['model']}). "
        f"Python {versions['python']}, Django {versions['django']}, Channels "
        f"{versions['channels']}, uvicorn {versions['uvicorn']}, Daphne {versions['daphne']}.",
        "",
        *as_table(["", *(" on ".join(each.title) for each in CONTENDERS)], rows),
        "",
        f"{crowd['sockets']:,} idle connections on one worker with uvicorn: {crowd['alive']:,} "
        f"stayed, and answered {crowd['pings']:,} pings. The worker used {crowd['server']:.1%} "
        f"of a core meanwhile. Then one message reached {crowd['reached']:,} in "
        f"{crowd['seconds']:.2f} s. {comeback_line(results)}",
    ]


def compared(results: dict[str, Any]) -> list[str]:
    """Return the table of ratios."""
    rows = (
        [goal.title, goal.other, ranged(found), goal.wanted, "met" if goal.met(found) else "missed"]
        for goal in GOALS
        if (found := goal.ratios(results["runs"]))
    )
    lines = as_table(["step 5 on uvicorn", "against", "ratio", "goal", ""], rows)
    return lines + [line for text in whereabouts(results) for line in ("", text)]


def costs(results: dict[str, Any]) -> list[str]:
    """Return the table of the costs that the model calculates with."""
    found = read_costs(results)
    rows = [
        ("handing one message to one socket", found["delivery"], "µs of a worker"),
        ("storing and publishing one message", found["message"], "µs of a worker"),
        ("hearing of one message through Redis", found["heard"], "µs of a worker"),
        ("one person coming back, when everybody does", found["join"], "µs of a worker"),
        ("storing one message", found["database_message"], "µs of PostgreSQL"),
        ("one person joining", found["database_join"], "µs of PostgreSQL"),
        ("comparing one room's counter", found["database_counter"], "µs of PostgreSQL"),
        ("one message", found["redis_message"], "µs of Redis"),
        ("… for each process that hears it", found["redis_subscriber"], "µs of Redis"),
        ("an idle connection", found["memory"], "KiB"),
        ("a worker with nobody", found["base"] / 1024, "MiB"),
        ("one room", found["room"], "messages stored per second"),
        ("idle connections seen on one worker", found["crowd"], "sockets"),
    ]
    return as_table(
        ["what", "figure", "unit"], ([what, short(figure), unit] for what, figure, unit in rows)
    )


def needs(results: dict[str, Any]) -> list[str]:
    """Return the table of the needs in all cases."""
    found = read_costs(results)
    rows = []
    for people, size, rate in ((people, *case) for people, cases in CASES for case in cases):
        need = Need(people, size, rate, found)
        first = largest(need.shares)
        share = need.shares[first]
        rows.append(
            {
                "people": f"{people:,}",
                "in a room": f"{size:,}",
                "messages a minute, each": f"{rate:g}",
                "messages / deliveries per second": (
                    f"{short(need.messages)} / {short(need.deliveries)}"
                ),
                "workers (because of)": f"{need.workers:,} ({largest(need.wanted)})",
                "their memory": f"{short(need.memory)} GiB",
                "Redis servers (messages × processes)": (
                    f"{need.redis_servers:,} ({short(need.published)})"
                ),
                "PostgreSQL's cores (writes + counters per second)": (
                    f"{short(need.database_cores)} "
                    f"({short(need.messages)} + {short(need.counters)})"
                ),
                "its connections, at most": f"{need.database_connections:,}",
                "network": f"{short(need.network)} Mbit/s",
                "all back after": f"{short(need.back)} s",
                "full first": f"{first} ({f'{share:.0%}' if share >= 0.01 else 'under 1%'})",
            }
        )
    return as_table([*rows[0]], ([*row.values()] for row in rows))


def page(text: str, results: dict[str, Any]) -> str:
    """Return the page with new tables; raise UserError if a table has no place in the page."""
    made = {table.__name__: table(results) for table in (measured, compared, costs, needs)}
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
