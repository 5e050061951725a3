"""`make lint`: check all files of the course for style and common mistakes."""

import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from course.core import environment
from course.core.environment import venv_program
from course.core.manifest import INTERIM
from course.core.steps import ROOT, all_steps, step_files
from course.core.terminal import say
from course.maintain.guarantees import PAGE

GITHUB = "vendor.github-workflows"  # the schema that comes with check-jsonschema

# A sentence whose subject is a clause, such as "What comes in is …", is hard for many readers. Such
# a sentence begins a line, a comment or a text, or follows another sentence. Its full stop comes
# before an empty line and before the end of the text. Headings and questions are not matched.
CLAUSE = re.compile(
    r"""
    (?: ^[ \t]* (?:[-*#/>{!]+[ ] | \d+\.[ ])? | ["'`>*\#/][ ]? | [.:;!?)][ ] )
    (?P<text>
        (?:Who|Whoever|What)[ ][a-z]
        (?: (?! \n\s*\n | \"{3} | ["'`][]),;:}] | --> | </[hlpt] ) . )*? [.?!]
    )
    (?= [\s"'`*<)] | \Z )
    """,
    re.MULTILINE | re.DOTALL | re.VERBOSE,
)


def clauses(root: Path = ROOT) -> Iterator[str]:
    """Yield the place and the text of each sentence whose subject is a clause."""
    for file in step_files(root):
        # The page of guarantees repeats the docstrings of tests.
        if file.suffix in (".py", ".js", ".html", ".md") and file != PAGE:
            source = (root / file).read_text("utf-8")
            for found in CLAUSE.finditer(source):
                if not found["text"].endswith("?"):
                    line = source.count("\n", 0, found.start("text")) + 1
                    words = " ".join(re.sub(r"\n\s*(#|//|\*)?", " ", found["text"]).split())
                    yield f"{file.as_posix()}:{line}: {words}"


def commands(python: Path, root: Path = ROOT) -> list[list[str]]:
    """Return the commands that lint `root`, from the environment of `python`."""
    projects = [*(step.label for step in all_steps(root)), INTERIM, "docs/examples"]
    # A projector shows 88 characters, and a diff puts one before each line.
    projected = ["--config", "line-length = 87"]
    workflows = [str(file) for file in sorted((root / ".github" / "workflows").glob("*.yml"))]
    linters = [
        ("ruff", "check", "--quiet", "course", *projects),
        ("ruff", "format", "--quiet", "--diff", "--exclude", INTERIM, "course"),
        ("ruff", "format", "--quiet", "--diff", *projected, *projects),
        ("djlint", "--quiet", "--lint", *projects),
        ("oxlint", "--config", "course/oxlint.json", "--deny-warnings", *projects),
        ("mypy", "--no-error-summary", "course"),
        ("check-jsonschema", "--quiet", "--builtin-schema", GITHUB, *workflows),
    ]
    venv = python.parent.parent
    return [[str(venv_program(venv, name)), *arguments] for name, *arguments in linters]


def lint(root: Path = ROOT) -> int:
    """Run all linters in parallel and print their complaints; return 1 if there are any, else 0."""
    python = environment.ensure_everything(root)
    with ThreadPoolExecutor() as pool:
        pipe = partial(subprocess.run, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        run = partial(pipe, cwd=root, encoding="utf-8", errors="replace")
        running = pool.map(run, commands(python, root))
        found, done = list(clauses(root)), list(running)
    failed = {Path(process.args[0]).stem for process in done if process.returncode}
    if found:
        failed.add("English")
        say("\n".join(["The subject of these sentences is a clause; write a noun:", *found]))
    for process in done:
        if process.returncode:
            say(process.stdout.strip())
    if failed:
        print(f"Found by {', '.join(sorted(failed))}: see above.", file=sys.stderr)
    return 1 if failed else 0
