"""Judge the new tests of a part: why they fail without the part, and whether they pass with it.

The tests are the same in both runs. So a test that passes with its part has no misspelt import, and
may fail without its part because an import fails: the part brings the module or the name.
"""

import re
import textwrap
from dataclasses import dataclass, replace
from pathlib import Path

from course.core.manifest import Midpoint
from course.core.terminal import colour, say
from course.learn.results import Test, read_junit

WAITS_FOR = 1.5  # seconds: one second, and a margin for a busy machine
RAN = (0, 1)  # pytest's exit codes: all passed, some failed
NOT_RUNNING = 90  # the exit code of a trial whose project does not run

# The right reasons to fail without the part: pytest's message begins like this.
RIGHT_REASONS = re.compile(
    r"""
      assert\ | AssertionError | Failed:\ DID\ NOT\ RAISE | Failed:\ DID\ NOT\ WARN
    | (collection\ failure:\ )? (ModuleNotFoundError | ImportError) :
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
NO_FIXTURE = re.compile(r"fixture '\w+' not found")
IN_FIXTURE = re.compile(r'failed on (setup|teardown) with "(.*)"\Z', re.DOTALL)


@dataclass(frozen=True)
class Pair:
    """A mid-point, the mid-point before, and the files that bring new tests.

    `old` maps each of these files to the tests that the mid-point before already has.
    """

    before: Midpoint
    after: Midpoint
    old: dict[str, set[str]]

    def is_new(self, test: Test) -> bool:
        """Tell whether a test, or an unreadable file of tests, is new."""
        path, _, name = test.id.partition("::")
        return path in self.old and name.partition("[")[0] not in self.old[path]


@dataclass(frozen=True)
class Trial:
    """A run of the new tests of a pair on its mid-point `on`, in a folder.

    The folder also has the log of the run, trial.log, and its JUnit file, trial.xml.
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
    found = NO_FIXTURE.search(message)
    line = found[0] if found else message.strip().partition("\n")[0]
    return textwrap.shorten(line, 160, placeholder=" …")


def red_complaint(test: Test, on: str) -> str:
    """Return the complaint about a test on `on`, the mid-point before, or "" if there is none.

    The text continues the test's name: `passes on step01_echo already …`.
    """
    found = IN_FIXTURE.match(test.message)
    fixture, message = found.groups() if found else ("", test.message)
    if test.outcome == "passed":
        return f"passes on {on} already: this test proves nothing"
    if fixture == "teardown":
        return f"passes on {on}, where only its teardown fails: {gist(message)}"
    if test.outcome == "skipped" or RIGHT_REASONS.match(message):
        return ""
    if WAITING.match(message) and not fixture:
        waits = f"waits for {test.seconds:.1f} s on {on} until a time-out: {gist(message)}"
        return waits if test.seconds > WAITS_FOR else ""
    return f"fails on {on} for the wrong reason: {gist(message)}"


def read_results(trial: Trial, code: int) -> list[Test]:
    """Return a result for each new test of a trial that ended with the exit code `code`.

    The message of a failed result continues its id. If pytest did not run, there is one result.
    """
    on, junit = trial.on.label, trial.folder / "trial.xml"
    printed = (trial.folder / "trial.log").read_text("utf-8", errors="replace").strip()
    last = gist(printed.rpartition("\n")[2].removeprefix("E "))
    if code == NOT_RUNNING:
        command = re.findall(r"(?m)^\$ (.*)", printed)[-1]
        return [Test("the project", "failed", 0.0, f"does not run: `{command}` said last: {last}")]
    if code not in RAN or not junit.is_file():
        why = f"do not run on {on} (exit code {code}): {last}"
        return [Test("its tests", "failed", 0.0, why)]
    tests = list(filter(trial.pair.is_new, read_junit(junit)))
    results = []
    for test in tests:
        text = f"fails on {on}, its own: {gist(test.message)}" if test.outcome == "failed" else ""
        if trial.is_red:
            text = red_complaint(test, on)
        outcome = "failed" if text else "skipped" if test.outcome == "skipped" else "passed"
        results.append(replace(test, outcome=outcome, message=text or test.message))
    for file in trial.pair.old.keys() - {test.id.partition("::")[0] for test in tests}:
        results.append(Test(file, "failed", 0.0, f"has no test that runs on {on}"))
    return results


def judge(trial: Trial, code: int, seconds: float) -> list[Test]:
    """Print the verdict on a trial that has ended with the exit code `code`; return its results."""
    label, on = trial.pair.after.label, trial.on.label
    results = read_results(trial, code)
    for result in results:
        if result.outcome != "passed":
            is_red = result.outcome == "failed"
            text = result.message if is_red else f"is skipped on {on}: {result.message}"
            line = f"{label}: {result.id} {text.rstrip('.')}."
            say(colour(line, "red") if is_red else line)
    count = sum(result.outcome == "passed" for result in results)
    if not any(result.outcome == "failed" for result in results):
        text = f"{label} runs, and each new test passes on it"
        if trial.is_red:
            text = f"{label}: each new test fails on {on}, as it should"
        say(f"{text} ({count} in {seconds:.1f} s)")
    return [replace(result, id=f"{label}/{result.id} on {on}") for result in results]
