"""`make listings`: write the listings of the book's pages anew."""

import subprocess

from course.book.pages import book
from course.core import environment
from course.core.steps import ROOT
from course.core.terminal import UserError, say


def listings(is_check: bool = False) -> int:
    """Write the listings into the pages, or only compare them; return 0.

    Raises UserError if a listing names what is not there, or if a page differs and `is_check`.
    """
    python = environment.ensure_everything()
    pages = book()
    command = [str(python), "-m", "cogapp", "--check" if is_check else "-r", "-P"]
    command += ["-p", "from course.book.listings import *", *map(str, pages)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    changed = [line for line in done.stdout.splitlines() if "(changed)" in line]
    if done.returncode and not (is_check and changed):
        raise UserError(f"A listing cannot be made. {done.stderr.strip().splitlines()[-1]}")
    if is_check and changed:
        names = "\n".join(changed)
        raise UserError(f"These pages are not as the steps are now: run make listings.\n{names}")
    say(f"{len(pages)} pages have the listings of today, {len(changed)} of them new.")
    return 0
