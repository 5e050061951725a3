"""The chat's pages."""

from django.urls import path

from . import views

urlpatterns = [
    path("", views.echo, name="echo"),
]
