"""Run a server, and count in which packages its processor time goes.

`python -m course.bench.inside.sampled FILE -m uvicorn …` writes the counts to FILE, as JSON, when
the server ends. One sample is one millisecond of processor time. SIGUSR1 forgets those so far.
"""

import json
import runpy
import signal
import sys
from collections import Counter
from pathlib import Path
from types import FrameType

EVERY = 0.001  # seconds of processor time of this process, all threads
# The event loop waits there, or calls the system. If it waits, a thread had the processor.
LOOP = {"asyncio", "selectors", "uvloop", "threading"}
counts: Counter[str] = Counter()


def sample(number: int, frame: FrameType | None) -> None:
    """Count the package that the main thread is in."""
    if frame:
        package = frame.f_globals.get("__name__", "").partition(".")[0]
        counts["event loop, database threads" if package in LOOP else package] += 1


def main(file: Path, module: str, arguments: list[str]) -> None:
    """Run a module as `python -m` does, and write the counts."""
    # The server gives SIGTERM back when it has stopped. It would end the process at once.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    signal.signal(signal.SIGPROF, sample)
    signal.signal(signal.SIGUSR1, lambda *_: counts.clear())
    signal.setitimer(signal.ITIMER_PROF, EVERY, EVERY)
    sys.argv = [module, *arguments]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        file.write_text(json.dumps(counts.most_common()))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[3], sys.argv[4:])
