"""The chat's pages."""

from django.contrib.auth.views import LoginView, LogoutView
from django.urls import path, re_path
from django.views.generic import RedirectView

from . import api, health, views

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="index")),
    path("accounts/signup/", views.SignUpView.as_view(), name="signup"),
    path("accounts/login/", LoginView.as_view(), name="login"),
    path("accounts/logout/", LogoutView.as_view(), name="logout"),
    path("api/token/", api.token, name="token"),
    path("healthz", health.healthz, name="healthz"),
    path("readyz", health.readyz, name="readyz"),
    path("chat/", views.index, name="index"),
    # <room:…> is the converter in rooms.py; importing the views has registered it.
    path("chat/<room:room_name>/", views.room, name="room"),
    # Every other name, also one with a line break, which `.` would not match.
    re_path(r"^chat/[\s\S]+/$", views.no_such_room),
]
