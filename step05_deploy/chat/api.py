"""``POST /api/token/``: a token for a signed-in browser, or for a password."""

import json

from django.contrib.auth import authenticate
from django.core.exceptions import ValidationError
from django.http import JsonResponse
from django.views.decorators.csrf import csrf_exempt, csrf_protect
from django.views.decorators.http import require_POST
from redis.exceptions import RedisError

from .limits import NOT_NOW
from .outages import log_error
from .protocol import is_text
from .tokens import LIFETIME, make_token


def error_response(status, sentence):
    """Return a response with an error for a person."""
    return JsonResponse({"error": sentence}, status=status)


def token_response(user, session_key=None):
    """Return a response with a new token."""
    try:
        token = make_token(user, session_key)
    except RedisError as error:
        log_error("cannot make a token", error)
        return error_response(503, NOT_NOW)
    return JsonResponse({"token": token, "expires_in": LIFETIME})


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
    is for the session's user. Errors: 400 malformed, 401 wrong, 429 wait, 503 not now.
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
    try:
        user = authenticate(request, username=username, password=password)
    except ValidationError as error:
        status = 503 if error.code == "unavailable" else 429
        return error_response(status, error.message)
    if user is None:
        return error_response(401, "The username or the password is wrong.")
    return token_response(user)


@csrf_protect
def session_token(request):
    """Answer with a token for the session's user."""
    return token_response(request.user, request.session.session_key)
