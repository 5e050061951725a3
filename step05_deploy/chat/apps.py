"""The chat application, as Django knows it."""

from django.apps import AppConfig


class ChatConfig(AppConfig):
    """Name the application; Django finds this class by itself."""

    name = "chat"

    def ready(self):
        """Connect the signals, and correct the servers: importing them does it."""
        from . import servers, signals  # noqa: F401
