"""The entry point of the server: which application answers which protocol."""

import gc
import os

from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

# This call loads the apps and their models, so it comes before the import below, which may
# reach a model. The other way round is AppRegistryNotReady in production, while `runserver`,
# which has loaded the apps already, hides the mistake.
django_application = get_asgi_application()

from chat.middleware import SessionMiddleware, TokenMiddleware  # noqa: E402
from chat.routing import websocket_urlpatterns  # noqa: E402

sockets = URLRouter(websocket_urlpatterns)

application = ProtocolTypeRouter(
    {
        "http": django_application,
        # A token is sent on purpose, by a page, a phone or a script, and is good from anywhere.
        "websocket": TokenMiddleware(
            sockets,
            # Any page on the web may open a socket to this server, with the visitor's cookies.
            # The validator refuses the pages that are not ours, by their Origin header.
            without_token=AllowedHostsOriginValidator(SessionMiddleware(sockets)),
        ),
    }
)

# To find garbage, Python looks at every object there is: with thousands of sockets, all of them
# stand still for some tenths of a second. So it looks rarely, and never at what is here already.
gc.freeze()
gc.set_threshold(10_000, 50, 1000)
