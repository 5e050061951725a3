"""Prove that each step's new tests fail on the step before, and for what is missing there.

A test that passes before its concept is there proves nothing, and one that fails because it
cannot even be imported shows nothing. Each step's new tests run on a copy of the step before,
in `.course/red/<step>/`; that they pass on their own step is for the step's own run to say.
"""

import fnmatch
import re
import shutil
import subprocess
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from course import environment
from course.manifest import TEST_FILE, Entry, Midpoint, load, read_step
from course.processes import clean_environment, start_job, stop
from course.results import NO_HYPOTHESIS, PYTEST_OPTIONS, Test, read_junit, write_junit
from course.steps import ROOT, Step, all_steps, copy_files, find_step, step_files
from course.terminal import LiveLine, UserError, colour, say

AT_ONCE = 2
SILENT_FOR = 60.0  # seconds without a word from pytest, after which a test hangs
WAITS_FOR = 1.5  # seconds: a second, and room for a busy machine
GIST = 160  # characters

# What a test may fail with where its concept is missing: the start of pytest's message.
RIGHT_REASONS = re.compile(
    r"""
      assert\ | AssertionError | Failed:\ DID\ NOT\ RAISE | Failed:\ DID\ NOT\ WARN
    | (\w+\.)* (InvalidStatus | InvalidHandshake) \b
    | (\w+\.)* ConnectionClosed (OK | Error)? \b
    | (\w+\.)* ConnectionRefusedError \b
    | (\w+\.)* (ConnectionError | ConnectError) :.* refused
    | ValueError:\ No\ route\ found\ for\ path
    | (\w+\.)* OperationalError:\ no\ such\ table
    | (\w+\.)* JSONDecodeError \b
    | TypeError:.* NoneType
    | AttributeError:\ 'NoneType'\ object
    | KeyError:
    """,
    re.VERBOSE,
)
RAN = (0, 1)  # pytest's exit codes: all passed, some failed
WAITING = re.compile(r"(\w+\.)*(\w*TimeoutError|TimeoutExpired|\w*Timeout)\b")
IMPORT_ERROR = re.compile(r"\b(ImportError|ModuleNotFoundError|SyntaxError|IndentationError): .*")
ON_SETUP = re.compile(r'failed on setup with "(.*)"\Z', re.DOTALL)
ON_TEARDOWN = re.compile(r'failed on teardown with "(.*)"\Z', re.DOTALL)
NO_FIXTURE = re.compile(r"fixture '\w+' not found")


@dataclass(frozen=True)
class Pair:
    """A step, the step before it, and what of its tests is new: files, or single tests."""

    step: Step
    before: Step
    new: list[str]


@dataclass
class Red:
    """The new tests of a step as they run on the step before: where, and since when."""

    pair: Pair
    folder: Path
    process: subprocess.Popen[bytes]
    started: float

    @property
    def log(self) -> Path:
        """What pytest prints, each test named before it runs."""
        return self.folder.with_suffix(".log")

    @property
    def junit(self) -> Path:
        """What pytest says at its end."""
        return self.folder.with_suffix(".xml")

    @property
    def silent(self) -> float:
        """For how many seconds pytest has said nothing."""
        return time.time() - self.log.stat().st_mtime


@dataclass
class Verdict:
    """What a step's new tests came to: one result a file, and a sentence for each complaint."""

    pair: Pair
    seconds: float
    count: int = 0
    results: list[Test] = field(default_factory=list)
    sentences: list[str] = field(default_factory=list)


def new_tests(entry: Entry, before: Midpoint, after: Midpoint) -> list[str]:
    """Return what pytest is asked for: added files, and the added tests of changed files."""
    new = fnmatch.filter(entry.adds, TEST_FILE)
    for path in fnmatch.filter(entry.changes, TEST_FILE):
        new += [f"{path}::{test}" for test in sorted(after.tests(path) - before.tests(path))]
    return new


def pairs(root: Path) -> list[Pair]:
    """Return each step that has one before it, with that."""
    entries, steps = load(root), all_steps(root)
    trees = [read_step(step) for step in steps]
    return [
        Pair(steps[n], steps[n - 1], new_tests(entries[n], trees[n - 1], trees[n]))
        for n in range(1, len(steps))
    ]


