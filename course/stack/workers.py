"""The command lines of the workers, for Python; `{port}` is the port of the worker.

`course/` has these command lines only here. Tests compare the files in step 5's `deploy/` with
this list.
"""

from course.core.ports import HOST

WORKERS = {
    "uvicorn": [
        *("-m", "uvicorn", "config.asgi:application", "--host", HOST, "--port", "{port}"),
        *("--proxy-headers", "--forwarded-allow-ips", HOST, "--no-access-log"),
        *("--ws-max-size", "65536", "--ws-per-message-deflate", "false"),
        # Without a limit, a stop waits for ever for a client that does not read.
        *("--timeout-graceful-shutdown", "8"),
    ],
    "daphne": [
        *("-m", "daphne", "-b", HOST, "-p", "{port}", "--proxy-headers", "-v", "0"),
        "config.asgi:application",
    ],
}
SERVERS = tuple(WORKERS)
