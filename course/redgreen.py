"""Prove that the new tests of each part fail on the mid-point before, for what is missing there.

A test that passes before its concept is there proves nothing, and neither does one that fails by a
mistake of its own. So the new tests of a part run on a copy of the mid-point before (red), and on
a copy of its own mid-point (green), which also has to run: both in `.course/red/`. The last
mid-point is the step, and the step's own job runs all of its tests.
"""

import re
import shutil
import subprocess
import symtable
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

from course import environment
from course.manifest import Midpoint, chain, changed_tests, difference
from course.parts import find_midpoint, lay_out
from course.processes import clean_environment, start_job, stop
from course.results import NO_HYPOTHESIS, PYTEST_OPTIONS, Test, read_junit, write_junit
from course.run import HOST, free_port
from course.standalone import ProofFailed, ask
from course.steps import ROOT, all_steps, find_step
from course.terminal import LiveLine, UserError, colour, say

AT_ONCE = 2
SILENT_FOR = 60.0  # seconds without a word from pytest, after which a test hangs
WAITS_FOR = 1.5  # seconds: a second, and room for a busy machine
GIST = 160  # characters

# The right reasons to fail where the concept is missing: how pytest's message starts.
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
# A module that is missing; or a name, and the module that should have it.
MISSING = re.compile(
    r"(?:collection failure: )?(?:ModuleNotFoundError: No module named '([\w.]+)'"
    r"|ImportError: cannot import name '(\w+)' from '([\w.]+)')"
)
IMPORT_ERROR = re.compile(r"\b(ImportError|ModuleNotFoundError|SyntaxError|IndentationError): .*")
ON_SETUP = re.compile(r'failed on setup with "(.*)"\Z', re.DOTALL)
ON_TEARDOWN = re.compile(r'failed on teardown with "(.*)"\Z', re.DOTALL)
NO_FIXTURE = re.compile(r"fixture '\w+' not found")


# Django's commands, one after the other in one process: importing Django takes longer than they do.
PROOF = """
import sys, manage
server = f"runserver {sys.argv[1]} --noreload"
for command in ("check", "makemigrations --check", "migrate", server):
    print("$ manage.py", command, flush=True)
    sys.argv = ["manage.py", *command.split()]
    if code := manage.main():
        sys.exit(code)
"""


@dataclass(frozen=True)
class Pair:
    """A mid-point, the one before it, and the files of tests that are new or have new tests.

    `old` gives for each of these files the tests that the mid-point before has already.
    """

    before: Midpoint
    after: Midpoint
    is_last: bool
    old: dict[str, set[str]]

    def is_new(self, test: Test) -> bool:
        """Tell whether a test, or a file of tests that could not be read, is new."""
        path, _, name = test.id.partition("::")
        return path in self.old and name.partition("[")[0] not in self.old[path]

    def count(self, test: Test) -> int:
        """Return how many new tests a result stands for: all of a file that could not be read."""
        path, _, name = test.id.partition("::")
        return 1 if name else len(self.after.tests(path) - self.old[path])


@dataclass
class Trial:
    """New tests as they run on a mid-point, `on`: where, and since when."""

    pair: Pair
    on: Midpoint
    folder: Path
    process: subprocess.Popen[bytes]
    started: float

    @property
    def is_red(self) -> bool:
        """Tell whether the tests have to fail."""
        return self.on is self.pair.before

    @property
    def log(self) -> Path:
        """The output of pytest, which names each test before it runs."""
        return self.folder.with_suffix(".log")

    @property
    def junit(self) -> Path:
        """The results, which pytest writes at its end."""
        return self.folder.with_suffix(".xml")

    @property
    def silent(self) -> float:
        """For how many seconds pytest has said nothing."""
        return time.time() - self.log.stat().st_mtime


@dataclass
class Verdict:
    """The outcome of new tests: one result a file, and a sentence for each complaint."""

    pair: Pair
    on: Midpoint
    seconds: float
    count: int = 0
    results: list[Test] = field(default_factory=list)
    sentences: list[str] = field(default_factory=list)


def pairs(root: Path) -> list[Pair]:
    """Return each mid-point that has one before it, with that."""
    found = []
    for points in (chain(step, root) for step in all_steps(root)):
        for before, after in pairwise(points):
            old = {
                path: before.tests(path)
                for path in changed_tests(before, after)
                if path not in before.files or after.tests(path) - before.tests(path)
            }
            found.append(Pair(before, after, after is points[-1], old))
    return found


