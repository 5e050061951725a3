"""Replaces a step's manage.py in tests of the tools, without Django.

Like Django's auto-reloader, the server is a child process. FAKE_CODE makes the server end with
that exit code. FAKE_STATUS is the status of each page. With FAKE_ASK, the server reads a line from
standard input, as `breakpoint()` does. FAKE_MIGRATE is the exit code of `migrate`.
"""

import http.server
import os
import subprocess
import sys


def serve(port):
    """Answer every request on `port` with FAKE_STATUS, until Ctrl-C."""

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(int(os.environ.get("FAKE_STATUS", "200")))
            self.send_header("Content-Length", "0")
            self.end_headers()

    with http.server.ThreadingHTTPServer(("127.0.0.1", port), Page) as server:
        print(f"pid {os.getpid()}", flush=True)
        if "FAKE_ASK" in os.environ:
            print(f"heard {input()}", flush=True)
        server.serve_forever()


def main():
    """Carry out `migrate` or `runserver 127.0.0.1:port`."""
    if sys.argv[1] == "migrate":
        return int(os.environ.get("FAKE_MIGRATE", "0"))
    if "FAKE_CODE" in os.environ:
        return int(os.environ["FAKE_CODE"])
    try:
        if "FAKE_CHILD" in os.environ:
            serve(int(sys.argv[2].rpartition(":")[2]))
        print(f"pid {os.getpid()}", flush=True)
        child = os.environ | {"FAKE_CHILD": "1"}
        return subprocess.run([sys.executable, *sys.argv], env=child).returncode
    except KeyboardInterrupt:
        return 0


if __name__ == "__main__":
    sys.exit(main())
