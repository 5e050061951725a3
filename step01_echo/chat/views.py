"""The chat's pages: ordinary Django views. What happens live is in consumers.py."""

from django.shortcuts import render


def echo(request):
    """Show the page that opens a socket and talks to the echo consumer."""
    return render(request, "chat/echo.html")
