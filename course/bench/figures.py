"""From what the runs gave: medians with their spread, ratios with their goals, and a table."""

import statistics
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from course.bench.contenders import CONTENDERS
from course.bench.measures import Result
from course.terminal import colour

Run = dict[str, dict[str, Result]]  # results by contender and measure
FAULTS_SHOWN = 3  # of each contender


@dataclass(frozen=True)
class Figure:
    """A line of the table: the value `key` of what a measure gives, times `factor`."""

    measure: str
    key: str
    title: str
    factor: float = 1


# What each line means is said in docs/scaling.md.
FIGURES = (
    Figure("deliveries_100", "rate", "deliveries/s, room of 100"),
    Figure("deliveries_100", "cpu", "  server CPU µs each"),
    Figure("deliveries_100", "client", "  load, % of a core", 100),
    Figure("deliveries_500", "rate", "deliveries/s, room of 500"),
    Figure("deliveries_500", "cpu", "  server CPU µs each"),
    Figure("deliveries_500", "client", "  load, % of a core", 100),
    Figure("latency", "median", "latency ms, median"),
    Figure("latency", "p99", "latency ms, 99th percentile"),
    Figure("idle", "rate", "joins/s, empty room"),
    Figure("idle", "cpu", "  server CPU ms each"),
    Figure("joins", "rate", "joins/s, 50 messages shown"),
    Figure("joins", "cpu", "  server CPU ms each"),
    Figure("idle", "memory", "KiB per idle connection"),
    Figure("stored_1", "rate", "stored/s, one room"),
    Figure("stored_20", "rate", "stored/s, 20 rooms"),
)


@dataclass(frozen=True)
class Goal:
    """How step 5 on uvicorn should compare to another contender in a figure."""

    title: str
    measure: str
    key: str
    against: str
    least: float | None = None
    most: float | None = None

    def met(self, ratio: float) -> bool:
        """Tell whether a ratio is as it should be."""
        if self.least is not None and ratio < self.least:
            return False
        return self.most is None or ratio <= self.most

    @property
    def wanted(self) -> str:
        """The goal in words."""
        return f"at least {self.least:g}" if self.least is not None else f"at most {self.most:g}"


GOALS = (
    Goal("deliveries, room of 100", "deliveries_100", "rate", "tutorial", least=10),
    Goal("deliveries, room of 500", "deliveries_500", "rate", "tutorial", least=10),
    Goal("deliveries, room of 100", "deliveries_100", "rate", "raw", least=0.5),
    Goal("deliveries, room of 500", "deliveries_500", "rate", "raw", least=0.5),
    Goal("joins, empty room", "idle", "rate", "tutorial", least=1.5),
    Goal("memory per connection", "idle", "memory", "tutorial", most=1.3),
)


@dataclass(frozen=True)
class Spread:
    """The median of several values, and how far they lie apart."""

    median: float
    least: float
    most: float


def spread(values: list[float]) -> Spread | None:
    """Return the spread of some values; None where there is none."""
    if not values:
        return None
    return Spread(statistics.median(values), min(values), max(values))


def values(runs: list[Run], contender: str, measure: str, key: str) -> list[float]:
    """Return one figure of all runs, of those that have it."""
    found = (run.get(contender, {}).get(measure, {}).get(key) for run in runs)
    return [value for value in found if value is not None]


def ratio(runs: list[Run], goal: Goal) -> Spread | None:
    """Return how uvicorn compares to the other, run by run: what slows a run slows both."""
    found = []
    for run in runs:
        ours = values([run], "uvicorn", goal.measure, goal.key)
        theirs = values([run], goal.against, goal.measure, goal.key)
        if ours and theirs and theirs[0]:
            found.append(ours[0] / theirs[0])
    return spread(found)


def faults(results: dict[str, Any]) -> dict[str, list[str]]:
    """Return what each contender did wrong, by its name; only those that did."""
    found: dict[str, list[str]] = {}
    for number, run in enumerate(results["runs"], 1):
        for contender, measures in run.items():
            for name, result in measures.items():
                for fault in result["faults"]:
                    found.setdefault(contender, []).append(f"run {number}, {name}: {fault}")
    for fault in results["crowd"]["faults"]:
        found.setdefault("uvicorn", []).append(f"crowd: {fault}")
    return found


def short(value: float) -> str:
    """Write a number with three digits that count: 0.5, 12.3, 1,230, 123k."""
    if value >= 99_950:
        return f"{value / 1000:,.0f}k"
    if value >= 9_995:
        return f"{value / 1000:.1f}k"
    if value >= 99.95:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"


def table(runs: list[Run]) -> Iterator[str]:
    """Yield the lines of the table: a line of medians, and below from the least to the most."""
    yield colour(" " * 27 + "".join(f"{each.title:>13}" for each in CONTENDERS), "bold")
    for figure in FIGURES:
        found = [
            spread(
                [
                    value * figure.factor
                    for value in values(runs, c.name, figure.measure, figure.key)
                ]
            )
            for c in CONTENDERS
        ]
        cells = [short(each.median) if each else "–" for each in found]
        yield f"{figure.title:<27}" + "".join(f"{cell:>13}" for cell in cells)
        if len(runs) > 1 and not figure.title.startswith(" "):
            cells = [f"{short(e.least)}–{short(e.most)}" if e else "" for e in found]
            yield colour(" " * 27 + "".join(f"{cell:>13}" for cell in cells), "dim")


def goals(runs: list[Run]) -> Iterator[str]:
    """Yield a line for each goal: the ratio, its spread, and whether it is met."""
    titles = {contender.name: contender.title for contender in CONTENDERS}
    yield colour("step 5 on uvicorn against …", "bold")
    for goal in GOALS:
        found = ratio(runs, goal)
        if found is None:
            yield f"{titles[goal.against]:<11}{goal.title:<25}not measured"
            continue
        met = goal.met(found.median)
        verdict = colour("met", "green") if met else colour("not met", "yellow")
        apart = f"({short(found.least)}–{short(found.most)})"
        yield (
            f"{titles[goal.against]:<11}{goal.title:<25}{short(found.median):>5} × "
            f"{apart:<13} {goal.wanted:<13} {verdict}"
        )


def crowd_line(crowd: Result) -> str:
    """Say in a sentence what became of the crowd."""
    if "alive" not in crowd:
        return f"A crowd of {crowd['sockets']:,}: {crowd['faults'][0]}"
    return (
        f"{crowd['sockets']:,} idle connections on one uvicorn worker: {crowd['alive']:,} alive "
        f"after {crowd['pings']:,} pings; one message reached {crowd['reached']:,} in "
        f"{crowd['seconds']:.2f} s."
    )


def report(results: dict[str, Any]) -> Iterator[str]:
    """Yield all lines, for a terminal of 80 columns."""
    runs: list[Run] = results["runs"]
    yield from table(runs)
    yield ""
    yield from goals(runs)
    yield ""
    yield from textwrap.wrap(crowd_line(results["crowd"]), 79)
    for name, found in faults(results).items():
        yield ""
        yield colour(f"{name} is incorrect:", "red")
        for fault in found[:FAULTS_SHOWN]:
            yield from textwrap.wrap(fault, 79, initial_indent="  ", subsequent_indent="  ")
        if len(found) > FAULTS_SHOWN:
            yield f"  … and {len(found) - FAULTS_SHOWN} more"
