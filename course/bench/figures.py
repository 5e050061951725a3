"""Turn the results of the runs into medians with spread, ratios with goals, and a table."""

import statistics
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from course.bench.contenders import CONTENDERS, Contender
from course.bench.measures import Result
from course.core.terminal import colour

Run = dict[str, dict[str, Result]]  # results by contender and measure
FAULTS_SHOWN = 3  # for each contender


@dataclass(frozen=True)
class Figure:
    """A line of the table: the value `key` of a measure's result, times `factor`."""

    measure: str
    key: str
    title: str
    factor: float = 1


# docs/scaling.md says what each line means.
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
        """Tell whether a ratio meets the goal."""
        if self.least is not None and ratio < self.least:
            return False
        return self.most is None or ratio <= self.most

    @property
    def wanted(self) -> str:
        """The goal in words."""
        return f"at least {self.least:g}" if self.least is not None else f"at most {self.most:g}"


GOALS = (
    Goal("deliveries, room of 100", "deliveries_100", "rate", "tutorial", least=12),
    Goal("deliveries, room of 500", "deliveries_500", "rate", "tutorial", least=12),
    Goal("deliveries, room of 100", "deliveries_100", "rate", "raw", least=0.55),
    Goal("deliveries, room of 500", "deliveries_500", "rate", "raw", least=0.55),
    Goal("joins, empty room", "idle", "rate", "tutorial", least=1),
    Goal("memory per connection", "idle", "memory", "tutorial", most=1),
)


@dataclass(frozen=True)
class Spread:
    """The median of several values, and how far they lie apart."""

    median: float
    least: float
    most: float

    @property
    def apart(self) -> str:
        """Half the distance between the extremes, as a share of the median."""
        return f"± {(self.most - self.least) / 2 / self.median:.0%}" if self.median else ""


def spread(values: list[float]) -> Spread | None:
    """Return the spread of some values; None if there are no values."""
    if not values:
        return None
    return Spread(statistics.median(values), min(values), max(values))


def values(runs: list[Run], contender: str, measure: str, key: str) -> list[float]:
    """Return one figure of each run that has this figure."""
    found = (run.get(contender, {}).get(measure, {}).get(key) for run in runs)
    return [value for value in found if value is not None]


def ratio(runs: list[Run], goal: Goal) -> Spread | None:
    """Return the ratios of uvicorn to the other, each within one run: a slow run slows both."""
    found = []
    for run in runs:
        ours = values([run], "uvicorn", goal.measure, goal.key)
        theirs = values([run], goal.against, goal.measure, goal.key)
        if ours and theirs and theirs[0]:
            found.append(ours[0] / theirs[0])
    return spread(found)


def faults(results: dict[str, Any]) -> dict[str, list[str]]:
    """Return the faults by the name of the contender, for contenders that have faults."""
    found: dict[str, list[str]] = {}
    for number, run in enumerate(results["runs"], 1):
        for contender, measures in run.items():
            for name, result in measures.items():
                for fault in result["faults"]:
                    found.setdefault(contender, []).append(f"run {number}, {name}: {fault}")
    for fault in results.get("crowd", {}).get("faults", []):
        found.setdefault("uvicorn", []).append(f"crowd: {fault}")
    for fault in results.get("comeback", {}).get("faults", []):
        found.setdefault("uvicorn", []).append(f"comeback: {fault}")
    return found


def short(value: float) -> str:
    """Write a number with three significant digits: 0.5, 12.3, 1,230, 123k."""
    if value >= 99_950:
        return f"{value / 1000:,.0f}k"
    if value >= 9_995:
        return f"{value / 1000:.1f}k"
    if value >= 99.95:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"


def row(title: str, cells: Iterable[str]) -> str:
    """Return a line of the table."""
    return f"{title:<27}" + "".join(f"{cell:>10}" for cell in cells)


