"""The jobs of `make test-all`: which tests run in which process."""

import sys
from pathlib import Path

from course.core.steps import ROOT, Step, all_steps
from course.learn.results import NO_HYPOTHESIS, PYTEST_OPTIONS, Job

CHECKS = "course/checks"
# The jobs of each folder of tests, by the names of their files. The job without names runs all
# other files of its folder. The jobs that take longest come first, because they start first. Those
# of the production stack mostly wait.
FOLDERS: dict[str, dict[str, list[str]]] = {
    "docs": {
        "chapters": ["chapters"],
        "recipes": ["recipes"],
        "docs": [],
        "site": ["realtime_web", "site"],
    },
    "production": {
        "stack": ["stack", "contract", "any_bytes", "services"],
        "workers": ["clients", "workers"],
        "abuse": ["abuse", "protocol"],
        "services": [],
    },
    # The browser's tests have their own process: Playwright's synchronous API leaves an event loop
    # running, which breaks the asynchronous tests after them.
    "browser": {"browser": []},
    "tools": {
        "tools": [
            *("cli", "environment", "processes", "redgreen", "results", "run"),
            *("standalone", "terminal", "testing"),
        ],
        "course": [],
    },
}
# The folder of each kind of tests, for `make test ONLY=stack`.
KINDS = {"tools": "tools", "browser": "browser", "docs": "docs", "stack": "production"}


def collect_jobs(python: Path, kind: str | None = None, root: Path = ROOT) -> list[Job]:
    """Return the jobs of `make test-all`, or those of one kind, in the order of their start.

    `python` is that of the course's environment.
    """
    state = root / ".course"
    jobs = list[Job]()

    def add(name: str, *command: str, results: str = "--results={}") -> None:
        folder, log = state / "results" / name, state / "logs" / f"{name}.log"
        jobs.append(Job(name, [*command, results.format(folder)], root, folder, log))

    def add_step(step: Step) -> None:
        course = [sys.executable, "-u", "-m", "course"]
        add(step.label, *course, "standalone", step.label)
        if step.number > 1 and (root / "course" / "steps.toml").is_file():
            add(f"redgreen{step.number:02}", *course, "redgreen", step.label)

    steps = all_steps(root) if kind is None else []
    for step in steps[-1:]:  # takes longest
        add_step(step)
    for folder in FOLDERS if kind is None else [KINDS[kind]]:
        place = f"{CHECKS}/{folder}"
        named = [f"{place}/test_{file}.py" for files in FOLDERS[folder].values() for file in files]
        rest = [place, *(f"--ignore={file}" for file in named)]
        for name, files in FOLDERS[folder].items() if (root / place).is_dir() else ():
            tests = [f"{place}/test_{file}.py" for file in files] or rest
            command = [str(python), "-m", "pytest", *tests, *PYTEST_OPTIONS, *NO_HYPOTHESIS]
            add(name, *command, results="--junitxml={}/pytest.xml")
    for step in steps[:-1]:
        add_step(step)
    return jobs
