"""Find a mid-point by its number, and lay out its files in a folder for a person.

The folder is `midpoints/<step>-part<NN>/`. A file that the learner changed there is kept.
"""

import json
import shutil
from dataclasses import replace
from pathlib import Path

from course.core.environment import fingerprint
from course.core.manifest import Midpoint, chain
from course.core.steps import ROOT, Step
from course.core.terminal import UserError, say

FOLDER = "midpoints"
RECORD = ".laid-out.json"  # a hash of each file that was laid out


def find_midpoint(step: Step, wanted: str, root: Path = ROOT) -> Midpoint:
    """Return the mid-point after the part number `wanted`; raise UserError if there is none."""
    found = chain(step, root)[1:]
    if not found:
        raise UserError(f"{step.label} has no parts: leave out PART.")
    if wanted.isdecimal() and 1 <= int(wanted) <= len(found):
        return found[int(wanted) - 1]
    named = ", ".join(f"{each.number} ({each.name})" for each in found)
    raise UserError(f"{step.label} has no part {wanted}; its parts are {named}.")


def lay_out(midpoint: Midpoint, folder: Path) -> list[str]:
    """Write the files of a mid-point to `folder`; return the files that the learner changed.

    Changed files are kept, and so are files that were never laid out, such as a database. A file
    that was laid out earlier and has left the mid-point is deleted.
    """
    try:
        record: dict[str, str] = json.loads((folder / RECORD).read_text("utf-8"))
    except (OSError, ValueError):
        record = {}
    now = {path: fingerprint(source) for path, source in midpoint.files.items()}
    kept = []
    for path in sorted(record.keys() | now.keys()):
        file = folder / path
        if file.is_file() and fingerprint(file) not in (record.get(path), now.get(path)):
            kept.append(path)
        elif path in now:
            file.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(midpoint.files[path], file)
            record[path] = now[path]
        else:
            file.unlink(missing_ok=True)
            del record[path]
    (folder / RECORD).write_text(json.dumps(record, indent=1) + "\n", "utf-8")
    return kept


def open_midpoint(midpoint: Midpoint, root: Path = ROOT) -> Step:
    """Lay out a mid-point for the learner; return its step with that folder."""
    folder = root / FOLDER / midpoint.label
    folder.mkdir(parents=True, exist_ok=True)
    kept = lay_out(midpoint, folder)
    place = folder.relative_to(root).as_posix()
    step = replace(midpoint.step, folder=folder)
    say(f"Step {step.number} after part {midpoint.number} ({midpoint.name}) is in {place}.")
    if kept:
        say(f"Your changes are kept: {', '.join(kept)}. To start afresh, delete {place}.")
    return step
