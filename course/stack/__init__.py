"""`make stack`: run step 5 as in production on this machine, and delete everything at the end.

Real Redis (or Valkey), PostgreSQL, workers and nginx run on 127.0.0.1, each in its own process.
The tests of faults and the measurements use the same `Stack`. They stop, kill, freeze and restart
parts of the stack, and each part keeps its port and its data.
"""

from course.core.ports import HOST
from course.stack.command import run
from course.stack.part import Part, is_alive
from course.stack.programs import find_programs, within_reach
from course.stack.services import fit_nginx
from course.stack.stack import STEP, Stack
from course.stack.workers import SERVERS, WORKERS

__all__ = [
    "HOST",
    "SERVERS",
    "STEP",
    "WORKERS",
    "Part",
    "Stack",
    "find_programs",
    "fit_nginx",
    "is_alive",
    "run",
    "within_reach",
]
