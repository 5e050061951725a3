"""The limits of Daphne in production, named in one place. The README of step 5 has the same table.

On Daphne as on uvicorn nothing is lost, nothing comes twice, and everything comes in order. Each
limit here comes from Daphne, or from Autobahn, its WebSocket library. Step 5 does not patch them.
A test that finds a limit names it, so a limit that is gone with a new Daphne fails that test.

uvicorn has one limit as well: it answers each ping, and the answers wait in memory for a client
that does not read. So does Daphne. No test holds a server to that one.
"""

# Each limit with the address where it is reported; None: nobody has reported it so far.
LIMITS = {
    # Daphne cancels its applications and stops. It tells the clients nothing.
    "No close frame at a stop": "https://github.com/django/daphne/issues/177",
    # Daphne takes every message that it is to send. It never makes the sender wait.
    "No back-pressure for a client that does not read": (
        "https://github.com/django/daphne/issues/170"
    ),
    # Autobahn's default, failByDrop: a client that breaks the protocol is dropped. 1 MiB is the
    # default since Daphne 4.2.2, and --websocket-max-message-size changes it.
    "A frame over 1 MiB ends the connection without a code": (
        "https://github.com/crossbario/autobahn-python/issues/29"
    ),
    "The queue of frames to a busy consumer is unbounded": None,
    "Close codes other than 1000 and 3000 to 4999 are refused": (
        "https://github.com/crossbario/autobahn-python/issues/1642"
    ),
}


def is_limited(server: str, limit: str) -> bool:
    """Tell whether a server has a limit; ValueError if `LIMITS` does not name it."""
    if limit not in LIMITS:
        raise ValueError(f"not among the limits: {limit}")
    return server == "daphne"
