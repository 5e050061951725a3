"""The command line `python -m course <command>`, which `make` calls."""

import argparse
import errno
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from course import stack
from course.bench import driver, tables
from course.core.processes import forget_git, interrupt_on_signals
from course.core.steps import choices
from course.core.terminal import UserError, colour
from course.learn import diff, jobs, run, standalone, testing
from course.maintain import drift, guarantees, lint, propagate, redgreen, upgrade

# For each command: its parameters for `make`, and its help. The order is that of first use.
COMMANDS = {
    "run": ("run STEP=1 [PORT=8000]", "start a step, and print the address to open"),
    "test-all": ("test-all [DJANGO=latest]", "test everything: steps, course, browser"),
    "test": ("test STEP=2", "run the tests of one step"),
    "diff": ("diff FROM=4 TO=5 [PART=1]", "show what one step changes in another"),
    "stack": ("stack [PORT=8080]", "run step 5 in production shape"),
    "bench": ("bench [RUNS=3] [PARTS=1]", "measure step 5 and other ways to write it"),
    "redgreen": ("redgreen [STEP=2]", "prove that new tests fail without their part"),
    "guarantees": ("guarantees", "write down what each step guarantees"),
    "scaling": ("scaling [TAKE=1]", "write the tables of docs/scaling.md"),
    "drift": ("drift [ACCEPT=1]", "check that steps differ only as declared"),
    "propagate": ("propagate FROM=1", "carry the changes of one step into later ones"),
    "lint": ("lint", "check English, style and common mistakes"),
    "upgrade": ("upgrade [ONLY=redis]", "raise all versions, or those of one package"),
    "standalone": ("", "prove that a copy of one step runs by itself"),
}
# The errors that the system raises in another user's folder, or on a read-only disk.
NOT_OURS = (errno.EACCES, errno.EPERM, errno.EROFS)


class Parser(argparse.ArgumentParser):
    """An argument parser that reports a mistake in one sentence."""

    def error(self, message: str) -> NoReturn:
        """Raise UserError with `message`; argparse would print its usage and exit."""
        message = message.removeprefix("argument command: ")
        raise UserError(f"{message[0].upper()}{message[1:]}. See: {self.prog} --help")


def overview() -> str:
    """Return the list of commands, one line each."""
    lines = [colour("Django Channels in five steps", "bold"), ""]
    lines += [f"  make {usage:<26} {text}" for usage, text in COMMANDS.values() if usage]
    lines += [
        "",
        "A step has parts. After each part, the project so far runs.",
        "PART=2 chooses a part for run, test, diff, stack, redgreen and propagate.",
        "ONLY=chat/consumers.py lets diff show one file.",
        f"ONLY=browser lets test run one kind of tests: {', '.join(jobs.KINDS)}.",
        "",
        "Another Python:  make run STEP=1 PYTHON=python3.12",
        "Without make:    python -m course run 1        (python -m course run --help)",
    ]
    return "\n".join(lines)


