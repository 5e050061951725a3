"""The chat application, as Django knows it."""

import atexit

from django.apps import AppConfig
from django.db import connection


class ChatConfig(AppConfig):
    """Name the application; Django finds this class by itself."""

    name = "chat"

    def ready(self):
        """Connect the signals, and correct the servers: importing them does it."""
        from . import servers, signals  # noqa: F401

        atexit.register(close_pool)


def close_pool():
    """Close the pool of connections to PostgreSQL, if there is one.

    From Python 3.13 on, a pool that is still open at the end waits five seconds for each of its
    threads.
    """
    if connection.vendor == "postgresql":
        connection.close_pool()