def is_of_tests(path: str) -> bool:
    """Tell whether a file of a step belongs to its tests."""
    return path.startswith("tests/") or path == "pytest.ini"


def files_for(pair: Pair, on: Midpoint) -> Midpoint:
    """Return a mid-point with the tests, and the pytest.ini, of the later one of the pair."""
    files = {path: file for path, file in on.files.items() if not is_of_tests(path)}
    return replace(
        on,
        files=files
        | {path: pair.after.files[path] for path in filter(is_of_tests, pair.after.files)},
    )


def prove(folder: Path, python: Path, env: dict[str, str]) -> None:
    """Check, migrate and serve what `folder` holds; raise ProofFailed if it does not run."""
    log, address = folder.with_suffix(".log"), f"{HOST}:{free_port()}"
    server = start_job([str(python), "-c", PROOF, address], log, folder, env)
    try:
        ask(server, f"http://{address}/")
    except ProofFailed:
        if server.poll() is None:
            raise
        lines = log.read_text("utf-8", errors="replace").strip().splitlines() or ["nothing"]
        command = [line[2:] for line in lines if line.startswith("$ ")][-1:] or ["manage.py"]
        raise ProofFailed(
            f"`{command[0]}` ended with exit code {server.returncode} and said last: "
            f"{gist(lines[-1])}"
        ) from None
    finally:
        stop(server)


def start(pair: Pair, on: Midpoint, python: Path, state: Path) -> Trial:
    """Start the new tests of a pair on one of its mid-points, in a folder under `state`.

    Raises ProofFailed where the later one of them does not run.
    """
    started = time.monotonic()
    folder = state / f"{pair.after.label}-on-{on.label}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    lay_out(files_for(pair, on), folder)
    env = clean_environment() | {"PYTHONUNBUFFERED": "1"}
    if on is pair.after:
        prove(folder, python, env)
    junit, log = folder.with_suffix(".xml"), folder.with_suffix(".log")
    junit.unlink(missing_ok=True)
    # Verbose, so that the last line names the test that hangs; the time is the test's own,
    # without the server that its fixtures start.
    options = [*PYTEST_OPTIONS, *NO_HYPOTHESIS, "-vv", "--continue-on-collection-errors"]
    options += ["-o", "junit_duration_report=call", f"--junitxml={junit.resolve()}"]
    # By their files: pytest runs nothing at all if it is asked for one test of a file that it
    # cannot read. It leaves out every test whose name begins like the one that it is told.
    new = {f"{path}::{name}" for path in pair.old for name in pair.after.tests(path)}
    old = {f"{path}::{name}" for path, names in pair.old.items() for name in names}
    options += [
        f"--deselect={one}" for one in old if not any(test.startswith(one) for test in new - old)
    ]
    command = [str(python), "-m", "pytest", *options, *pair.old]
    return Trial(pair, on, folder, start_job(command, log, folder, env), started)


def gist(message: str) -> str:
    """Return what matters of pytest's message, on one line."""
    found = NO_FIXTURE.search(message) or IMPORT_ERROR.search(message)
    line = found[0] if found else " ".join(message.strip().split("\n", 1)[0].split())
    return line if len(line) <= GIST else f"{line[: GIST - 1]}…"


def adds_module(pair: Pair, module: str) -> bool:
    """Tell whether the later mid-point of a pair adds a module, or a package."""
    path = module.replace(".", "/")
    found = difference(pair.before, pair.after)
    added = [name for name, verb in found.items() if verb == "adds"]
    return any(name == f"{path}.py" or name.startswith(f"{path}/") for name in added)


def defined(midpoint: Midpoint, module: str) -> set[str]:
    """Return the names that a module of a mid-point defines or imports."""
    path = module.replace(".", "/")
    for name in (f"{path}.py", f"{path}/__init__.py"):
        if name in midpoint.files:
            symbols = symtable.symtable(midpoint.text(name).decode(), name, "exec").get_symbols()
            return {each.get_name() for each in symbols if each.is_assigned() or each.is_imported()}
    return set()


