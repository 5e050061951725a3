"""Ask a worker whether it answers, by default the one in this container.

    python deploy/healthcheck.py http://127.0.0.1:8001/readyz

The exit code is 1 if it does not answer, or is not ready.
"""

import os
import sys
import urllib.error
import urllib.request

address = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8000/healthz"
# Django refuses a host name that is not allowed, so ask for the first allowed one.
hosts = os.environ.get("DJANGO_ALLOWED_HOSTS", "")
host = hosts.split(",")[0].lstrip(".*") or "localhost"
request = urllib.request.Request(address, headers={"Host": host})
try:
    urllib.request.urlopen(request, timeout=3)
except urllib.error.HTTPError as error:
    sys.exit(f"The worker is not ready: {error} {error.read(500).decode()}")
except OSError as error:
    sys.exit(f"The worker does not answer: {error}")
