"""Prove that the project in a folder runs, then run pytest there.

`make redgreen` starts this module with the Python of the course's environment. The arguments are
the folder and the arguments for pytest.
"""

import os
import subprocess
import sys

from course.core.ports import HOST, free_port
from course.learn.standalone import ProofFailed, ask
from course.maintain.verdicts import NOT_RUNNING

# As a reader would with `manage.py`, but in one process, because each start imports Django anew.
COMMANDS = """
import sys, manage
server = f"runserver --noreload {sys.argv[1]}"
for command in ("check", "makemigrations --check", "migrate", server):
    print("$ manage.py", command, flush=True)
    sys.argv = ["manage.py", *command.split()]
    if code := manage.main():
        sys.exit(code)
"""


def prove() -> None:
    """Check, migrate and serve the project in this folder, and get its first page; or exit."""
    address = f"{HOST}:{free_port()}"
    server = subprocess.Popen([sys.executable, "-c", COMMANDS, address])
    try:
        ask(server.poll, f"http://{address}/")
    except ProofFailed as error:
        if server.poll() is None:  # else the failed command has said why
            print(error, flush=True)
        sys.exit(NOT_RUNNING)
    finally:
        server.kill()
        server.wait()


if __name__ == "__main__":
    os.chdir(sys.argv[1])
    prove()
    os.execv(sys.executable, [sys.executable, "-m", "pytest", *sys.argv[2:]])