def waits_for_the_part(message: str, pair: Pair) -> bool:
    """Tell whether an import fails for nothing but what the later one of a pair brings."""
    found = MISSING.match(message)
    if not found:
        return False
    module, name, source = found.groups()
    if module or adds_module(pair, f"{source}.{name}"):
        return adds_module(pair, module or f"{source}.{name}")
    return name in defined(pair.after, source) - defined(pair.before, source)


def complaint(test: Test, pair: Pair) -> str:
    """Return what is wrong with what a test did on the mid-point before; empty if nothing is.

    The text goes on after the test's name: `passes on step01_echo already …`.
    """
    before = pair.before.label
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
        if waits_for_the_part(message, pair):
            return ""
        return f"fails on {before} because something cannot be imported: {gist(message)}"
    if not RIGHT_REASONS.match(message):
        return f"fails on {before} for the wrong reason: {gist(message)}"
    return ""


def green_complaint(test: Test, pair: Pair) -> str:
    """Return what is wrong with what a test did on its own mid-point; empty if nothing is."""
    if test.outcome != "failed":
        return ""
    return f"fails on its own mid-point: {gist(test.message)}"


def full_stop(text: str) -> str:
    """Return a text that ends as a sentence does."""
    return text if text.endswith((".", "!", "…")) else f"{text}."


def breakdown(trial: Trial, code: int, hung: str) -> str:
    """Return why tests could not all run, as a sentence; empty if they did.

    `code` is pytest's exit code, `hung` the test that had to be stopped.
    """
    label, on = trial.pair.after.label, trial.on.label
    if hung:
        return f"{label}: {hung} hangs on {on} and was stopped."
    if code in RAN and trial.junit.is_file():
        return ""
    printed = trial.log.read_text("utf-8", errors="replace").strip()
    found = IMPORT_ERROR.search(printed)
    why = found[0] if found else printed.rpartition("\n")[2]
    return full_stop(f"{label}: its tests do not run on {on} (exit code {code}): {gist(why)}")


def judge_file(
    file: str, tests: Sequence[Test], trial: Trial, broken: str
) -> tuple[Test, list[str]]:
    """Return the result of one file of new tests, and its sentences of complaint."""
    label, on = trial.pair.after.label, trial.on.label
    judge = complaint if trial.is_red else green_complaint
    seconds = sum(test.seconds for test in tests)
    texts = [(test.id, judge(test, trial.pair)) for test in tests]
    sentences = [full_stop(f"{label}: {name} {text}") for name, text in texts if text]
    if broken:
        sentences.append(broken)
    elif not tests:
        sentences.append(f"{label}: {file} holds no test that runs on {on}.")
    skips = sorted({test.message for test in tests if test.outcome == "skipped"})
    outcome = "failed" if sentences else "skipped" if skips else "passed"
    message = "\n".join(sentences or skips)
    return Test(f"{label}/{file} on {on}", outcome, seconds, message), sentences


def verdict(trial: Trial, code: int, hung: str = "") -> Verdict:
    """Return what new tests came to on a mid-point."""
    made = Verdict(trial.pair, trial.on, time.monotonic() - trial.started)
    broken = breakdown(trial, code, hung)
    try:
        tests = list(filter(trial.pair.is_new, read_junit(trial.junit)))
    except (OSError, ElementTree.ParseError):
        tests = []
    for file in trial.pair.old:
        own = [test for test in tests if test.id.partition("::")[0] == file]
        result, sentences = judge_file(file, own, trial, broken)
        made.results.append(result)
        made.sentences += [text for text in sentences if text not in made.sentences]
    right = "failed" if trial.is_red else "passed"
    made.count = sum(trial.pair.count(test) for test in tests if test.outcome == right)
    return made


def running_test(log: Path) -> str:
    """Return the id of the test that pytest names last: the one that runs, or hangs."""
    lines = log.read_text("utf-8", errors="replace").strip().splitlines() or ["its start"]
    named = [line for line in lines if line.startswith("tests/")]
    return (named or lines)[-1].strip()


def finish(trial: Trial, silent_for: float) -> Verdict | None:
    """Return the verdict once pytest has ended or has been silent for too long, else None."""
    code = trial.process.poll()
    if code is not None:
        stop(trial.process)
        return verdict(trial, code)
    if trial.silent < silent_for:
        return None
    hung = running_test(trial.log)
    stop(trial.process)
    return verdict(trial, -1, hung)


