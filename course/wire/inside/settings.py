"""The step's own settings, with the application and the channel layers wrapped."""

import os

from config.settings import *  # noqa: F403
from config.settings import ALLOWED_HOSTS, DEBUG

# With debug on, Django replaces an empty list by names of this machine. Only `make stack`, which
# names its workers, runs on this machine with debug off.
local = DEBUG or os.environ["COURSE_WORKER"]
if not local or {*ALLOWED_HOSTS} - {"127.0.0.1", "localhost", "[::1]"}:
    raise SystemExit(
        "Cannot start: TRACE shows everybody's messages, so it is for development on this machine "
        f"only, not for DEBUG = {DEBUG} with ALLOWED_HOSTS = {ALLOWED_HOSTS}. Change the settings, "
        "or start without TRACE."
    )

ASGI_APPLICATION = "course.wire.inside.trace.application"
CHANNEL_LAYERS = {
    alias: {"BACKEND": "course.wire.inside.trace.TracedLayer", "CONFIG": layer}
    for alias, layer in globals().get("CHANNEL_LAYERS", {}).items()
}
