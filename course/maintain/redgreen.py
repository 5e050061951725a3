"""`make redgreen`: prove that the new tests of each part fail without the part.

A test that passes without its part proves nothing, and neither does a test that fails by its own
mistake. So the new tests of a part run on a copy of the mid-point before (red), and on a copy of
the part's own mid-point (green), which must also start. Both copies are in `.course/red/`. The
last mid-point is the step, so the step's own job proves green there.
"""

import ast
import fnmatch
import re
import shutil
import subprocess
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from course.core import environment
from course.core.manifest import TEST_FILE, Midpoint, chain, changed_tests, named_tests, read_step
from course.core.parts import find_midpoint, lay_out
from course.core.ports import HOST, free_port
from course.core.processes import clean_environment, start_job, stop
from course.core.steps import ROOT, Step, all_steps, find_step
from course.core.terminal import LiveLine, UserError, colour, say
from course.learn.results import NO_HYPOTHESIS, PYTEST_OPTIONS, write_junit
from course.learn.standalone import ProofFailed, ask
from course.maintain.verdicts import (
    Pair,
    Trial,
    Verdict,
    gist,
    not_running,
    running_test,
    tell,
    verdict,
)

AT_ONCE = 2
SILENT_FOR = 60.0  # seconds without output from pytest, after which a test counts as hanging

# All commands run in one process, because importing Django takes longer than the commands.
PROOF = """
import sys, manage
server = f"runserver {sys.argv[1]} --noreload"
for command in ("check", "makemigrations --check", "migrate", server):
    print("$ manage.py", command, flush=True)
    sys.argv = ["manage.py", *command.split()]
    if code := manage.main():
        sys.exit(code)
"""


def pairs(root: Path) -> list[Pair]:
    """Return each mid-point with the mid-point before."""
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


def unpack(commit: str, root: Path) -> Path:
    """Write the files of a commit to a folder in `.course`, and return the folder.

    Raises UserError if there is no such commit.
    """
    folder = root / ".course" / "commit"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    # An index of its own leaves that of the repository alone.
    env = clean_environment() | {"GIT_INDEX_FILE": str(folder / "index")}
    for words in (["read-tree", commit], ["checkout-index", "--all", f"--prefix={folder}/"]):
        done = subprocess.run(["git", *words], cwd=root, env=env, capture_output=True, text=True)
        if done.returncode:
            raise UserError(f"FIX={commit} is no commit: {done.stderr.strip()}")
    return folder


def test_sources(midpoint: Midpoint, path: str) -> dict[str, str]:
    """Return the code of each test in a file, by name; no code if there is no such file."""
    tests = named_tests(ast.parse(midpoint.text(path))) if path in midpoint.files else {}
    return {name: ast.dump(test) for name, test in tests.items()}


def changed_since(commit: str, root: Path) -> list[Pair]:
    """Return each step with tests that have changed since a commit, after that commit's step."""
    before_all = unpack(commit, root)
    found = []
    for step in all_steps(root):
        folder = before_all / step.label
        before = read_step(Step(step.number, step.name, folder.rename(f"{folder}-at-{commit}")))
        after = read_step(step)
        old = {}
        for path in fnmatch.filter(after.files, TEST_FILE):
            then, now = test_sources(before, path), test_sources(after, path)
            same = {name for name in now if then.get(name) == now[name]}
            if same != now.keys():
                old[path] = same
        if old:
            found.append(Pair(before, after, True, old))
    return found


def is_of_tests(path: str) -> bool:
    """Tell whether a file of a step belongs to its tests."""
    return path.startswith("tests/") or path == "pytest.ini"


def files_for(pair: Pair, on: Midpoint) -> Midpoint:
    """Return the mid-point `on` with the tests and the pytest.ini of the pair's later mid-point."""
    files = {path: file for path, file in on.files.items() if not is_of_tests(path)}
    return replace(
        on,
        files=files
        | {path: pair.after.files[path] for path in filter(is_of_tests, pair.after.files)},
    )