def build_parser() -> Parser:
    """Return the parser for all commands."""
    parser = Parser(prog="python -m course", description="The commands of the course.")
    commands = parser.add_subparsers(dest="command", metavar="command")
    made = {
        name: commands.add_parser(name, help=text, description=text.capitalize() + ".")
        for name, (_, text) in COMMANDS.items()
    }
    step_help = "the step: its number (1) or its folder (step01_echo)"
    for name in ("run", "test", "redgreen", "standalone"):
        made[name].add_argument("step", nargs="?", help=step_help)
    made["run"].add_argument("--port", default="8000", help="the server's port (default: 8000)")
    made["stack"].add_argument("--port", default="8080", help="the port of nginx (default: 8080)")
    made["stack"].add_argument("--workers", default="2", help="number of workers (default: 2)")
    made["stack"].add_argument(
        "--server", default="uvicorn", help="program of the workers: uvicorn (default) or daphne"
    )
    made["stack"].add_argument("--shards", default="1", help="number of Redis servers (default: 1)")
    made["bench"].add_argument("--runs", default="3", help="number of runs (default: 3)")
    made["bench"].add_argument(
        "--parts", action="store_true", help="measure the gain of each part (make: PARTS=1)"
    )
    made["test-all"].add_argument(
        "--django", metavar="SERIES", help="another Django: latest, or a series such as 6.0"
    )
    made["diff"].add_argument("first", nargs="?", metavar="from", help=step_help)
    made["diff"].add_argument("second", nargs="?", metavar="to", help=step_help)
    for name in ("run", "test", "diff", "stack", "redgreen"):
        made[name].add_argument("--part", help="the number of one part of the step")
    made["diff"].add_argument("--only", metavar="FILE", help="one file, such as chat/consumers.py")
    made["test"].add_argument(
        "--only", metavar="KIND", help=f"one kind of tests: {', '.join(jobs.KINDS)}"
    )
    made["drift"].add_argument(
        "--accept", action="store_true", help="write files.toml from the folders (make: ACCEPT=1)"
    )
    made["propagate"].add_argument("step", nargs="?", metavar="from", help=step_help)
    made["propagate"].add_argument(
        "--dry-run", action="store_true", help="show the changes, write nothing (make: DRY_RUN=1)"
    )
    made["propagate"].add_argument(
        "--part", help="carry the changes of this part's interim files (make: PART)"
    )
    made["propagate"].add_argument(
        "--right", metavar="FILE", help="declare that this file needs no change (make: RIGHT)"
    )
    made["upgrade"].add_argument("--only", metavar="PACKAGE", help="one package, such as redis")
    made["redgreen"].add_argument(
        "--fix", metavar="COMMIT", help="run tests changed since this commit on its steps"
    )
    for name in ("redgreen", "standalone"):
        made[name].add_argument("--results", type=Path, help="folder for JUnit files")
    made["scaling"].add_argument(
        "--take", action="store_true", help="take the last figures of make bench (make: TAKE=1)"
    )
    made["guarantees"].add_argument(
        "--check", action="store_true", help="write nothing; fail if the page is out of date"
    )
    return parser


def require(value: str | None, make_usage: str) -> str:
    """Return `value`, the wanted step; if it is missing, raise UserError with `make_usage`."""
    if not value:
        raise UserError(f"Which step? Say: make {make_usage} (the steps are {choices()}).")
    return value


def dispatch(options: argparse.Namespace) -> int:
    """Carry out the command in `options`; return the exit code."""
    match options.command:
        case "run":
            return run.run(require(options.step, "run STEP=1"), options.port, options.part)
        case "test":
            if options.only:
                return testing.run_all_tests(options.only)
            wanted = require(options.step, "test STEP=1, or make test ONLY=browser")
            return testing.run_step_tests(wanted, options.part)
        case "test-all":
            if options.django:
                return upgrade.try_django(options.django)
            return testing.run_all_tests()
        case "upgrade":
            return upgrade.upgrade(options.only)
        case "diff":
            if not (options.first and options.second):
                raise UserError(
                    f"Which two steps? Say: make diff FROM=1 TO=2 (the steps are {choices()})."
                )
            return diff.show(options.first, options.second, options.part, options.only)
        case "redgreen":
            return redgreen.redgreen(options.step, options.part, options.fix, options.results)
        case "guarantees":
            return guarantees.guarantees(options.check)
        case "stack":
            return stack.run(
                options.port, options.workers, options.server, options.shards, options.part
            )
        case "bench":
            return (driver.bench_parts if options.parts else driver.bench)(options.runs)
        case "scaling":
            return tables.scaling(options.take)
        case "drift":
            return max(drift.drift(options.accept), propagate.remind())
        case "propagate":
            if options.right:
                return propagate.declare_right(options.right)
            wanted = require(options.step, "propagate FROM=1")
            return propagate.propagate(wanted, options.part, options.dry_run)
        case "lint":
            return lint.lint()
        case "standalone":
            if not options.step:
                raise UserError(f"Which step? The steps are {choices()}.")
            return standalone.standalone(options.step, options.results)
    print(overview())
    return 0


def main(arguments: Sequence[str]) -> int:
    """Run the command line; return 0, 1 for a failure, 2 for a mistake of the user."""
    interrupt_on_signals()
    forget_git()
    for stream in (sys.stdout, sys.stderr):
        # If the console cannot show a character, print a question mark instead of failing.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        return dispatch(build_parser().parse_args(arguments))
    except UserError as error:
        print(colour(str(error), "red", sys.stderr), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of our output, such as `| head`, has closed the pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.errno not in NOT_OURS or error.filename is None:
            raise
        text = f"{error.filename} cannot be used ({error.strerror}): copy the course to a folder "
        text += "that you may write to, then run the command there."
        print(colour(text, "red", sys.stderr), file=sys.stderr)
        return 2
