"""The command `make stack`: run all parts until Ctrl-C, and restart each part that dies."""

import time
from collections import defaultdict
from pathlib import Path

from course.core import environment, parts
from course.core.ports import parse_number, parse_port, require_free
from course.core.steps import ROOT, find_step
from course.core.terminal import UserError, colour, say
from course.stack.part import Part
from course.stack.stack import SERVERS, STEP, Stack
from course.wire import check, traced

LOOK = 0.2  # seconds between two checks of the parts
PAUSE = 1.0  # seconds between the end of a part and its next start, as in deploy/chat@.service
DEATHS, WITHIN = 5, 60.0  # this many deaths of a part in so many seconds end the stack


def show(part: Part, more: str = "") -> None:
    """Print the line of a part."""
    say(f"  {part.name:<10} {part.pid:>8}   {part.address}{more}")


def revive(part: Part, deaths: list[float]) -> None:
    """Restart a dead part after a pause, as systemd would; add the time to its `deaths`.

    Raises UserError, with the end of the part's log, if the part has died too often.
    """
    show(part, f"   died: {part.death}")
    deaths.append(time.monotonic())
    if len(deaths) >= DEATHS and deaths[-1] - deaths[-DEATHS] < WITHIN:
        often = f"{part.name} died {DEATHS} times in a minute"
        raise UserError(f"{part.obituary()}\n{often}, so all the others were stopped too.")
    part.stop()  # ends the children that the dead process left
    time.sleep(PAUSE)
    part.launch()
    show(part, "   started again")


def find_code(part: str | None, root: Path) -> Path:
    """Return the folder of step 5, or of its mid-point after `part`.

    Raises UserError if the mid-point has no deploy/ yet.
    """
    step = find_step(STEP, root)
    if part is None:
        return step.folder
    midpoint = parts.find_midpoint(step, part, root)
    if "deploy/nginx.conf" not in midpoint.files:
        raise UserError(f"Part {part} has no deploy/ yet. Choose a later part for make stack.")
    return parts.open_midpoint(midpoint, root).folder


def run(
    port_text: str,
    workers_text: str,
    server: str,
    shards_text: str,
    part: str | None = None,
    trace: str | None = None,
    root: Path = ROOT,
) -> int:
    """Run the stack until Ctrl-C; return the exit code.

    If `part` is the number of a part, run the code of the mid-point after that part. With `trace`,
    also draw what goes over the wire.
    """
    check(trace)
    port = parse_port(port_text)
    workers = parse_number("WORKERS", workers_text, 1, 32)
    shards = parse_number("SHARDS", shards_text, 1, 8)
    if server not in SERVERS:
        raise UserError(f"SERVER must be {' or '.join(SERVERS)}, not {server!r}.")
    require_free(port, "make stack")
    code = find_code(part, root)
    python = environment.ensure_everything(root)
    with traced(trace, port) as variables:
        stack = Stack(port, workers, server, shards, python=python, code=code, trace=variables)
        return keep_up(stack)


def keep_up(stack: Stack) -> int:
    """Run the stack until Ctrl-C; return 0. Raise UserError if a part dies too often."""
    began = time.monotonic()
    say(f"Step 5 in production shape: {stack.server}, thrown away at the end\n")
    say(f"  {'process':<10} {'pid':>8}   address")
    try:
        stack.up(show)
        address = colour(f"{stack.url}/", "bold")
        took = time.monotonic() - began
        say(f"\nReady in {took:.1f} s: open {address}  (Ctrl-C stops it)\n")
        deaths = defaultdict[str, list[float]](list)
        while True:
            for name, part in stack.parts.items():
                if not part.running:
                    revive(part, deaths[name])
            time.sleep(LOOK)
    except KeyboardInterrupt:
        return 0
    finally:
        say("\nStopping …")
        stack.down()
        say("Stopped.")
