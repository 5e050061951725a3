"""`make docs`: write the listings of the book's pages anew, and make a web site of the book."""

import subprocess
from pathlib import Path

from course.book.source import DOCS, book
from course.core import environment
from course.core.processes import clean_environment
from course.core.steps import ROOT
from course.core.terminal import UserError, colour, say

SITE = ROOT / ".course" / "site"


def write_listings(python: Path, is_check: bool) -> None:
    """Write the listings into the pages, or only compare them.

    Raises UserError if a listing names what is not there, or if a page differs and `is_check`.
    """
    pages = book()
    command = [str(python), "-m", "cogapp", "--check" if is_check else "-r", "-P"]
    command += ["-p", "from course.book.listings import *", *map(str, pages)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    changed = [line for line in done.stdout.splitlines() if "(changed)" in line]
    if is_check and changed:
        names = "\n".join(changed)
        raise UserError(f"These pages are not as the steps are now: run make docs.\n{names}")
    if done.returncode:
        raise UserError(f"A listing cannot be made. {done.stderr.strip().splitlines()[-1]}")
    say(f"{len(pages)} pages have the listings of today, {len(changed)} of them new.")


def docs(is_check: bool = False, site: Path = SITE) -> int:
    """Write the listings, or with `is_check` only compare them; then make the site.

    Return 0. Raises UserError if a listing, a link or anything else in a page is wrong.
    """
    python = environment.ensure_everything()
    write_listings(python, is_check)
    state = site.with_name(f"{site.name}-state")
    command = [str(python), "-m", "sphinx", "--quiet", "--fail-on-warning", "--keep-going"]
    command += ["--doctree-dir", str(state), str(DOCS), str(site)]
    say("Making the site …")
    if subprocess.run(command, cwd=ROOT, env=clean_environment()).returncode:
        raise UserError("The book has mistakes: read the lines above.")
    say(f"The book is a web site: open {colour(str(site / 'index.html'), 'bold')}")
    return 0