def lay_out(pair: Pair, folder: Path) -> None:
    """Make `folder` the step before with the tests, and the pytest.ini, of the step."""
    shutil.rmtree(folder, ignore_errors=True)
    ours = [file for file in step_files(pair.step.folder) if is_of_tests(file)]
    theirs = [file for file in step_files(pair.before.folder) if not is_of_tests(file)]
    copy_files(theirs, pair.before.folder, folder)
    copy_files(ours, pair.step.folder, folder)


def is_of_tests(file: Path) -> bool:
    """Tell whether a file of a step belongs to its tests."""
    return file.parts[0] == "tests" or file == Path("pytest.ini")


def start(pair: Pair, python: Path, folder: Path) -> Red:
    """Start the new tests of a step on the step before."""
    lay_out(pair, folder)
    env = clean_environment() | {"PYTHONUNBUFFERED": "1"}
    junit, log = folder.with_suffix(".xml"), folder.with_suffix(".log")
    junit.unlink(missing_ok=True)
    # Verbose, so that the last line names the test that hangs; the time is the test's own,
    # without the server that its fixtures start.
    options = [*PYTEST_OPTIONS, *NO_HYPOTHESIS, "-vv", "--continue-on-collection-errors"]
    options += ["-o", "junit_duration_report=call", f"--junitxml={junit.resolve()}"]
    command = [str(python), "-m", "pytest", *options, *pair.new]
    return Red(pair, folder, start_job(command, log, folder, env), time.monotonic())


def gist(message: str) -> str:
    """Return what matters of pytest's message, on one line."""
    found = NO_FIXTURE.search(message) or IMPORT_ERROR.search(message)
    line = found[0] if found else " ".join(message.strip().split("\n", 1)[0].split())
    return line if len(line) <= GIST else f"{line[: GIST - 1]}…"


def complaint(test: Test, before: str) -> str:
    """Return what is wrong with what a test did on the step `before`; empty if nothing is.

    The text goes on after the test's name: `passes on step01_echo already …`.
    """
    if test.outcome == "passed":
        return f"passes on {before} already: it proves nothing"
    if test.outcome == "skipped":
        return ""
    if cleaning := ON_TEARDOWN.match(test.message):
        return f"passes on {before}, where only its cleaning up fails: {gist(cleaning[1])}"
    on_setup = ON_SETUP.match(test.message)
    message = on_setup[1] if on_setup else test.message
    if WAITING.match(message):
        if not on_setup and test.seconds <= WAITS_FOR:
            return ""
        place = "in a fixture" if on_setup else f"for {test.seconds:.1f} s"
        return f"waits {place} on {before} for what cannot come: {gist(message)}"
    if IMPORT_ERROR.search(message):
        return f"fails on {before} because something cannot be imported: {gist(message)}"
    if not RIGHT_REASONS.match(message):
        return f"fails on {before} for the wrong reason: {gist(message)}"
    return ""


def full_stop(text: str) -> str:
    """Return a text that ends as a sentence does."""
    return text if text.endswith((".", "!", "…")) else f"{text}."


def breakdown(red: Red, code: int, hung: str) -> str:
    """Return why the tests of a step could not all run, as a sentence; empty if they did.

    `code` is pytest's exit code, `hung` the test that had to be stopped.
    """
    step, before = red.pair.step.label, red.pair.before.label
    if hung:
        return f"{step}: {hung} hangs on {before} and was stopped."
    if code in RAN and red.junit.is_file():
        return ""
    printed = red.log.read_text("utf-8", errors="replace").strip()
    found = IMPORT_ERROR.search(printed)
    why = found[0] if found else printed.rpartition("\n")[2]
    return full_stop(f"{step}: its tests do not run on {before} (exit code {code}): {gist(why)}")


def judge_file(file: str, tests: Sequence[Test], pair: Pair, broken: str) -> tuple[Test, list[str]]:
    """Return the result of one file of new tests, and its sentences of complaint."""
    step, before = pair.step.label, pair.before.label
    seconds = sum(test.seconds for test in tests)
    texts = [(test.id, complaint(test, before)) for test in tests]
    sentences = [full_stop(f"{step}: {name} {text}") for name, text in texts if text]
    if broken:
        sentences.append(broken)
    elif not tests:
        sentences.append(f"{step}: {file} holds no test that runs on {before}.")
    skips = sorted({test.message for test in tests if test.outcome == "skipped"})
    outcome = "failed" if sentences else "skipped" if skips else "passed"
    message = "\n".join(sentences or skips)
    return Test(f"{step}/{file}", outcome, seconds, message), sentences


