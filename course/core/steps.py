"""Find the steps and their files."""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from course.core.terminal import UserError

ROOT = Path(__file__).resolve().parents[2]

# If git cannot list the files of a step, files and folders with these names are left out.
IGNORED = {".git", ".venv", ".course", "__pycache__", "midpoints", "staticfiles", "db.sqlite3"}
IGNORED |= {".pytest_cache", ".hypothesis", ".mypy_cache", ".ruff_cache"}


@dataclass(frozen=True)
class Step:
    """One step of the course: its number, its name (`echo`) and its folder."""

    number: int
    name: str
    folder: Path

    @property
    def label(self) -> str:
        """The name of the step's folder, such as `step01_echo`."""
        return self.folder.name


def all_steps(root: Path = ROOT) -> list[Step]:
    """Return the steps in `root`, in order."""
    found = []
    for folder in root.iterdir():
        match = re.fullmatch(r"step(\d\d)_(\w+)", folder.name)
        if match and (folder / "manage.py").is_file():
            found.append(Step(int(match[1]), match[2], folder))
    return sorted(found, key=lambda step: step.number)


def choices(root: Path = ROOT) -> str:
    """Return the steps as a text for the reader: `1 (echo), 2 (groups)`."""
    return ", ".join(f"{step.number} ({step.name})" for step in all_steps(root))


def find_step(wanted: str, root: Path = ROOT) -> Step:
    """Return the step `wanted`: `1`, `01` or `step01_echo`; raise UserError if there is none."""
    for step in all_steps(root):
        if wanted == step.label or (wanted.isdecimal() and int(wanted) == step.number):
            return step
    raise UserError(f"There is no step {wanted}; the steps are {choices(root)}.")


def list_folder(folder: Path) -> list[Path]:
    """Return the relative paths of files and symbolic links in `folder`, sorted.

    These are the files that git tracks, and the new files that git does not ignore. Without git,
    and in an ignored folder, these are all files but environments, databases and caches. A link
    may be broken.
    """
    if shutil.which("git"):
        command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", "."]
        listing = subprocess.run(command, cwd=folder, capture_output=True)
        if listing.returncode == 0 and listing.stdout:
            names = {os.fsdecode(name) for name in listing.stdout.split(b"\0") if name}
            return sorted(Path(name) for name in names if os.path.lexists(folder / name))
    return sorted(
        path.relative_to(folder)
        for path in folder.rglob("*")
        if (path.is_file() or path.is_symlink())
        and not IGNORED.intersection(path.relative_to(folder).parts)
    )


def step_files(folder: Path) -> list[Path]:
    """Return the files that make up the step in `folder`, as sorted relative paths."""
    return [path for path in list_folder(folder) if (folder / path).is_file()]


def copy_files(files: list[Path], source: Path, target: Path) -> None:
    """Copy the relative paths `files` from the folder `source` to the folder `target`."""
    for file in files:
        (target / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source / file, target / file)
