"""A machine with PostgreSQL whose network a test can cut."""

import os
import random
import subprocess
import sys

from psycopg.conninfo import conninfo_to_dict

# A server in a network namespace passes all data on to PostgreSQL's Unix socket. The server ends
# when its standard input ends.
FORWARD = """
import asyncio, os, sys

async def copy(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
    writer.close()

async def carry(reader, writer):
    far_reader, far_writer = await asyncio.open_unix_connection(sys.argv[1])
    await asyncio.gather(copy(reader, far_writer), copy(far_reader, writer))

async def main():
    server = await asyncio.start_server(carry, "0.0.0.0", 5432)
    print(os.getpid(), flush=True)
    await asyncio.to_thread(sys.stdin.read)
    os._exit(0)

asyncio.run(main())
"""
AS_ROOT = [] if os.name == "nt" or os.getuid() == 0 else ["sudo", "-n"]


def as_root(*command: str) -> None:
    """Run a command that only root may run."""
    done = subprocess.run([*AS_ROOT, *command], capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"


class Machine:
    """A machine with PostgreSQL: a network namespace with a cable to this machine.

    A proxy cannot play the machine: the system answers keepalive probes even for a silent proxy.
    """

    def __init__(self, database_url: str) -> None:
        found = conninfo_to_dict(database_url)
        self.unix_socket = f"{found['host']}/.s.PGSQL.{found.get('port', 5432)}"
        self.cable = f"chat{os.getpid()}"
        net = 4 * random.randrange(64)
        self.here, self.there = (f"203.0.113.{net + number}" for number in (1, 2))
        self.url = f"postgres://{found['user']}@{self.there}/{found['dbname']}"

    def start(self) -> None:
        """Start the machine, which knows no earlier connection."""
        command = [*AS_ROOT, "unshare", "--net", sys.executable, "-c", FORWARD, self.unix_socket]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.pid = self.process.stdout.readline().strip()
        peer = ("peer", "name", "eth0", "netns", self.pid)
        as_root("ip", "link", "add", self.cable, "type", "veth", *peer)
        as_root("ip", "address", "add", f"{self.here}/30", "dev", self.cable)
        as_root("ip", "link", "set", self.cable, "up")
        self.inside("ip", "address", "add", f"{self.there}/30", "dev", "eth0")
        self.inside("ip", "link", "set", "eth0", "up")

    def inside(self, *command: str) -> None:
        """Run a command on the machine."""
        as_root("nsenter", f"--net=/proc/{self.pid}/ns/net", *command)

    def unplug(self) -> None:
        """Cut the network without a message to either side."""
        self.inside("ip", "link", "set", "eth0", "down")

    def end(self) -> None:
        """End the machine, and delete its cable."""
        as_root("ip", "link", "delete", self.cable)
        self.process.stdin.close()
        self.process.wait(10)
