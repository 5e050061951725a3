"""The server's entry point: which application answers which protocol."""

import os

from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

# This call loads the apps and their models. The import below may reach a model, so it
# must come second. In the other order, production fails with AppRegistryNotReady.
# `runserver` hides the mistake, because it has loaded the apps before.
django_application = get_asgi_application()

from chat.routing import websocket_urlpatterns  # noqa: E402

application = ProtocolTypeRouter(
    {
        "http": django_application,
        # Browsers let any website open a socket to this server. From another subdomain
        # of our site, the socket brings our visitor's cookies. The validator refuses
        # foreign origins.
        "websocket": AllowedHostsOriginValidator(URLRouter(websocket_urlpatterns)),
    }
)