def table(runs: list[Run], contenders: Sequence[Contender], parts: bool) -> Iterator[str]:
    """Yield the lines of the table: a line of medians, and below each the spread of the runs.

    With `parts`, the second line compares each contender with the one before.
    """
    for number in (0, 1):
        yield colour(row("", (each.title[number] for each in contenders)), "bold")
    for figure in FIGURES:
        found = [
            spread([v * figure.factor for v in values(runs, c.name, figure.measure, figure.key)])
            for c in contenders
        ]
        if not any(found):
            continue
        yield row(figure.title, (short(each.median) if each else "–" for each in found))
        if figure.title.startswith(" "):
            continue
        if parts:
            ratios = [(b and a and b.median / a.median) or 0 for a, b in pairwise(found)]
            yield colour(row("", ["", *(f"× {short(ratio)}" for ratio in ratios)]), "dim")
        elif len(runs) > 1:
            yield colour(row("", (each.apart if each else "" for each in found)), "dim")


def missed(runs: list[Run]) -> list[Goal]:
    """Return the goals that were measured and not met."""
    return [goal for goal in GOALS if (found := ratio(runs, goal)) and not goal.met(found.median)]


def goals(runs: list[Run]) -> Iterator[str]:
    """Yield a line for each goal: the ratio, its spread, and whether it is met."""
    titles = {contender.name: " on ".join(contender.title) for contender in CONTENDERS}
    yield colour("step 5 on uvicorn against …", "bold")
    for goal in GOALS:
        found = ratio(runs, goal)
        if found is None:
            yield f"{titles[goal.against]:<20}{goal.title:<24}not measured"
            continue
        met = goal.met(found.median)
        verdict = colour("met", "green") if met else colour("missed", "yellow")
        yield (
            f"{titles[goal.against]:<20}{goal.title:<24}{short(found.median):>5} × "
            f"{found.apart:<6} {goal.wanted:<13} {verdict}"
        )


def whereabouts(runs: list[Run], goal: Goal, samples: list[tuple[str, float]]) -> str:
    """Say which packages take the processor time of a measure with a missed goal."""
    shares = [
        (values(runs, "uvicorn", goal.measure, "server"), "the worker"),
        (values(runs, "uvicorn", goal.measure, "client"), "the load"),
    ]
    busy = [f"{who} {statistics.median(share):.0%}" for share, who in shares if share]
    packages = [f"{package} {share:.0%}" for package, share in samples if share >= 0.02]
    return (
        f"{goal.title}: {' and '.join(busy)} of a core. "
        f"The worker's time by package: {', '.join(packages)}."
    )


def crowd_line(crowd: Result) -> str:
    """Say in a sentence how many of the crowd stayed connected and were reached."""
    if "alive" not in crowd:
        return f"A crowd of {crowd['sockets']:,}: {crowd['faults'][0]}"
    return (
        f"{crowd['sockets']:,} idle connections on one uvicorn worker: {crowd['alive']:,} alive "
        f"after {crowd['pings']:,} pings; one message reached {crowd['reached']:,} in "
        f"{crowd['seconds']:.2f} s."
    )


def comeback_line(results: dict[str, Any]) -> str:
    """Say in a sentence how long everybody needed to come back."""
    comeback = results["comeback"]
    if "all" not in comeback:
        return f"{results['crowd']['sockets']:,} pages come back at once: {comeback['faults'][0]}"
    return (
        f"{results['crowd']['sockets']:,} pages lost their worker, and came back to one worker at "
        f"once: half of them after {comeback['half']:.0f} s, all after {comeback['all']:.0f} s."
    )


def report(results: dict[str, Any], contenders: Sequence[Contender]) -> Iterator[str]:
    """Yield all lines, for a terminal of 80 columns."""
    runs: list[Run] = results["runs"]
    parts = contenders is not CONTENDERS
    yield from table(runs, contenders, parts)
    if not parts:
        yield ""
        yield from goals(runs)
        for goal in missed(runs):
            if samples := results["samples"].get(goal.measure):
                yield ""
                yield from textwrap.wrap(whereabouts(runs, goal, samples), 79)
        yield ""
        yield from textwrap.wrap(crowd_line(results["crowd"]), 79)
        yield ""
        yield from textwrap.wrap(comeback_line(results), 79)
    for name, found in faults(results).items():
        yield ""
        yield colour(f"{name} is incorrect:", "red")
        for fault in found[:FAULTS_SHOWN]:
            yield from textwrap.wrap(fault, 79, initial_indent="  ", subsequent_indent="  ")
        if len(found) > FAULTS_SHOWN:
            yield f"  … and {len(found) - FAULTS_SHOWN} more"
