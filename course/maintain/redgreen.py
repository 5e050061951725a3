"""`make redgreen`: prove that the new tests of each part fail without the part.

A test that passes without its part proves nothing, and neither does a test that fails by its own
mistake. So the new tests of a part run on a copy of the mid-point before (red), and on a copy of
the part's own mid-point (green), which must also start. Both copies are in `.course/red/`.
"""

import ast
import fnmatch
import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from course.core import environment
from course.core.manifest import TEST_FILE, chain, difference, read_step
from course.core.parts import find_midpoint, lay_out
from course.core.ports import HOST, free_port
from course.core.processes import clean_environment, start_job, stop
from course.core.steps import ROOT, Step, all_steps, find_step
from course.core.terminal import UserError, colour, say
from course.learn.results import NO_HYPOTHESIS, PYTEST_OPTIONS, Test, write_junit
from course.learn.standalone import ProofFailed, ask
from course.maintain.verdicts import NOT_RUNNING, Pair, Trial, judge

AT_ONCE = 2  # runs of tests
# As a reader would with `manage.py`, but in one process, because each start imports Django anew.
COMMANDS = """
import sys, manage
server = f"runserver --noreload {sys.argv[1]}"
for command in ("check", "makemigrations --check", "migrate", server):
    print("$ manage.py", command, flush=True)
    sys.argv = ["manage.py", *command.split()]
    if code := manage.main():
        sys.exit(code)
"""


def pairs(wanted: str | None, part: str | None, root: Path) -> list[Pair]:
    """Return each mid-point after the mid-point before, of the step `wanted` and of its `part`.

    Raises UserError if there is no such step or part.
    """
    if part and not wanted:
        raise UserError("PART needs a step: make redgreen STEP=5 PART=1")
    found = []
    for step in [find_step(wanted, root)] if wanted else all_steps(root):
        number = find_midpoint(step, part, root).number if part else None
        for before, after in pairwise(chain(step, root)):
            old = {
                path: before.tests(path)
                for path in fnmatch.filter(difference(before, after), TEST_FILE)
                if path not in before.files or after.tests(path) - before.tests(path)
            }
            if number in (None, after.number):
                found.append(Pair(before, after, old))
    return found


def unpack(commit: str, root: Path) -> Path:
    """Write the files of a commit to a folder in `.course`, and return the folder.

    Raises UserError if there is no such commit.
    """
    folder = root / ".course" / "commit"
    archive = folder.with_suffix(".zip")
    archive.parent.mkdir(exist_ok=True)
    command = ["git", "archive", f"--output={archive}", commit]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"FIX={commit} is no commit: {done.stderr.strip()}")
    shutil.rmtree(folder, ignore_errors=True)
    shutil.unpack_archive(archive, folder)
    return folder


def changed_since(commit: str, root: Path) -> list[Pair]:
    """Return each step with tests that have changed since a commit, after that commit's step."""
    before_all, name = unpack(commit, root), commit.replace("/", "-")
    found = []
    for step in all_steps(root):
        folder = before_all / step.label
        before = read_step(Step(step.number, step.name, folder.rename(f"{folder}-at-{name}")))
        after = read_step(step)
        old = {}
        for path in fnmatch.filter(after.files, TEST_FILE):
            then, now = before.nodes(path), after.nodes(path)
            both = before.tests(path) & after.tests(path)
            same = {name for name in both if ast.dump(then[name]) == ast.dump(now[name])}
            if same != after.tests(path):
                old[path] = same
        if old:
            found.append(Pair(before, after, old))
    return found


def is_of_tests(path: str) -> bool:
    """Tell whether a file of a step belongs to its tests."""
    return path.startswith("tests/") or path == "pytest.ini"


def prove() -> None:
    """Check, migrate and serve the project in this folder, and get its first page; or exit."""
    address = f"{HOST}:{free_port()}"
    server = subprocess.Popen([sys.executable, "-c", COMMANDS, address])
    try:
        ask(server.poll, f"http://{address}/")
    except ProofFailed as error:
        if server.poll() is None:  # else the failed command has said why
            print(error, flush=True)
        sys.exit(NOT_RUNNING)
    finally:
        server.kill()
        server.wait()


