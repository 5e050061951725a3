"""The step's own settings, with the application and the channel layers wrapped."""

import os

from config.settings import *  # noqa: F403
from config.settings import ALLOWED_HOSTS, DEBUG

# With debug on, Django replaces an empty list by names of this machine.
reasons = [host for host in ALLOWED_HOSTS if host not in ("127.0.0.1", "localhost", "[::1]")]
# Only `make stack`, which names its workers, runs on this machine with debug off.
if not DEBUG and not os.environ.get("COURSE_WORKER"):
    reasons.append("DEBUG = False")
if reasons:
    raise SystemExit(
        "Cannot start: TRACE shows everybody's messages, so it is for development on this machine "
        f"only. Remove {', '.join(reasons)} from the settings, or start without TRACE."
    )

ASGI_APPLICATION = "course.wire.inside.trace.application"
CHANNEL_LAYERS = {
    alias: {
        "BACKEND": "course.wire.inside.trace.TracedLayer",
        "CONFIG": {"backend": layer["BACKEND"], "config": layer.get("CONFIG", {})},
    }
    for alias, layer in globals().get("CHANNEL_LAYERS", {}).items()
}
