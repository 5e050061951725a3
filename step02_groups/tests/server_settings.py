"""The step's settings on the tests' database: for the server that the tests start."""

import os

from config.settings import *  # noqa: F403

DATABASES["default"]["NAME"] = os.environ["TEST_DATABASE"]  # noqa: F405
