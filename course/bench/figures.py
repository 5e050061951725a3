"""Turn the results of the runs into medians with spread, ratios with goals, and a table."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf
from statistics import median
from textwrap import wrap
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

    def values(self, runs: list[Run], contender: str) -> list[float]:
        """Return the figure of each run that has it."""
        found = (run.get(contender, {}).get(self.measure, {}).get(self.key) for run in runs)
        return [value * self.factor for value in found if value is not None]


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


@dataclass(frozen=True, kw_only=True)
class Goal(Figure):
    """How step 5 on uvicorn should compare to the contender `against` in a figure."""

    against: str
    least: float = 0
    most: float = inf

    @property
    def wanted(self) -> str:
        """The goal in words."""
        return f"at least {self.least:g}" if self.least else f"at most {self.most:g}"

    @property
    def other(self) -> str:
        """The name of the other contender, for people."""
        return next(" on ".join(each.title) for each in CONTENDERS if each.name == self.against)

    def ratios(self, runs: list[Run]) -> list[float]:
        """Return uvicorn's value over the other's, each within one run: a slow run slows both."""
        found = ((self.values([run], "uvicorn"), self.values([run], self.against)) for run in runs)
        return [ours[0] / theirs[0] for ours, theirs in found if ours and theirs and theirs[0]]

    def met(self, ratios: list[float]) -> bool:
        """Tell whether the median of at least one ratio meets the goal."""
        return self.least <= median(ratios) <= self.most


GOALS = (
    Goal("deliveries_100", "rate", "deliveries, room of 100", against="tutorial", least=12),
    Goal("deliveries_500", "rate", "deliveries, room of 500", against="tutorial", least=12),
    Goal("deliveries_100", "rate", "deliveries, room of 100", against="raw", least=0.55),
    Goal("deliveries_500", "rate", "deliveries, room of 500", against="raw", least=0.55),
    Goal("idle", "rate", "joins, empty room", against="tutorial", least=1),
    Goal("idle", "memory", "memory per connection", against="tutorial", most=1),
)


def missed(runs: list[Run]) -> list[Goal]:
    """Return the goals that were measured and not met."""
    return [goal for goal in GOALS if (found := goal.ratios(runs)) and not goal.met(found)]


def faults(results: dict[str, Any]) -> dict[str, list[str]]:
    """Return the faults by the name of the contender, for contenders that have faults."""
    found: dict[str, list[str]] = {}
    for number, run in enumerate(results["runs"], 1):
        for contender, measures in run.items():
            for name, result in measures.items():
                for fault in result["faults"]:
                    found.setdefault(contender, []).append(f"run {number}, {name}: {fault}")
    for name in ("crowd", "comeback"):
        for fault in results.get(name, {}).get("faults", []):
            found.setdefault("uvicorn", []).append(f"{name}: {fault}")
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


def apart(values: list[float]) -> str:
    """Write half the distance between the extremes, as a share of the median."""
    if not values or not median(values):
        return ""
    return f"± {(max(values) - min(values)) / 2 / median(values):.0%}"


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
        found = [figure.values(runs, each.name) for each in contenders]
        if not any(found):
            continue
        yield row(figure.title, (short(median(each)) if each else "–" for each in found))
        if figure.title.startswith(" "):
            continue
        if parts:
            ratios = (median(b) / median(a) if a and b else 0 for a, b in pairwise(found))
            yield colour(row("", ["", *(f"× {short(ratio)}" for ratio in ratios)]), "dim")
        elif len(runs) > 1:
            yield colour(row("", map(apart, found)), "dim")


def goals(runs: list[Run]) -> Iterator[str]:
    """Yield a line for each goal: the ratio, its spread, and whether it is met."""
    yield colour("step 5 on uvicorn against …", "bold")
    for goal in GOALS:
        line = f"{goal.other:<20}{goal.title:<24}"
        if not (found := goal.ratios(runs)):
            yield f"{line}not measured"
            continue
        verdict = colour("met", "green") if goal.met(found) else colour("missed", "yellow")
        yield f"{line}{short(median(found)):>5} × {apart(found):<6} {goal.wanted:<13} {verdict}"


def whereabouts(results: dict[str, Any]) -> Iterator[str]:
    """Say for each missed goal that was sampled which packages take the processor time."""
    for goal in missed(results["runs"]):
        if not (samples := results["samples"].get(goal.measure)):
            continue
        busy = [
            f"{who} {median(shares):.0%}"
            for who, key in (("the worker", "server"), ("the load", "client"))
            if (shares := Figure(goal.measure, key, "").values(results["runs"], "uvicorn"))
        ]
        packages = [f"{package} {share:.0%}" for package, share in samples if share >= 0.02]
        yield (
            f"{goal.title}: {' and '.join(busy)} of a core. "
            f"The worker's time by package: {', '.join(packages)}."
        )


def comeback_line(results: dict[str, Any]) -> str:
    """Say in a sentence how long everybody needed to come back."""
    comeback = results["comeback"]
    return (
        f"{results['crowd']['sockets']:,} pages lost their worker, and came back to one worker at "
        f"once: half of them after {comeback['half']:.0f} s, all after {comeback['all']:.0f} s."
    )


def report(results: dict[str, Any], contenders: Sequence[Contender]) -> Iterator[str]:
    """Yield all lines, for a terminal of 80 columns."""
    runs: list[Run] = results["runs"]
    parts = contenders is not CONTENDERS
    yield from table(runs, contenders, parts)
    texts: list[str] = []
    if not parts:
        yield ""
        yield from goals(runs)
        texts += whereabouts(results)
        crowd = results["crowd"]
        if "alive" in crowd:
            texts.append(
                f"{crowd['sockets']:,} idle connections on one uvicorn worker: "
                f"{crowd['alive']:,} alive after {crowd['pings']:,} pings; "
                f"one message reached {crowd['reached']:,} in {crowd['seconds']:.2f} s."
            )
        if "all" in results["comeback"]:
            texts.append(comeback_line(results))
    for text in texts:
        yield from ["", *wrap(text, 79)]
    for name, found in faults(results).items():
        yield ""
        yield colour(f"{name} is incorrect:", "red")
        for fault in found[:FAULTS_SHOWN]:
            yield from wrap(fault, 79, initial_indent="  ", subsequent_indent="  ")
        if len(found) > FAULTS_SHOWN:
            yield f"  … and {len(found) - FAULTS_SHOWN} more"