def start(trial: Trial, python: Path) -> subprocess.Popen[bytes]:
    """Lay out the files of a trial, and start its tests; return the process."""
    pair, folder = trial.pair, trial.folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    tests = {path: file for path, file in pair.after.files.items() if is_of_tests(path)}
    others = {path: file for path, file in trial.on.files.items() if not is_of_tests(path)}
    lay_out(replace(trial.on, files=tests | others), folder)
    # The measured time is that of the test alone, without its fixtures, which may start a server.
    options = [*PYTEST_OPTIONS, *NO_HYPOTHESIS, "--continue-on-collection-errors"]
    options += ["-o", "junit_duration_report=call", f"--junitxml={folder}/trial.xml"]
    command = ["-m", "pytest"] if trial.is_red else ["-m", "course.maintain.redgreen", str(folder)]
    # Name files, not tests: pytest runs nothing if one of the named tests is in a file that pytest
    # cannot import.
    command = [str(python), *command, *options, *pair.old]
    cwd = folder if trial.is_red else ROOT
    return start_job(command, folder / "trial.log", cwd, clean_environment())


def run_pairs(chosen: list[Pair], python: Path, state: Path, whole: bool) -> list[Test]:
    """Run the new tests of each pair in folders under `state`; return a result for each test.

    `whole` says whether the tests of the last part run on the whole step, too.
    """
    state = state.resolve()
    last = {pair.after.step: pair.after for pair in chosen}
    # The tests of the last parts take longest, so these tests start first.
    waiting = [
        Trial(pair, on, state / f"{pair.after.label}-on-{on.label}")
        for pair in chosen
        for on in (pair.after, pair.before)
        if whole or on is not last.get(on.step)
    ]
    running = list[tuple[Trial, subprocess.Popen[bytes], float]]()
    results = list[Test]()
    try:
        while waiting or running:
            while waiting and len(running) < AT_ONCE:
                trial = waiting.pop()
                running.append((trial, start(trial, python), time.monotonic()))
            for ended in [each for each in running if each[1].poll() is not None]:
                trial, process, began = ended
                running.remove(ended)
                stop(process)  # ends what the tests have left
                results += judge(trial, process.returncode, time.monotonic() - began)
            time.sleep(0.05)
    finally:
        stop(*(process for _, process, _ in running))
    return results


def redgreen(
    wanted: str | None = None,
    part: str | None = None,
    fix: str | None = None,
    results: Path | None = None,
    root: Path = ROOT,
    whole: bool = True,
) -> int:
    """Check that new tests fail on the mid-point before and pass on their own.

    `wanted` names one step, and `part` one of its parts; without them, check all. With `fix`, a
    commit, check that tests which have changed since then fail on that commit's steps, and pass
    now. Write a JUnit file for each new test to the folder `results`, if given. Without `whole`,
    the tests of a whole step need not pass here: `make test-all` runs them anyway. Return 1 if
    there is a complaint, else 0.
    """
    if os.name == "nt":
        raise UserError("make redgreen needs Linux or macOS; on Windows, use WSL.")
    chosen = changed_since(fix, root) if fix else pairs(wanted, part, root)
    if not chosen:
        raise UserError(
            f"No test of a step has changed since {fix}. If the fix is committed, name the commit "
            "before the fix, such as FIX=HEAD^."
            if fix
            else "The first step has no step before, on which its tests could fail."
        )
    python = environment.ensure_everything(root)
    empty = [pair.after.label for pair in chosen if not pair.old]
    for label in empty:
        say(colour(f"{label}: this part has no new test, so nothing proves its mechanism.", "red"))
    chosen = [pair for pair in chosen if pair.old]
    made = run_pairs(chosen, python, root / ".course" / "red", whole)
    if results:
        write_junit(made, results / "redgreen.xml")
    return 1 if empty or any(result.outcome == "failed" for result in made) else 0


if __name__ == "__main__":  # a trial: prove the project in the named folder, then run pytest
    os.chdir(sys.argv[1])
    prove()
    os.execv(sys.executable, [sys.executable, "-m", "pytest", *sys.argv[2:]])
