"""The chat application, as Django knows it."""

from django.apps import AppConfig


class ChatConfig(AppConfig):
    """Give the application its name. Django finds this class by itself."""

    name = "chat"
