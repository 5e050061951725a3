"""The chat's sockets: what urls.py is for pages, this is for WebSockets.

Every path starts with ``ws/``, so that a proxy in front can tell sockets from pages by the
path alone.
"""

from channels.security.websocket import WebsocketDenier
from django.urls import path, re_path

from . import consumers

websocket_urlpatterns = [
    # as_asgi(), like a view's as_view(): a new consumer for every connection.
    path("ws/chat/<room:room_name>/", consumers.ChatConsumer.as_asgi()),
    # Any other path: refused in silence. Without this line, each is a traceback in the log.
    re_path(r"", WebsocketDenier.as_asgi()),
]
