"""The chat's pages: ordinary Django views."""

from django.shortcuts import render


def echo(request):
    """Show the page."""
    return render(request, "chat/echo.html")
