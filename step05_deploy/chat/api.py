"""``POST /api/token/``: a token for a browser that has signed in, or for a password."""

import hashlib
import json
import threading

from django.contrib.auth import authenticate
from django.core.cache import cache
from django.core.exceptions import SuspiciousOperation
from django.http import JsonResponse
from django.views.decorators.csrf import csrf_exempt, csrf_protect
from django.views.decorators.http import require_POST

from .protocol import is_text
from .tokens import LIFETIME, make_token

MAX_FAILURES = 5  # wrong passwords for one name from one address …
FAILURES_LAST = 60  # … within this many seconds
QUEUE = 5  # seconds that somebody waits until it is their password's turn
# To check a password is work, on purpose, and takes a connection to the database for as long: if
# all were checked at once, none would be left for the chat.
checking = threading.BoundedSemaphore(4)


def error(status, sentence):
    """Return a response that says what is wrong."""
    return JsonResponse({"error": sentence}, status=status)


def read_fields(request):
    """Return the fields of a JSON object or of a form; ValueError if it cannot be read."""
    try:
        if request.content_type != "application/json":
            return request.POST
        fields = json.loads(request.body or "{}")
    except (SuspiciousOperation, RecursionError) as error:
        raise ValueError("too much of it, or too deep") from error
    if not isinstance(fields, dict):
        raise ValueError("not an object")
    return fields


# Exempt, because a script that sends a password has no cookie which another site could abuse.
# A browser's session has one: session_token, which answers for it, is protected.
@csrf_exempt
@require_POST
def token(request):
    """Answer ``{"token": "…", "expires_in": 30}``, or ``{"error": "…"}`` with 400, 401 or 429.

    Takes ``username`` and ``password``, as JSON or as a form; without either, the session's user.
    Only failures are counted: after ``MAX_FAILURES`` of them, that name has to wait.
    """
    try:
        fields = read_fields(request)
    except ValueError:
        return error(400, "That is not a JSON object, or a form, that can be read.")
    username, password = fields.get("username"), fields.get("password")
    if username is None and password is None and request.user.is_authenticated:
        return session_token(request)
    if not is_text(username) or not is_text(password):
        return error(400, "Send username and password as text, or sign in first.")

    who = f"{request.META['REMOTE_ADDR']} {username}"
    failures = "chat.failures." + hashlib.sha256(who.encode()).hexdigest()
    if cache.get(failures, 0) < MAX_FAILURES:
        if not checking.acquire(timeout=QUEUE):
            return error(429, "Too many people sign in just now. Try again in a moment.")
        try:
            user = authenticate(request, username=username, password=password)
        finally:
            checking.release()
        if user is not None:
            return JsonResponse({"token": make_token(user), "expires_in": LIFETIME})
        cache.add(failures, 0, timeout=FAILURES_LAST)
        # Counted afterwards as well: many may have come at once.
        if cache.incr(failures) <= MAX_FAILURES:
            return error(401, "The username or the password is wrong.")
    return error(429, "Too many wrong passwords. Wait a minute, then try again.")


@csrf_protect
def session_token(request):
    """Answer with a token for the user of the session."""
    return JsonResponse({"token": make_token(request.user), "expires_in": LIFETIME})
