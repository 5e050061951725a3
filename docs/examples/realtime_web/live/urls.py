"""Which path has which view. The socket has its path in config/asgi.py."""

from django.urls import path

from . import views

urlpatterns = [
    path("", views.page),
    path("start/", views.start),
    path("poll/<int:after>/", views.poll),
    path("long-poll/<int:after>/", views.long_poll),
    path("stream/<int:after>/", views.stream),
    path("slow/", views.slow),
    path("slow-sync/", views.slow_sync),
]
