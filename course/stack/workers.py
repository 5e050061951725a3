"""The command lines of the workers, for Python; `{port}` is the worker's own.

Only here in `course/`: tests compare the files in step 5's `deploy/` with them.
"""

from course.run import HOST

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
