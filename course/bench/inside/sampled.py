"""Run a server, and count the processor time of each package.

`python -m course.bench.inside.sampled FILE -m uvicorn …` writes the counts to FILE, as JSON, when
the server ends. One sample is one millisecond of processor time.
"""

import json
import runpy
import signal
import sys
from collections import Counter
from pathlib import Path
from types import FrameType

EVERY = 0.001  # seconds of processor time of this process, all threads
# In these packages, the event loop waits or calls the system. While the loop waits, another thread
# uses the processor.
LOOP = {"asyncio", "selectors", "uvloop", "threading"}
counts: Counter[str] = Counter()


def sample(number: int, frame: FrameType | None) -> None:
    """Count the package whose code the main thread runs, if the thread imports nothing."""
    package = frame.f_globals.get("__name__", "").partition(".")[0] if frame else ""
    while frame:
        if frame.f_globals.get("__name__") == "importlib._bootstrap":
            return  # imports take longer than the measure
        frame = frame.f_back
    counts["event loop, database threads" if package in LOOP else package] += 1


if __name__ == "__main__":
    file, module = Path(sys.argv[1]), sys.argv[3]
    # When the server has stopped, it raises SIGTERM again. Without this handler, the signal would
    # end the process before the counts are written.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    signal.signal(signal.SIGPROF, sample)
    signal.setitimer(signal.ITIMER_PROF, EVERY, EVERY)
    del sys.argv[1:4]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        file.write_text(json.dumps(counts.most_common()))
