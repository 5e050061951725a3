"""Step 5's entry point, with the consumer of the tutorials."""

from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.core.asgi import get_asgi_application
from django.urls import path

django_application = get_asgi_application()

from chat.middleware import TokenMiddleware  # noqa: E402
from course.bench.inside.tutorial import TutorialConsumer  # noqa: E402

sockets = URLRouter([path("ws/chat/<room:room_name>/", TutorialConsumer.as_asgi())])

application = ProtocolTypeRouter(
    {
        "http": django_application,
        "websocket": TokenMiddleware(
            sockets,
            without_token=AllowedHostsOriginValidator(AuthMiddlewareStack(sockets)),
        ),
    }
)
