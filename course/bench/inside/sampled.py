"""Run a server, and count the processor time of each package.

`python -m course.bench.inside.sampled FILE -m uvicorn …` writes the counts to FILE, as JSON, when
the server ends. One sample is one millisecond of processor time. SIGUSR1 discards
earlier samples.
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
    """Count the package whose code the main thread runs."""
    if frame:
        package = frame.f_globals.get("__name__", "").partition(".")[0]
        counts["event loop, database threads" if package in LOOP else package] += 1


def main(file: Path, module: str, arguments: list[str]) -> None:
    """Run a module as `python -m` does, and write the counts."""
    # When the server has stopped, it raises SIGTERM again. Without this handler, the signal would
    # end the process before the counts are written.
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
