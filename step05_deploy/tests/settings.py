"""The step's settings, for the tests and for the server that they start."""

import os

from config.settings import *  # noqa: F403

# A database of their own. It is a file, because the server is another process, which cannot see
# a database that lives in memory; the server is told its name.
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("TEST_DATABASE", ""),
        # Nothing here has to outlive a power failure, so nobody waits for the disk.
        "OPTIONS": {
            "init_command": "PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF"
        },
        "TEST": {"NAME": BASE_DIR / "test.sqlite3"},  # noqa: F405
    }
}

# A password hash is slow on purpose; here it need not be.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

# The tests write faster than a person, but for those that ask what happens then.
CHAT_MESSAGE_RATE = CHAT_MESSAGE_BURST = 100_000
