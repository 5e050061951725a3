"""The servers that are measured side by side, each in turn, with one database and one Redis."""

import json
import subprocess
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from course.core.ports import HOST, free_port
from course.core.steps import ROOT
from course.stack import WORKERS, Part, Stack

Result = dict[str, Any]  # the result of one measure of one contender in one run
Jobs = dict[str, Result]  # the jobs of a run, or their results; a name begins with its measure
PATIENCE = 15  # seconds at the end of a measure, after which missing messages count as lost
GIVE_UP = 150.0  # seconds for one measure


@dataclass(frozen=True)
class Contender:
    """A server, and its command line for Python.

    Its kind says what it can do. The limit has no database. Only step 5 sends `caught_up` to a
    client that has joined. In the tutorial pattern, one message can overtake another between
    storing and sending, so a room's messages need not come in the order of their numbers.
    """

    name: str
    title: str
    command: list[str]
    kind: Literal["limit", "tutorial", "step"] = "step"
    settings: str = "config.settings"
    code: Path | None = None  # a folder of step 5; None is step 5 itself


def tutorial(server: str) -> list[str]:
    """Return the command line for the pattern of the tutorials."""
    return [w.replace("config.asgi", "course.bench.inside.tutorial") for w in WORKERS[server]]


LIMIT = ["-m", "course.bench.raw", "{port}"]
CORE = "course.bench.inside.core_layer"
CONTENDERS = [
    Contender("raw", "limit on websockets", LIMIT, "limit"),
    Contender("tutorial", "tutorial on Daphne", tutorial("daphne"), "tutorial", CORE),
    Contender("pubsub", "tutorial on uvicorn", tutorial("uvicorn"), "tutorial"),
    Contender("daphne", "step 5 on Daphne", WORKERS["daphne"]),
    Contender("uvicorn", "step 5 on uvicorn", WORKERS["uvicorn"]),
]


class Yard(Stack):
    """A stack for one contender at a time: its own worker is stopped."""

    def __init__(self, python: Path, code: Path | None = None) -> None:
        # The limit for people would slow the load down.
        variables = {"CHAT_MESSAGE_RATE": "1000000", "CHAT_MESSAGE_BURST": "1000000"}
        # The contenders import the course as well.
        variables |= {"PYTHONPATH": str(ROOT), "DJANGO_SETTINGS_MODULE": "config.settings"}
        super().__init__(workers=1, variables=variables, python=python, code=code)

    @cached_property
    def cookies(self) -> list[str]:
        """The sessions of all accounts, which are made at the first use."""
        self.parts["worker1"].stop()
        cookies: list[str] = self.inside("accounts")
        return cookies

    def inside(self, module: str) -> Any:
        """Run a module of `course.bench.inside` in the site; return what it prints as JSON."""
        command = [str(self.python), "-m", f"course.bench.inside.{module}"]
        return json.loads(subprocess.check_output(command, cwd=self.site, env=self.environment))

    def measure(self, contender: Contender, jobs: Jobs, run: int = 0) -> Jobs:
        """Do jobs with a fresh process of one contender; return their results, by name."""
        stores = contender.kind != "limit"
        postgres = self.parts["postgres"].pid if stores else None
        common = {"cookies": self.cookies, "kind": contender.kind, "postgres": postgres}
        env = self.environment | {"DJANGO_SETTINGS_MODULE": contender.settings}
        # `down` ends every part with the name of a worker.
        name = f"worker-{contender.name}"
        part = self.add_worker(name, contender.command, free_port(), env)
        part.start()
        results = {}
        for name, job in jobs.items():
            if part.running and (stores or not job.get("stores")):
                # Use a new room, where nobody has been in this database or this process.
                room = {"measure": name.partition("_")[0], "room": f"{name}-{contender.name}-{run}"}
                results[name] = measure(self.python, part, common | room | job)
        part.stop()
        return results


def measure(python: Path, part: Part, job: Result) -> Result:
    """Do one job with a server; put every failure into the `faults` of the result.

    A socket joins one of `rooms` rooms and is shown a `history` of messages, after a `warm_up` of
    some sockets.
    """
    job = {"rooms": 1, "history": 0, "warm_up": 0, "query": "", "patience": PATIENCE} | job
    job |= {"host": HOST, "port": part.port, "pid": part.pid}
    command = [str(python), "-m", "course.bench.load", json.dumps(job)]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=GIVE_UP)
        result: Result = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        result = {"faults": ["the load took too long"]}
    except ValueError:
        said = done.stderr.decode(errors="replace").splitlines()
        result = {"faults": said[-1:] or ["the load was killed"]}
    if not part.running:
        result["faults"].append("the server has ended")
    return result
