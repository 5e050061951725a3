"""Ask the worker in this container whether it answers; exit code 1 if not."""

import os
import sys
import urllib.request

# Django refuses a host name that is not allowed, so ask for the first allowed one.
host = os.environ["DJANGO_ALLOWED_HOSTS"].split(",")[0].lstrip(".*") or "localhost"
request = urllib.request.Request(
    "http://127.0.0.1:8000/healthz", headers={"Host": host}
)
try:
    urllib.request.urlopen(request, timeout=3)
except OSError as error:
    sys.exit(f"The worker does not answer: {error}")
