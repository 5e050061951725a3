"""The limits of Daphne in production, named in one place. The README of step 5 has the same table.

On Daphne as on uvicorn, no message is lost, no message comes twice, and all come in order. Each
limit here comes from Daphne, or from Autobahn, its WebSocket library. Step 5 patches neither.
A test that meets a limit names it. If a new version of Daphne removes the limit, that test fails.

uvicorn and Daphne share one more limit: the server answers each ping, and the answers wait in
memory for a client that does not read. No test checks this limit.
"""

# Each limit with the address of its report. None: nobody has reported the limit so far.
LIMITS = {
    # Daphne cancels its applications and stops, without a close frame to the clients.
    "No close frame at a stop": "https://github.com/django/daphne/issues/177",
    # Daphne takes every message that the application sends, and never makes the sender wait.
    "No back-pressure for a client that does not read": (
        "https://github.com/django/daphne/issues/170"
    ),
    # Autobahn's default, failByDrop, drops a client that breaks the protocol. 1 MiB is the default
    # since Daphne 4.2.2; the option --websocket-max-message-size changes the size.
    "A frame over 1 MiB ends the connection without a code": (
        "https://github.com/crossbario/autobahn-python/issues/29"
    ),
    # Autobahn counts in whole seconds of the clock. Then it resets the connection, and what the
    # client has not read is lost.
    "A client has less than a second to answer a close frame": None,
    "The queue of frames to a busy consumer is unbounded": None,
    "Close codes other than 1000 and 3000 to 4999 are refused": (
        "https://github.com/crossbario/autobahn-python/issues/1642"
    ),
}


def is_limited(server: str, limit: str) -> bool:
    """Tell whether a server has a limit. Raise ValueError if the limit is not in `LIMITS`."""
    if limit not in LIMITS:
        raise ValueError(f"not among the limits: {limit}")
    return server == "daphne"
