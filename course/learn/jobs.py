"""The jobs of `make test-all`: which tests run in which process."""

import sys
from dataclasses import dataclass, field
from pathlib import Path

from course.core.processes import clean_environment
from course.core.steps import ROOT, Step, all_steps
from course.learn.results import NO_HYPOTHESIS, PYTEST_OPTIONS

# The tests of the tools are two jobs: these files, and all others.
TOOLS = ["cli", "environment", "processes", "redgreen", "results", "run"]
TOOLS += ["standalone", "terminal", "testing"]
# The tests of each job. Those of the production stack mostly wait, so they run in parallel.
PYTEST_JOBS = {
    "chapters": ["course/checks/docs/test_chapters.py"],
    "recipes": ["course/checks/docs/test_recipes.py"],
    "stack": [
        f"course/checks/production/test_{name}.py"
        for name in ("stack", "contract", "any_bytes", "services")
    ],
    "workers": [f"course/checks/production/test_{name}.py" for name in ("clients", "workers")],
    "browser": ["course/checks/browser"],
    "site": [f"course/checks/docs/test_{name}.py" for name in ("realtime_web", "site")],
    "docs": [
        f"course/checks/docs/test_{name}.py"
        for name in (
            "answers",
            "claims",
            "errors",
            "errors_services",
            "listings",
            "map",
            "pages",
            "runworker",
        )
    ],
    "abuse": [f"course/checks/production/test_{name}.py" for name in ("abuse", "protocol")],
    "tools": [f"course/checks/tools/test_{name}.py" for name in TOOLS],
    "course": ["course/checks/tools"],
    "services": [
        f"course/checks/production/test_{name}.py"
        for name in ("command", "compose", "deploy", "daphne", "programs", "wire")
    ],
}
# These jobs take longest, so they start first.
LONGEST = ["step05_deploy", "redgreen05", "chapters", "stack", "workers", "recipes", "browser"]
LONGEST += ["docs", "site", "abuse", "tools", "course"]
# The jobs of each kind of tests, for `make test ONLY=browser`.
KINDS = {
    "tools": ["tools", "course"],
    "browser": ["browser"],
    "docs": ["chapters", "recipes", "docs", "site"],
    "stack": ["stack", "abuse", "workers", "services"],
}


@dataclass
class Job:
    """A command that writes JUnit files to its folder of results."""

    name: str
    command: list[str]
    cwd: Path
    results: Path
    log: Path
    env: dict[str, str] = field(default_factory=clean_environment)


def collect_jobs(python: Path, root: Path = ROOT) -> list[Job]:
    """Return the jobs of `make test-all`, in the order in which they start.

    `python` is that of the course's environment.
    """
    state = root / ".course"
    steps = all_steps(root)
    jobs = list[Job]()

    def add(name: str, *command: str) -> Job:
        log = state / "logs" / f"{name}.log"
        jobs.append(Job(name, list(command), root, state / "results" / name, log))
        return jobs[-1]

    def add_command(name: str, command: str, step: Step) -> None:
        made = add(name, sys.executable, "-u", "-m", "course", command, step.label)
        made.command += ["--results", str(made.results)]

    for step in steps:
        add_command(step.label, "standalone", step)
    if (root / "course" / "steps.toml").is_file():
        for step in steps[1:]:
            add_command(f"redgreen{step.number:02}", "redgreen", step)
    # The browser's tests have their own process: Playwright's synchronous API leaves an event loop
    # running, which breaks the asynchronous tests after them.
    for name, tests in PYTEST_JOBS.items():
        if (root / tests[0]).exists():
            made = add(name, str(python), "-m", "pytest", *tests, *PYTEST_OPTIONS, *NO_HYPOTHESIS)
            if name == "course":
                made.command += [f"--ignore={file}" for file in PYTEST_JOBS["tools"]]
            made.command.append(f"--junitxml={made.results / 'pytest.xml'}")
    return sorted(jobs, key=lambda job: job.name not in LONGEST)
