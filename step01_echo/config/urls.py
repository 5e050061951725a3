"""Which pages there are. Sockets have their own list: chat/routing.py."""

from django.urls import include, path

urlpatterns = [
    path("", include("chat.urls")),
]
