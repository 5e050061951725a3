"""The server's entry point: pages go to Django, and sockets go to the consumer."""

import os

from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.core.asgi import get_asgi_application
from django.urls import path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
django_application = get_asgi_application()

from live.consumers import EventConsumer  # noqa: E402

sockets = URLRouter([path("ws/events/", EventConsumer.as_asgi())])
application = ProtocolTypeRouter(
    {
        "http": django_application,
        "websocket": AllowedHostsOriginValidator(sockets),
    }
)
