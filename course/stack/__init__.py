"""`make stack`: run step 5 as in production on this machine, and delete everything at the end.

Real Redis (or Valkey), PostgreSQL, workers and nginx run on 127.0.0.1, each in its own process.
The tests of faults and the measurements use the same `Stack`. They stop, kill, freeze and restart
parts of the stack, and each part keeps its port and its data.
"""

from course.core.ports import HOST as HOST
from course.stack.command import run as run
from course.stack.part import Part as Part
from course.stack.part import is_alive as is_alive
from course.stack.programs import find_programs as find_programs
from course.stack.stack import SERVERS as SERVERS
from course.stack.stack import STEP as STEP
from course.stack.stack import WORKERS as WORKERS
from course.stack.stack import Stack as Stack
