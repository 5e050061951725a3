"""Judge the new tests of a part: why they fail without the part, and whether they pass with it."""

import re
import symtable
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

from course.core.manifest import Midpoint
from course.core.terminal import colour, say
from course.learn.results import Test, read_junit
from course.maintain.trials import NOT_RUNNING

WAITS_FOR = 1.5  # seconds: one second, and a margin for a busy machine
GIST = 160  # characters
RAN = (0, 1)  # pytest's exit codes: all passed, some failed

# The right reasons to fail without the part: pytest's message begins like this.
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
WAITING = re.compile(r"(\w+\.)*(\w*TimeoutError|TimeoutExpired|\w*Timeout)\b")
# A missing module; or a missing name and its module.
MISSING = re.compile(
    r"(?:collection failure: )?(?:ModuleNotFoundError: No module named '([\w.]+)'"
    r"|ImportError: cannot import name '(\w+)' from '([\w.]+)')"
)
IMPORT_ERROR = re.compile(r"\b(ImportError|ModuleNotFoundError|SyntaxError|IndentationError): .*")
ON_SETUP = re.compile(r'failed on setup with "(.*)"\Z', re.DOTALL)
ON_TEARDOWN = re.compile(r'failed on teardown with "(.*)"\Z', re.DOTALL)
NO_FIXTURE = re.compile(r"fixture '\w+' not found")


@dataclass(frozen=True)
class Pair:
    """A mid-point, the mid-point before, and the files that bring new tests.

    `old` maps each of these files to the tests that the mid-point before already has.
    """

    before: Midpoint
    after: Midpoint
    is_last: bool
    old: dict[str, set[str]]

    def is_new(self, test: Test) -> bool:
        """Tell whether a test, or an unreadable file of tests, is new."""
        path, _, name = test.id.partition("::")
        return path in self.old and name.partition("[")[0] not in self.old[path]

    def count(self, test: Test) -> int:
        """Return the number of new tests in a result: for an unreadable file, all of them."""
        path, _, name = test.id.partition("::")
        return 1 if name else len(self.after.tests(path) - self.old[path])


@dataclass(frozen=True)
class Trial:
    """A run of the new tests of a pair on its mid-point `on`, in a folder.

    The log and the JUnit file of the run are beside the folder.
    """

    pair: Pair
    on: Midpoint
    folder: Path

    @property
    def is_red(self) -> bool:
        """Tell whether the tests have to fail."""
        return self.on is self.pair.before


def gist(message: str) -> str:
    """Return the important line of pytest's message, shortened."""
    found = NO_FIXTURE.search(message) or IMPORT_ERROR.search(message)
    line = found[0] if found else " ".join(message.strip().split("\n", 1)[0].split())
    return line if len(line) <= GIST else f"{line[: GIST - 1]}…"


def brings(pair: Pair, module: str, name: str = "") -> bool:
    """Tell whether only the later mid-point has a module, or a name in this module."""
    path = module.replace(".", "/")

    def has(point: Midpoint) -> bool:
        if not name:
            return any(file == f"{path}.py" or file.startswith(f"{path}/") for file in point.files)
        for file in point.files.keys() & {f"{path}.py", f"{path}/__init__.py"}:
            symbols = symtable.symtable(point.text(file).decode(), file, "exec").get_symbols()
            own = [each for each in symbols if each.is_assigned() or each.is_imported()]
            return name in [each.get_name() for each in own]
        return False

    return has(pair.after) and not has(pair.before)


def waits_for_the_part(message: str, pair: Pair) -> bool:
    """Tell whether an import fails only because the later mid-point adds the module or name."""
    found = MISSING.match(message)
    if not found:
        return False
    module, name, source = found.groups()
    if module:
        return brings(pair, module)
    return brings(pair, f"{source}.{name}") or brings(pair, source, name)


