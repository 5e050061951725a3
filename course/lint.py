"""`make lint`: the style and common mistakes of everything the course ships."""

import subprocess
import sys
from pathlib import Path

from course import environment
from course.environment import venv_program
from course.processes import stop
from course.steps import ROOT, all_steps
from course.terminal import say

GITHUB = "vendor.github-workflows"  # the schema that comes with check-jsonschema


def commands(python: Path, root: Path = ROOT) -> list[list[str]]:
    """Return the linters to run in `root`, from the environment that `python` belongs to."""
    venv = python.parent.parent

    def tool(name: str, *arguments: str) -> list[str]:
        return [str(venv_program(venv, name)), *arguments]

    steps = [step.label for step in all_steps(root)]
    templates = [f"{step}/chat/templates" for step in steps]
    scripts = [f"{step}/chat/static" for step in steps]
    workflows = [str(file) for file in sorted((root / ".github" / "workflows").glob("*.yml"))]
    return [
        tool("ruff", "check", "--quiet", "course", *steps),
        tool("ruff", "format", "--quiet", "--diff", "course", *steps),
        tool("djlint", "--quiet", "--lint", *templates),
        tool("oxlint", "--config", "course/oxlint.json", "--deny-warnings", *scripts),
        tool("mypy", "--no-error-summary", "course"),
        tool("check-jsonschema", "--quiet", "--builtin-schema", GITHUB, *workflows),
    ]


def lint(root: Path = ROOT) -> int:
    """Run all linters side by side; print what fails and return 1, or nothing and 0."""
    python = environment.ensure_everything(root)
    linters = commands(python, root)
    running = [
        subprocess.Popen(linter, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        for linter in linters
    ]
    failed = []
    try:
        for linter, process in zip(linters, running, strict=True):
            output = process.communicate()[0].decode(errors="replace")
            if process.returncode != 0:
                failed.append(Path(linter[0]).stem)
                say(output.strip())
    except KeyboardInterrupt:
        stop(*running, patience=1.0)
        raise
    if failed:
        print(f"Found by {', '.join(sorted(set(failed)))}: see above.", file=sys.stderr)
        return 1
    return 0
