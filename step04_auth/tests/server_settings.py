"""The step's settings on the tests' database: for the server that the tests start."""

import os

from config.settings import *  # noqa: F403

DATABASES["default"]["NAME"] = os.environ["TEST_DATABASE"]  # noqa: F405

# A password hash is slow on purpose. Not here: each new one is fast, others still work.
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.MD5PasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