def not_running(pair: Pair, why: ProofFailed) -> Verdict:
    """Return the verdict on a mid-point that does not even run."""
    sentence = full_stop(f"{pair.after.label} does not run: {why}")
    failed = Test(f"{pair.after.label} runs", "failed", 0.0, sentence)
    return Verdict(pair, pair.after, 0.0, 0, [failed], [sentence])


def tell(verdict: Verdict) -> None:
    """Print what came out on one mid-point."""
    label, on = verdict.pair.after.label, verdict.on.label
    if not verdict.sentences:
        one, it_is_green = verdict.count == 1, verdict.on is verdict.pair.after
        count = "its new test" if one else f"all {verdict.count} new tests"
        if it_is_green:
            text = f"{label}: it runs, and {count} {'passes' if one else 'pass'} on it"
        elif one:
            text = f"{label}: {count} fails on {on}, as it should"
        else:
            text = f"{label}: {count} fail on {on}, as they should"
        say(f"{text} ({verdict.seconds:.1f} s)")
    for text in verdict.sentences:
        say(colour(text, "red"))
    for result in verdict.results:
        if result.outcome == "skipped":
            say(f"{result.id}: skipped: {result.message}")


def run_pairs(
    chosen: list[Pair], python: Path, state: Path, silent_for: float = SILENT_FOR
) -> list[Verdict]:
    """Run the new tests of each pair in folders under `state`, showing progress.

    A test during which pytest says nothing for `silent_for` seconds is stopped and named.
    """
    waiting = [(pair, pair.after) for pair in chosen if not pair.is_last]
    waiting += [(pair, pair.before) for pair in chosen]
    running, verdicts = list[Trial](), list[Verdict]()
    line = LiveLine()

    def done(verdict: Verdict) -> None:
        verdicts.append(verdict)
        line.clear()
        tell(verdict)

    try:
        while waiting or running:
            while waiting and len(running) < AT_ONCE:
                # The last parts take longest, so they start first.
                pair, on = waiting.pop()
                try:
                    running.append(start(pair, on, python, state))
                except ProofFailed as error:
                    done(not_running(pair, error))
            for trial in list(running):
                if made := finish(trial, silent_for):
                    running.remove(trial)
                    done(made)
            shown = (f"{trial.pair.after.label} on {trial.on.label}" for trial in running)
            line.show(f"{len(waiting)} waiting, running: {', '.join(shown)}")
            time.sleep(0.1)
    finally:
        line.clear()
        stop(*(trial.process for trial in running))
    return verdicts


def choose(wanted: str | None, part: str | None, root: Path) -> list[Pair]:
    """Return the pairs to run: all, those of the step called `wanted`, or the one of its `part`."""
    if wanted is None:
        if part is not None:
            raise UserError("PART needs a step: make redgreen STEP=5 PART=1")
        return pairs(root)
    step = find_step(wanted, root)
    number = None if part is None else find_midpoint(step, part, root).number
    chosen = [pair for pair in pairs(root) if pair.after.step == step]
    if not chosen:
        raise UserError(f"{step.label} is the first step: there is none on which it could fail.")
    return [pair for pair in chosen if number in (pair.after.number, None)]


def redgreen(
    wanted: str | None = None,
    part: str | None = None,
    results: Path | None = None,
    root: Path = ROOT,
) -> int:
    """Check that new tests fail on the mid-point before, and that each mid-point runs; exit code.

    It is 1 where a sentence says what is wrong. With `wanted`, only those of one step, or of one
    `part` of it. With `results`, a folder, each file of new tests leaves a JUnit file there.
    """
    chosen = choose(wanted, part, root)
    python = environment.ensure_everything(root)
    empty = [pair.after.label for pair in chosen if not pair.old]
    for label in empty:
        say(colour(f"{label}: it brings no test, so nothing proves what it is about.", "red"))
    verdicts = run_pairs([pair for pair in chosen if pair.old], python, root / ".course" / "red")
    if results:
        results.mkdir(parents=True, exist_ok=True)
        for result in (result for made in verdicts for result in made.results):
            write_junit(result, results / (re.sub(r"[^\w.-]+", "-", result.id) + ".xml"))
    return 1 if empty or any(made.sentences for made in verdicts) else 0
