"""Which consumer answers which path: the sockets' counterpart of urls.py.

Every path starts with ``ws/``. A proxy in front of the server can then tell sockets
from pages by their path alone.
"""

from channels.security.websocket import WebsocketDenier
from django.urls import path, re_path

from . import consumers

websocket_urlpatterns = [
    # as_asgi() is like a view's as_view(): each connection gets a new consumer.
    # <room:…> is the converter in rooms.py; importing the consumers has registered it.
    path("ws/chat/<room:room_name>/", consumers.ChatConsumer.as_asgi()),
    # Refuse every other path. Without this line, each one is a traceback in the log.
    re_path(r"", WebsocketDenier.as_asgi()),
]