def verdict(red: Red, code: int, hung: str = "") -> Verdict:
    """Return what the new tests of a step came to."""
    made = Verdict(red.pair, time.monotonic() - red.started)
    broken = breakdown(red, code, hung)
    try:
        tests = read_junit(red.junit)
    except (OSError, ElementTree.ParseError):
        tests = []
    for file in dict.fromkeys(name.partition("::")[0] for name in red.pair.new):
        own = [test for test in tests if test.id.partition("::")[0] == file]
        result, sentences = judge_file(file, own, red.pair, broken)
        made.results.append(result)
        made.sentences += [text for text in sentences if text not in made.sentences]
    made.count = sum(test.outcome == "failed" for test in tests)
    return made


def running_test(log: Path) -> str:
    """Return the id of the test that pytest names last: the one that runs, or hangs."""
    lines = log.read_text("utf-8", errors="replace").strip().splitlines() or ["its start"]
    named = [line for line in lines if line.startswith("tests/")]
    return (named or lines)[-1].strip()


def finish(red: Red, silent_for: float) -> Verdict | None:
    """Return the verdict once pytest has ended or has been silent for too long, else None."""
    code = red.process.poll()
    if code is not None:
        stop(red.process)
        return verdict(red, code)
    if red.silent < silent_for:
        return None
    hung = running_test(red.log)
    stop(red.process)
    return verdict(red, -1, hung)


def tell(verdict: Verdict) -> None:
    """Print what came out for one step."""
    step, before = verdict.pair.step.label, verdict.pair.before.label
    if not verdict.sentences:
        text = f"{step}: all {verdict.count} new tests fail on {before}, as they should"
        say(f"{text} ({verdict.seconds:.1f} s)")
    for text in verdict.sentences:
        say(colour(text, "red"))
    for result in verdict.results:
        if result.outcome == "skipped":
            say(f"{result.id}: skipped: {result.message}")


def run_pairs(
    waiting: list[Pair], python: Path, state: Path, silent_for: float = SILENT_FOR
) -> list[Verdict]:
    """Run the new tests of each pair in a folder under `state`, showing progress.

    A test during which pytest says nothing for `silent_for` seconds is stopped and named.
    """
    waiting, running, verdicts = list(waiting), list[Red](), list[Verdict]()
    line = LiveLine()
    try:
        while waiting or running:
            while waiting and len(running) < AT_ONCE:
                # The last steps take longest, so they start first.
                pair = waiting.pop()
                running.append(start(pair, python, state / pair.step.label))
            for red in list(running):
                if made := finish(red, silent_for):
                    running.remove(red)
                    verdicts.append(made)
                    line.clear()
                    tell(made)
            shown = (f"{red.pair.step.label} on {red.pair.before.label}" for red in running)
            line.show(f"{len(waiting)} waiting, running: {', '.join(shown)}")
            time.sleep(0.1)
    finally:
        line.clear()
        stop(*(red.process for red in running))
    return verdicts


def choose(wanted: str | None, root: Path) -> list[Pair]:
    """Return the pairs to run: all, or the one of the step called `wanted`."""
    found = pairs(root)
    if wanted is None:
        if not found:
            raise UserError("No step here has one before it.")
        return found
    step = find_step(wanted, root)
    chosen = [pair for pair in found if pair.step == step]
    if not chosen:
        raise UserError(f"{step.label} is the first step: there is none on which it could fail.")
    return chosen


def redgreen(wanted: str | None = None, results: Path | None = None, root: Path = ROOT) -> int:
    """Check that new tests fail on the step before; return 0, or 1 after naming those that don't.

    With `wanted`, only those of one step. With `results`, a folder, each file of new tests
    leaves a JUnit file there.
    """
    chosen = choose(wanted, root)
    python = environment.ensure_everything(root)
    state = root / ".course" / "red"
    state.mkdir(parents=True, exist_ok=True)
    empty = [pair.step.label for pair in chosen if not pair.new]
    for label in empty:
        say(colour(f"{label}: it brings no test, so nothing proves what it is about.", "red"))
    verdicts = run_pairs([pair for pair in chosen if pair.new], python, state)
    if results:
        results.mkdir(parents=True, exist_ok=True)
        for result in (result for made in verdicts for result in made.results):
            name = result.id.partition(".py")[0].replace("/", "-")
            write_junit(result, results / f"{name}.xml")
    return 1 if empty or any(made.sentences for made in verdicts) else 0
