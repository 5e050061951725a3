"""`make stack`: step 5 in production shape, on this machine alone, thrown away at the end.

Real Redis (or Valkey), PostgreSQL, workers and nginx run on 127.0.0.1, each in a process of its
own. The tests of faults and the measurements use the same `Stack`: they stop, kill, freeze and
restart any part of it, which keeps its port and its data.
"""

from course.run import HOST
from course.stack.command import run
from course.stack.part import Part, is_alive
from course.stack.programs import find_programs, within_reach
from course.stack.services import fit_nginx
from course.stack.stack import STEP, Stack, inner_port
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
    "inner_port",
    "is_alive",
    "run",
    "within_reach",
]
