"""The chat application, as Django knows it."""

from django.apps import AppConfig


class ChatConfig(AppConfig):
    """Give the application its name. Django finds this class by itself."""

    name = "chat"

    def ready(self):
        """Connect the signals: importing the module does it."""
        from . import signals  # noqa: F401
