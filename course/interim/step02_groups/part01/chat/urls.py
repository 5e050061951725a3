"""The chat's pages."""

from django.urls import path
from django.views.generic import RedirectView

from . import views

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="index")),
    path("chat/", views.index, name="index"),
    path("chat/<slug:room_name>/", views.room, name="room"),
]
