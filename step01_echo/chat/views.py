"""The chat's pages: ordinary Django views. The live part is in consumers.py."""

from django.shortcuts import render


def echo(request):
    """Show the page that opens a socket to the echo consumer."""
    return render(request, "chat/echo.html")