def prove(folder: Path, python: Path, env: dict[str, str]) -> None:
    """Check, migrate and serve the project in `folder`; raise ProofFailed if a command fails."""
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

    Raises ProofFailed if the later mid-point does not run.
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
    # With -vv, the last line of the output names a test that hangs. The measured time is that of
    # the test alone, without its fixtures, which may start a server.
    options = [*PYTEST_OPTIONS, *NO_HYPOTHESIS, "-vv", "--continue-on-collection-errors"]
    options += ["-o", "junit_duration_report=call", f"--junitxml={junit.resolve()}"]
    # Name files, not tests: pytest runs nothing if one of the named tests is in a file that pytest
    # cannot import. `--deselect` leaves out every test whose name begins with the given name.
    new = {f"{path}::{name}" for path in pair.old for name in pair.after.tests(path)}
    old = {f"{path}::{name}" for path, names in pair.old.items() for name in names}
    options += [
        f"--deselect={one}" for one in old if not any(test.startswith(one) for test in new - old)
    ]
    command = [str(python), "-m", "pytest", *options, *pair.old]
    return Trial(pair, on, folder, start_job(command, log, folder, env), started)


def finish(trial: Trial, silent_for: float) -> Verdict | None:
    """Return the verdict if pytest has ended or is silent for too long, else None."""
    code = trial.process.poll()
    if code is not None:
        stop(trial.process)
        return verdict(trial, code)
    if trial.silent < silent_for:
        return None
    hung = running_test(trial.log)
    stop(trial.process)
    return verdict(trial, -1, hung)


def run_pairs(
    chosen: list[Pair], python: Path, state: Path, silent_for: float = SILENT_FOR
) -> list[Verdict]:
    """Run the new tests of each pair in folders under `state`, showing progress.

    If pytest prints nothing for `silent_for` seconds, the running test is stopped and named.
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
                # The tests of the last parts take longest, so these tests start first.
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
    """Return the pairs to run: all, those of the step `wanted`, or that of its `part`.

    Raises UserError if there is no such step or part.
    """
    if wanted is None:
        if part is not None:
            raise UserError("PART needs a step: make redgreen STEP=5 PART=1")
        return pairs(root)
    step = find_step(wanted, root)
    number = None if part is None else find_midpoint(step, part, root).number
    chosen = [pair for pair in pairs(root) if pair.after.step == step]
    if not chosen:
        raise UserError(f"{step.label} is the first step: its tests have no step to fail on.")
    return [pair for pair in chosen if number in (pair.after.number, None)]


def redgreen(
    wanted: str | None = None,
    part: str | None = None,
    fix: str | None = None,
    results: Path | None = None,
    root: Path = ROOT,
) -> int:
    """Check that new tests fail on the mid-point before and pass on their own.

    `wanted` names one step, and `part` one of its parts; without them, check all. With `fix`, a
    commit, check that tests which have changed since then fail on that commit's steps. Write a
    JUnit file for each file of new tests to the folder `results`, if given. Return 1 if there is a
    complaint, else 0.
    """
    chosen = changed_since(fix, root) if fix else choose(wanted, part, root)
    if not chosen:
        raise UserError(f"No test of a step has changed since {fix}.")
    python = environment.ensure_everything(root)
    empty = [pair.after.label for pair in chosen if not pair.old]
    for label in empty:
        say(colour(f"{label}: this part has no new test, so nothing proves its mechanism.", "red"))
    verdicts = run_pairs([pair for pair in chosen if pair.old], python, root / ".course" / "red")
    if results:
        results.mkdir(parents=True, exist_ok=True)
        for result in (result for made in verdicts for result in made.results):
            write_junit(result, results / (re.sub(r"[^\w.-]+", "-", result.id) + ".xml"))
    return 1 if empty or any(made.sentences for made in verdicts) else 0
