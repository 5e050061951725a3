"""The step's settings, changed for the tests and for the server that they start."""

import os

from config.settings import *  # noqa: F403

# The tests have their own database. It is a file: the server is another process, and
# cannot see a database in the memory of this one. An environment variable tells it the
# file's name.
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("TEST_DATABASE", ""),
        "OPTIONS": {
            # The test data need not outlive a power failure: do not wait for the disk.
            "init_command": "PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF",
        },
        "TEST": {"NAME": BASE_DIR / "test.sqlite3"},  # noqa: F405
    }
}

# A password hash is slow on purpose. The tests need a quick one.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
