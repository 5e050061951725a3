"""``POST /api/token/``: a token for a signed-in browser, or for a password."""

import json

from django.contrib.auth import authenticate
from django.http import JsonResponse
from django.views.decorators.csrf import csrf_exempt, csrf_protect
from django.views.decorators.http import require_POST

from .protocol import is_text
from .tokens import LIFETIME, make_token


def error_response(status, sentence):
    """Return a response with an error for a person."""
    return JsonResponse({"error": sentence}, status=status)


def read_fields(request):
    """Return the fields of a JSON object or a form. Raises ValueError."""
    try:
        if request.content_type != "application/json":
            return request.POST
        fields = json.loads(request.body or "{}")
    except Exception as error:  # of many kinds: too large, too deep, no such charset
        raise ValueError("cannot be read") from error
    if not isinstance(fields, dict):
        raise ValueError("not an object")
    return fields


# A password needs no CSRF check, a session does: session_token is protected.
@csrf_exempt
@require_POST
def token(request):
    """Answer ``{"token": "…", "expires_in": 30}``, or ``{"error": "…"}``.

    Takes ``username`` and ``password`` as JSON or as a form; without them, the token
    is for the session's user. Errors: 400 malformed, 401 wrong.
    """
    try:
        fields = read_fields(request)
    except ValueError:
        return error_response(400, "Send a JSON object or a form.")
    username, password = fields.get("username"), fields.get("password")
    if username is None and password is None and request.user.is_authenticated:
        return session_token(request)
    if not is_text(username) or not is_text(password):
        return error_response(400, "Send username and password as text, or sign in.")
    user = authenticate(request, username=username, password=password)
    if user is None:
        return error_response(401, "The username or the password is wrong.")
    return JsonResponse({"token": make_token(user), "expires_in": LIFETIME})


@csrf_protect
def session_token(request):
    """Answer with a token for the session's user."""
    token = make_token(request.user, request.session.session_key)
    return JsonResponse({"token": token, "expires_in": LIFETIME})
