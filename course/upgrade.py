"""`make upgrade`: raise all versions. `make test-all DJANGO=…`: try another Django.

`make upgrade` looks for the newest releases that work together, raises the ranges in all
requirements files, writes the lock file, and runs all tests. The form of a range decides its new
value:

    name~=4.3       to the newest release: `~=5.1`
    name~=5.2.0     unchanged: Django stays on its long-term release, and pip takes the newest patch
    name>=1.2,<3    the lower bound stays, the upper bound follows the newest release: `<5`

`make test-all DJANGO=latest` changes no file here. The tests run in a copy of the course,
`.course/django-…`, with its own environment and lock file.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from course import environment
from course.environment import LOCK, venv_program
from course.manifest import INTERIM
from course.processes import CommandFailed, run_quietly, stop
from course.steps import ROOT, all_steps, copy_files, step_files
from course.terminal import Progress, UserError, say

REQUIREMENT = re.compile(
    r"^(?P<name>[A-Za-z][\w.-]*)(?P<extras>\[[\w,]+\])?(?P<range>[^;#]*?)"
    r"(?P<marker> *;[^#]*?)?(?P<comment> *#.*)?$"
)
OLDEST_PYTHON = "3.11"
HEAD = """\
# Every version that make and CI install, for Python 3.11 and later. Made by `make upgrade` from
# course/requirements.txt and the requirements.txt of each step.
"""


def requirement_files(root: Path) -> list[Path]:
    """Return the requirements files from which the lock file is made."""
    steps = [step.folder / "requirements.txt" for step in all_steps(root)]
    interim = sorted((root / INTERIM).glob("*/*/requirements.txt"))
    return [root / "course" / "requirements.txt", *steps, *interim]


def normal(name: str) -> str:
    """Return the normalized name of a package (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def locked_versions(lock: str) -> dict[str, str]:
    """Return the version of each package in the text of a lock file, by normalized name."""
    return {
        normal(name): version
        for name, version in re.findall(r"^([\w.-]+)==([^\s;]+)", lock, re.MULTILINE)
    }


def is_series(wanted: str) -> bool:
    """Tell whether a range keeps a package on one series, such as `~=5.2.0`."""
    return bool(re.fullmatch(r"~=\d+\.\d+\.\d+", wanted))


def raised(wanted: str, newest: str) -> str:
    """Return the range `wanted` raised to the release `newest`."""
    major, minor, *_ = [*newest.split("."), "0"]
    if wanted.startswith("~=") and not is_series(wanted):
        return f"~={major}.{minor}"
    return re.sub(r"<(\d+)$", lambda bound: f"<{max(int(bound[1]), int(major) + 1)}", wanted)


def raise_ranges(text: str, newest: dict[str, str]) -> str:
    """Return the text of a requirements file with its ranges raised to the newest releases."""
    lines = []
    for line in text.splitlines():
        found = REQUIREMENT.match(line)
        if found and normal(found["name"]) in newest:
            higher = raised(found["range"].strip(), newest[normal(found["name"])])
            line = line[: found.start("range")] + higher + line[found.end("range") :]
        lines.append(line)
    return "\n".join(lines) + "\n"


def open_ranges(text: str) -> str:
    """Return the text of a requirements file without its ranges, except those of a series."""
    lines = []
    for line in text.splitlines():
        found = REQUIREMENT.match(line)
        if found and not is_series(found["range"].strip()):
            line = line[: found.start("range")] + line[found.end("range") :]
        lines.append(line)
    return "\n".join(lines) + "\n"


def resolve(python: Path, inputs: list[Path], output: Path, *options: str) -> str:
    """Write versions that satisfy `inputs` to `output`; return the text of `output`.

    The resolver keeps the versions that `output` already has. Raises UserError if there is no
    solution or no network.
    """
    uv = venv_program(python.parent.parent, "uv")
    command: list[str | Path] = [
        uv,
        "pip",
        "compile",
        "--quiet",
        "--universal",
        "--no-header",
        "--no-annotate",
    ]
    if "--python-version" not in options:
        command += ["--python-version", OLDEST_PYTHON]
    command += ["--output-file", output, *options, *inputs]
    progress = Progress("Looking for versions that work together")
    try:
        run_quietly(command, progress)
    except CommandFailed as error:
        raise environment.failure("Looking for versions", error) from None
    progress.done()
    return output.read_text("utf-8")


def write_lock(root: Path, versions: str) -> None:
    """Write the lock file of `root`."""
    (root / LOCK).write_text(HEAD + versions, "utf-8")


def differences(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """Return a line for each package whose version differs."""
    names = sorted(before.keys() | after.keys())
    return [
        f"  {name:<28}{before.get(name, 'none'):>16} → {after.get(name, 'none')}"
        for name in names
        if before.get(name) != after.get(name)
    ]


def put_aside(folder: Path, name: str, texts: Iterable[str]) -> list[Path]:
    """Write texts to numbered files in `folder`; return the files."""
    files = []
    for number, text in enumerate(texts):
        files.append(folder / f"{name}{number}.txt")
        files[-1].write_text(text, "utf-8")
    return files


def upgrade(root: Path = ROOT) -> int:
    """Raise ranges and lock file to the newest releases, run all tests; return the exit code."""
    python = environment.ensure_everything(root)
    folder = root / ".course" / "upgrade"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    files = requirement_files(root)
    texts = [file.read_text("utf-8") for file in files]
    opened = put_aside(folder, "open", map(open_ranges, texts))
    newest = locked_versions(resolve(python, opened, folder / "newest.txt", "--upgrade"))
    texts = [raise_ranges(text, newest) for text in texts]
    # Resolve twice before writing anything, because the network may fail.
    higher = put_aside(folder, "raised", texts)
    versions = resolve(python, higher, folder / "lock.txt", "--upgrade")
    before = locked_versions((root / LOCK).read_text("utf-8"))
    for file, text in zip(files, texts, strict=True):
        file.write_text(text, "utf-8")
    write_lock(root, versions)
    changes = differences(before, locked_versions(versions))
    say("\n".join(changes) if changes else "All packages have their newest version already.")
    say("To undo this: git restore requirements.lock '*requirements.txt'")
    return run_tests(root)


def run_tests(root: Path) -> int:
    """Run `test-all` of the course in `root`; return its exit code."""
    process = subprocess.Popen([sys.executable, "-m", "course", "test-all"], cwd=root)
    try:
        return process.wait()
    except KeyboardInterrupt:
        stop(process, grace=10.0)
        raise


def django_range(wanted: str) -> str:
    """Return the range for `DJANGO=wanted`: `latest`, or a series such as `6.0`.

    Raises UserError for anything else.
    """
    if wanted == "latest":
        return ""
    if re.fullmatch(r"\d+\.\d+", wanted):
        return f"~={wanted}.0"
    raise UserError(f"DJANGO must be latest or a series such as 6.0, not {wanted!r}.")


def try_django(wanted: str, root: Path = ROOT) -> int:
    """Run all tests on another Django, in a copy of the course; return the exit code."""
    range_ = django_range(wanted)
    copy = root / ".course" / f"django-{wanted}-python-{environment.python_version()}"
    lay_out(root, copy)
    for file in requirement_files(copy)[1:]:
        text = re.sub(r"^Django[^\s#;]*", f"Django{range_}", file.read_text("utf-8"), flags=re.M)
        file.write_text(text, "utf-8")
    tools = [copy / "course" / "requirements.txt"]
    python = environment.ensure(tools, "Installing the tools of the course", copy)
    held = copy / ".course" / "lock.txt"
    held.write_text((root / LOCK).read_text("utf-8"), "utf-8")
    # Resolve for this Python only: the newest Django may not support the oldest Python.
    options = ["--python-version", environment.python_version(), "--upgrade-package", "django"]
    versions = resolve(python, requirement_files(copy), held, *options)
    write_lock(copy, versions)
    say(f"Django {locked_versions(versions)['django']} on Python {environment.python_version()}")
    return run_tests(copy)


def lay_out(root: Path, copy: Path) -> None:
    """Make `copy` contain the course's files; keep its `.course` and `.venv`."""
    copy.mkdir(parents=True, exist_ok=True)
    for entry in copy.iterdir():
        if entry.name in (".course", ".venv"):
            continue
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    copy_files(step_files(root), root, copy)
    if shutil.which("git"):
        # The copy needs its own repository, because the course's repository ignores `.course`.
        subprocess.run(["git", "init", "--quiet"], cwd=copy, check=True)