def red_complaint(test: Test, pair: Pair) -> str:
    """Return the complaint about a test on the mid-point before, or "" if there is none.

    The text continues the test's name: `passes on step01_echo already …`.
    """
    on = pair.before.label
    if test.outcome == "passed":
        return f"passes on {on} already: this test proves nothing"
    if test.outcome == "skipped":
        return ""
    if cleaning := ON_TEARDOWN.match(test.message):
        return f"passes on {on}, where only its teardown fails: {gist(cleaning[1])}"
    on_setup = ON_SETUP.match(test.message)
    message = on_setup[1] if on_setup else test.message
    if WAITING.match(message) and not on_setup and test.seconds <= WAITS_FOR:
        return ""
    if WAITING.match(message):
        place = "in a fixture" if on_setup else f"for {test.seconds:.1f} s"
        return f"waits {place} on {on} until a time-out: {gist(message)}"
    if IMPORT_ERROR.search(message):
        if waits_for_the_part(message, pair):
            return ""
        return f"fails on {on} because an import fails: {gist(message)}"
    if not RIGHT_REASONS.match(message):
        return f"fails on {on} for the wrong reason: {gist(message)}"
    return ""


def green_complaint(test: Test, pair: Pair) -> str:
    """Return the complaint about a test on its own mid-point, or "" if there is none."""
    on = pair.after.label
    return f"fails on {on}, its own: {gist(test.message)}" if test.outcome == "failed" else ""


def breakdown(trial: Trial, code: int) -> str:
    """Return why not all tests ran, or "" if all ran; `code` is the trial's exit code."""
    if code in RAN and trial.folder.with_suffix(".xml").is_file():
        return ""
    printed = trial.folder.with_suffix(".log").read_text("utf-8", errors="replace").strip()
    last = printed.rpartition("\n")[2]
    if code == NOT_RUNNING:
        return f"the project does not run: {gist(last)}"
    found = IMPORT_ERROR.search(printed)
    why = gist(found[0] if found else last)
    return f"its tests do not run on {trial.on.label} (exit code {code}): {why}"


def judge_file(file: str, tests: list[Test], trial: Trial, broken: str) -> Test:
    """Return the result of one file of new tests, with one line for each complaint."""
    label, on = trial.pair.after.label, trial.on.label
    complaint = red_complaint if trial.is_red else green_complaint
    texts = [(test.id, complaint(test, trial.pair)) for test in tests]
    complaints = [f"{name} {text}" for name, text in texts if text]
    if broken or not tests:
        complaints.append(broken or f"{file} has no test that runs on {on}")
    skips = sorted({test.message for test in tests if test.outcome == "skipped"})
    lines = [f"{label}: {text.rstrip('.')}." for text in complaints]
    outcome = "failed" if lines else "skipped" if skips else "passed"
    seconds = sum(test.seconds for test in tests)
    return Test(f"{label}/{file} on {on}", outcome, seconds, "\n".join(lines or skips))


def judge(trial: Trial, code: int, seconds: float) -> list[Test]:
    """Print the verdict on a trial that has ended with the exit code `code`; return its results."""
    pair, broken = trial.pair, breakdown(trial, code)
    try:
        tests = list(filter(pair.is_new, read_junit(trial.folder.with_suffix(".xml"))))
    except (OSError, ElementTree.ParseError):
        tests = []
    results = []
    for file in pair.old:
        own = [test for test in tests if test.id.partition("::")[0] == file]
        results.append(judge_file(file, own, trial, broken))
    failed = [result.message for result in results if result.outcome == "failed"]
    if failed:
        say(colour("\n".join(dict.fromkeys("\n".join(failed).splitlines())), "red"))
    else:
        right = "failed" if trial.is_red else "passed"
        count = sum(pair.count(test) for test in tests if test.outcome == right)
        label, on = pair.after.label, trial.on.label
        text = f"{label} runs, and each new test passes on it"
        if trial.is_red:
            text = f"{label}: each new test fails on {on}, as it should"
        say(f"{text} ({count} in {seconds:.1f} s)")
    for result in results:
        if result.outcome == "skipped":
            say(f"{result.id}: skipped: {result.message}")
    return results
