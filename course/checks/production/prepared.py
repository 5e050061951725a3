"""The site and database that test stacks begin with: a real stack makes both once, to keep."""

import hashlib
import os
import platform
import shutil
import sys
import time
from functools import cache
from pathlib import Path

import requests

import course.stack
from course.core.environment import LOCK
from course.core.steps import ROOT, find_step, step_files
from course.stack import STEP, Stack

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
                stack.keep(made)
            made.rename(kept)
        os.utime(kept)
    return kept


def sign_in(stack: Stack, name: str) -> requests.Session:
    """Sign a person in; return the session, which acts as the person's browser."""
    session = requests.Session()
    url = f"{stack.url}/accounts/login/"
    page = session.get(url, timeout=30).text
    form = {"username": name, "password": stack.password}
    form["csrfmiddlewaretoken"] = page.partition('csrfmiddlewaretoken" value="')[2][:64]
    assert session.post(url, data=form, timeout=30).url == f"{stack.url}/chat/"
    return session
