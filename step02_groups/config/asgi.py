"""The entry point of the server: which application answers which protocol."""

import os

from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

# This call loads the apps and their models, so it comes before the import below, which may
# reach a model. The other way round is AppRegistryNotReady in production, while `runserver`,
# which has loaded the apps already, hides the mistake.
django_application = get_asgi_application()

from chat.routing import websocket_urlpatterns  # noqa: E402

application = ProtocolTypeRouter(
    {
        "http": django_application,
        # Any page on the web may open a socket to this server, with the visitor's cookies.
        # The validator refuses the pages that are not ours, by their Origin header.
        "websocket": AllowedHostsOriginValidator(URLRouter(websocket_urlpatterns)),
    }
)
