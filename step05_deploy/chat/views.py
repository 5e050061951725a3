"""The chat's pages: ordinary Django views. The live part is in consumers.py."""

from django.contrib.auth import login
from django.contrib.auth.decorators import login_required
from django.contrib.auth.forms import UserCreationForm
from django.contrib.auth.views import RedirectURLMixin
from django.shortcuts import redirect, render
from django.urls import NoReverseMatch
from django.views.generic import CreateView

from .rooms import ROOM_NAME_RULE


class SignUpView(RedirectURLMixin, CreateView):
    """Create a user, sign them in, and redirect to ``?next=`` or the first page."""

    form_class = UserCreationForm
    template_name = "registration/signup.html"
    next_page = "index"

    def form_valid(self, form):
        """Sign the new user in."""
        response = super().form_valid(form)
        login(self.request, self.object)
        return response


@login_required
def index(request):
    """Ask for a room name, then redirect to the page of that room."""
    room_name = request.GET.get("room", "").strip()
    if not room_name:
        return render(request, "chat/index.html")
    try:
        return redirect("room", room_name=room_name)
    except NoReverseMatch:
        return no_such_room(request)


@login_required
def room(request, room_name):
    """Show the page of a room, which opens a socket to that room."""
    return render(request, "chat/room.html", {"room_name": room_name})


def no_such_room(request):
    """Answer 404 with the rule for room names, and ask again."""
    return render(request, "chat/index.html", {"error": ROOM_NAME_RULE}, status=404)
