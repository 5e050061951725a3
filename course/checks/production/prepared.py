"""Stacks for tests: a real stack makes site and database once, and the others begin with copies."""

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import time
from functools import cache
from pathlib import Path
from urllib.parse import quote

import requests
from websockets.sync.client import connect

import course.stack
from course.core.environment import LOCK
from course.core.processes import wait_until
from course.core.steps import ROOT, find_step, step_files
from course.stack.stack import STEP, Stack

KEPT = ROOT / ".course" / "prepared"
UNUSED = 3600.0  # seconds without use, after which a folder made from other files is deleted
PUPILS = [f"pupil{number}" for number in range(1, 9)]  # a class, for tests that need a crowd
ADD_PEOPLE = f"""
from django.conf import settings
from django.contrib.auth.models import User
for name in ["ann", "ben", "cat", *{PUPILS}]:
    User.objects.create_user(name, password=settings.SECRET_KEY)
"""
# By design, Django's usual hasher works for a fifth of a second to check a password.
CHEAP_PASSWORDS = """
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
"""


def fingerprint() -> str:
    """Return a hash of everything that a new stack depends on."""
    step = find_step(STEP).folder
    files = [step / file for file in step_files(step)]
    files += [*Path(course.stack.__file__).parent.glob("*.py"), Path(__file__)]
    facts = [platform.platform(), sys.version, sys.executable, str(os.getuid())]
    files.append(ROOT / LOCK)
    found = hashlib.sha256("\0".join(facts).encode())
    for file in files:
        found.update(f"\0{file}\0".encode() + file.read_bytes())
    return found.hexdigest()[:16]


@cache
def prepared() -> Path:
    """Return the folder that stacks with Ann, Ben and Cat begin with; make it if need be.

    Everybody's password is that of the stack. Only the password hasher differs from production.
    """
    import fcntl

    KEPT.mkdir(parents=True, exist_ok=True)
    kept = KEPT / fingerprint()
    with (KEPT / "lock").open("w") as lock:
        # Another process may be making the folder at this moment.
        fcntl.flock(lock, fcntl.LOCK_EX)
        for other in KEPT.iterdir():
            if other.is_dir() and other.stat().st_mtime < time.time() - UNUSED:
                shutil.rmtree(other)
        if not kept.exists():
            made = KEPT / "unfinished"
            shutil.rmtree(made, ignore_errors=True)
            with Stack(workers=1) as stack:
                with (stack.site / "config" / "settings.py").open("a") as settings:
                    settings.write(CHEAP_PASSWORDS)
                stack.manage("shell", "-v0", "-c", ADD_PEOPLE)
                stack.parts["postgres"].stop()
                made.mkdir(0o700)
                (made / "password").write_text(stack.password)
                copy_tree(stack.site, made / "site")
                copy_tree(stack.folder / "postgres" / "data", made / "data")
            made.rename(kept)
        os.utime(kept)
    return kept


def copy_tree(source: Path, target: Path) -> None:
    """Copy a folder with all its files; keep the owner and time of each file."""
    subprocess.run(["cp", "-pR", source, target], check=True)


class QuickStack(Stack):
    """A stack that begins with copies of the prepared site and database."""

    def __init__(self, port: int | None = None, workers: int = 2, *rest, **options) -> None:
        password = (prepared() / "password").read_text()
        super().__init__(port, workers, *rest, **options, password=password)

    def make_site(self) -> None:
        """Copy the prepared site and the prepared database."""
        copy_tree(prepared() / "site", self.site)
        (self.folder / "postgres").mkdir(0o700)
        copy_tree(prepared() / "data", self.folder / "postgres" / "data")

    def manage(self, *arguments: str) -> None:
        """Do nothing: the prepared database has the tables."""


def sign_in(stack: Stack, name: str) -> requests.Session:
    """Sign a person in; return the session, which acts as the person's browser."""
    session = requests.Session()
    url = f"{stack.url}/accounts/login/"
    page = session.get(url, timeout=30).text
    form = {"username": name, "password": stack.password}
    form["csrfmiddlewaretoken"] = page.partition('csrfmiddlewaretoken" value="')[2][:64]
    assert session.post(url, data=form, timeout=30).url == f"{stack.url}/chat/"
    return session


class Place:
    """A stack, and people who have signed in."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.visitors = dict[str, requests.Session]()

    def visitor(self, who: str) -> requests.Session:
        """Return the browser of a person who has signed in."""
        if who not in self.visitors:
            self.visitors[who] = sign_in(self.stack, who)
        return self.visitors[who]

    def headers(self, who: str | None = "ann") -> dict[str, str]:
        """Return the headers that the browser of a person, or of a stranger, sends."""
        cookies = {"Cookie": f"sessionid={self.visitor(who).cookies['sessionid']}"} if who else {}
        return {"Origin": self.stack.url, **cookies}

    def post(self, who: str, path: str) -> requests.Response:
        """Send a form as a person's page does."""
        visitor = self.visitor(who)
        form = {"csrfmiddlewaretoken": visitor.cookies["csrftoken"]}
        return visitor.post(f"{self.stack.url}{path}", data=form, timeout=30)

    def token(self, who: str = "ann") -> str:
        """Return a new token for a person."""
        answer = self.post(who, "/api/token/")
        assert answer.status_code == 200, answer.text
        return answer.json()["token"]

    def join(self, room: str, who: str | None = "ann", at: str = "", **query: str) -> connect:
        """Open a socket as a person's page does, through nginx or at a worker's host."""
        fields = "&".join(f"{key}={quote(value)}" for key, value in query.items())
        url = f"ws://{at or self.stack.host}/ws/chat/{quote(room, safe='')}/?{fields}"
        return connect(url, additional_headers=self.headers(who))

    def is_ready(self) -> bool:
        """Tell whether each worker is ready."""
        urls = self.stack.worker_urls
        return all(requests.get(f"{url}/readyz", timeout=30).ok for url in urls)

    def mend(self) -> None:
        """Start the parts that do not run, and wait until each worker is ready."""
        for part in self.stack.parts.values():
            if not part.running:
                part.start()
        assert wait_until(self.is_ready, 30)
