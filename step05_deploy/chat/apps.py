"""The chat application, as Django knows it."""

import atexit

from django.apps import AppConfig
from django.db import connection


class ChatConfig(AppConfig):
    """Give the application its name. Django finds this class by itself."""

    name = "chat"

    def ready(self):
        """Connect the signals: importing the module does it."""
        from . import signals  # noqa: F401

        atexit.register(close_pool)


def close_pool():
    """Close the pool of PostgreSQL connections, if there is one.

    From Python 3.13 on, an open pool delays the end of the process by five seconds for
    each of its threads.
    """
    if connection.vendor == "postgresql":
        connection.close_pool()
