"""Which pages there are. Sockets have a list of their own: chat/routing.py."""

from django.urls import include, path

urlpatterns = [
    path("", include("chat.urls")),
]
