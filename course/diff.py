"""`make diff`: what one step changes against another, without what no reader needs."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from course.processes import undisturbed
from course.results import paragraph
from course.steps import ROOT, Step, copy_files, find_step, step_files
from course.terminal import UserError, colour, is_terminal, wants_colour

KINDS = (
    "Python", "templates", "JavaScript", "CSS", "deployment", "tests", "README", "other",
)  # fmt: skip
COUNTED = ("Python", "templates", "JavaScript")
SUFFIXES = {".py": "Python", ".html": "templates", ".js": "JavaScript", ".css": "CSS"}
DEPLOYMENT_NAMES = ("Dockerfile", "compose.yaml", ".env.example", ".dockerignore")

# Settings of the reader's own git that would change what a class sees.
GIT = (
    "git", "-c", "core.quotePath=false", "-c", "core.autocrlf=false", "-c", "core.safecrlf=false",
)  # fmt: skip
# The line of hashes that git puts above each file, coloured or not.
HASHES = re.compile(r"^(\033\[\d*m)?index [0-9a-f]+\.\..*\n", re.MULTILINE)
# Hunk headers that name the class or function, as far as git knows the language.
ATTRIBUTES = "*.py diff=python\n*.html diff=html\n*.css diff=css\n"


@dataclass(frozen=True)
class Change:
    """How many lines a file gained and lost; its path inside the later step, or the former."""

    path: PurePosixPath
    added: int
    removed: int


def kind_of(path: PurePosixPath) -> str:
    """Return the kind of a file of a step, by its path inside the step."""
    if "tests" in path.parts[:-1]:
        return "tests"
    if path.name == "README.md":
        return "README"
    if path.parts[0] == "deploy" or path.name in DEPLOYMENT_NAMES:
        return "deployment"
    return SUFFIXES.get(path.suffix, "other")


def is_noise(path: PurePosixPath) -> bool:
    """Tell whether a file says nothing about the concept of its step.

    Noise is what teaches elsewhere (README, tests), what Django generates (migrations),
    and what is no text (pictures).
    """
    return (
        kind_of(path) in ("tests", "README")
        or "migrations" in path.parts
        or path.name == "pytest.ini"
        or path.suffix in (".png", ".ico", ".svg")
    )


def lay_out(steps: tuple[Step, Step], folder: Path) -> tuple[Path, Path]:
    """Copy the files of both steps to `folder`; return where code and where noise lies."""
    code, noise = folder / "code", folder / "noise"
    for step in steps:
        files = step_files(step.folder)
        quiet = [file for file in files if is_noise(PurePosixPath(file.as_posix()))]
        for place, chosen in ((code, set(files) - set(quiet)), (noise, quiet)):
            (place / step.label).mkdir(parents=True)
            copy_files(sorted(chosen), step.folder, place / step.label)
    return code, noise


def git_diff(place: Path, steps: tuple[Step, Step], *options: str) -> str:
    """Return the output of `git diff` between the two steps copied to `place`."""
    attributes = place.parent / "attributes"
    attributes.write_text(ATTRIBUTES, "utf-8")
    command = [
        *GIT, "-c", f"core.attributesFile={attributes}", "diff", "--no-index", "-M",
        "--no-ext-diff", "--no-prefix", "--diff-algorithm=histogram", *options,
        steps[0].label, steps[1].label,
    ]  # fmt: skip
    done = subprocess.run(command, cwd=place, capture_output=True, encoding="utf-8")
    # git diff ends with 1 where there are differences, with more where it failed.
    if done.returncode > 1:
        raise UserError(f"git could not compare the steps: {done.stderr.strip()}")
    return done.stdout


def count(place: Path, steps: tuple[Step, Step]) -> list[Change]:
    """Return the changed files of the two steps copied to `place`, with their lines."""
    fields = iter(git_diff(place, steps, "--numstat", "-z").split("\0"))
    changes = []
    for entry in fields:
        if not entry:
            continue
        (
            added,
            removed,
            _,
        ) = entry.split("\t")
        # With -z a pair of names follows; a file that came or went has no name on one side.
        before, after = next(fields), next(fields)
        path = PurePosixPath(before if after == "/dev/null" else after)
        # A binary file has "-" for its lines.
        lines = [0 if number == "-" else int(number) for number in (added, removed)]
        changes.append(Change(PurePosixPath(*path.parts[1:]), *lines))
    return changes


def noise_line(changes: list[Change]) -> str:
    """Return the closing line that names what was left out, with its lines."""
    if not changes:
        return ""
    named = ", ".join(f"{c.path} +{c.added} −{c.removed}" for c in changes)
    return "\n".join(paragraph(f"Left out above: {named}", ""))


def table(changes: list[Change]) -> str:
    """Return the lines added and removed for each kind of file, and the total that counts."""

    def row(name: str, chosen: list[Change], style: str = "") -> str:
        added, removed = sum(c.added for c in chosen), sum(c.removed for c in chosen)
        text = f"{name:<42}{added:>8}{removed:>9}"
        return colour(text, style) if style else text

    by_kind = {kind: [c for c in changes if kind_of(c.path) == kind] for kind in KINDS}
    lines = [colour(f"{'kind':<42}{'added':>8}{'removed':>9}", "bold")]
    lines += [row(kind, chosen) for kind, chosen in by_kind.items() if chosen]
    lines.append("-" * 59)
    counted = [change for kind in COUNTED for change in by_kind[kind]]
    lines.append(row(f"budget ({', '.join(COUNTED)})", counted, "bold"))
    return "\n".join(lines)


def page(text: str) -> None:
    """Print `text`, on a terminal through the pager that git would use."""
    if is_terminal(sys.stdout):
        pager = subprocess.run(["git", "var", "GIT_PAGER"], capture_output=True, text=True)
        words = shlex.split(pager.stdout)
        if words and words[0] != "cat" and shutil.which(words[0]):
            env = {"LESS": "FRX", "LV": "-c"} | dict(os.environ)
            with undisturbed():  # In a pager Ctrl-C is a key like others.
                subprocess.run(words, input=text, encoding="utf-8", env=env)
            return
    sys.stdout.write(text)
    sys.stdout.flush()


def show(first: str, second: str, root: Path = ROOT) -> int:
    """Show the difference between two steps and count its lines; return the exit code."""
    steps = find_step(first, root), find_step(second, root)
    if steps[0] == steps[1]:
        raise UserError(f"{steps[0].label} against itself shows nothing: name two steps.")
    if not shutil.which("git"):
        raise UserError("make diff needs git: install it, and run the command again.")
    with tempfile.TemporaryDirectory() as folder:
        code, noise = lay_out(steps, Path(folder))
        colours = "always" if wants_colour(sys.stdout) else "never"
        text = HASHES.sub("", git_diff(code, steps, f"--color={colours}"))
        shown, left_out = count(code, steps), count(noise, steps)
    closing = [noise_line(left_out), table(shown + left_out)]
    page(text + "".join(f"\n{part}\n" for part in closing if part))
    return 0
