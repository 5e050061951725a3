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

from chat.middleware import SessionUserMiddleware, TokenMiddleware  # noqa: E402
from chat.routing import websocket_urlpatterns  # noqa: E402
from config.watchdog import lifespan  # noqa: E402

sockets = URLRouter(websocket_urlpatterns)
# Browsers let any website open a socket to this server. From another subdomain of our
# site, the socket brings our visitor's cookies. The validator refuses foreign origins.
with_cookie = AllowedHostsOriginValidator(
    # Reads the session cookie, and puts the user into the scope.
    SessionUserMiddleware(sockets)
)

application = ProtocolTypeRouter(
    {
        "http": django_application,
        # A client sends a token on purpose, so a token is good from any origin.
        "websocket": TokenMiddleware(sockets, without_token=with_cookie),
        # The server's own start and stop.
        "lifespan": lifespan,
    }
)
