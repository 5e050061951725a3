"""The command line `python -m course <command>`, which `make` calls."""

import argparse
import io
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from course import wire
from course.bench import driver, tables
from course.book import build
from course.core.processes import forget_git, interrupt_on_signals
from course.core.steps import choices
from course.core.terminal import UserError, colour
from course.learn import diff, jobs, run, standalone, testing
from course.maintain import drift, guarantees, lint, propagate, redgreen, upgrade
from course.stack import command

# For each command: its parameters for `make`, and its help. The order is that of first use.
COMMANDS = {
    "run": ("run STEP=1 [PORT=8000]", "start a step, and print the address to open"),
    "test-all": ("test-all [DJANGO=latest]", "test everything: steps, course, browser"),
    "test": ("test STEP=2", "run the tests of one step"),
    "diff": ("diff FROM=4 TO=5 [PART=1]", "show what one step changes in another"),
    "stack": ("stack [PORT=8080]", "run step 5 in production shape"),
    "wire": ("wire FILE=talk.jsonl", "draw what TRACE=talk.jsonl recorded"),
    "bench": ("bench [RUNS=3] [PARTS=1]", "measure step 5 and other ways to write it"),
    "redgreen": ("redgreen [STEP=2]", "prove that new tests fail without their part"),
    "docs": ("docs", "make the book: listings and web site"),
    "guarantees": ("guarantees", "write down what each step guarantees"),
    "scaling": ("scaling [TAKE=1]", "write the tables of docs/scaling.md"),
    "drift": ("drift [ACCEPT=1]", "check that steps differ only as declared"),
    "propagate": ("propagate FROM=1", "carry the changes of one step into later ones"),
    "lint": ("lint", "check English, style and common mistakes"),
    "upgrade": ("upgrade [ONLY=redis]", "raise all versions, or those of one package"),
    "standalone": ("", "prove that a copy of one step runs by itself"),
}
# The function of each command; its argument is the namespace of the options.
CALLS: dict[str, Callable[[Any], int]] = {
    "run": lambda o: run.run(o.step, o.port, o.part, o.trace),
    "test-all": lambda o: upgrade.try_django(o.django) if o.django else testing.run_all_tests(),
    "test": lambda o: (
        testing.run_all_tests(o.only) if o.only else testing.run_step_tests(o.step, o.part)
    ),
    "diff": lambda o: diff.show(o.first, o.second, o.part, o.only),
    "stack": lambda o: command.run(o.port, o.workers, o.server, o.shards, o.part, o.trace),
    "wire": lambda o: wire.draw(o.file),
    "bench": lambda o: driver.bench(o.runs, o.parts),
    "redgreen": lambda o: redgreen.redgreen(o.step, o.part, o.fix, o.results, whole=not o.results),
    "docs": lambda o: build.docs(o.check),
    "guarantees": lambda o: guarantees.guarantees(),
    "scaling": lambda o: tables.scaling(o.take),
    "drift": lambda o: max(drift.drift(o.accept), propagate.remind()),
    "propagate": lambda o: (
        propagate.declare_right(o.right)
        if o.right
        else propagate.propagate(o.step, o.part, o.dry_run)
    ),
    "lint": lambda o: lint.lint(),
    "upgrade": lambda o: upgrade.upgrade(o.only),
    "standalone": lambda o: standalone.standalone(o.step, o.results),
}
HINTS = (
    "A step has parts. After each part, the project so far runs.",
    "PART=2 chooses a part for run, test, diff, stack, redgreen and propagate.",
    "ONLY=chat/consumers.py lets diff show one file.",
    "TRACE=1 lets run and stack draw, live, what goes over the wire.",
    f"ONLY=browser lets test run one kind of tests: {', '.join(jobs.KINDS)}.",
    "",
    "Another Python:  make run STEP=1 PYTHON=python3.12",
    "Without make:    python -m course run 1        (python -m course run --help)",
)


class Parser(argparse.ArgumentParser):
    """An argument parser that reports a mistake in one sentence; `epilog` says what to type."""

    def error(self, message: str) -> NoReturn:
        """Raise UserError with `message`; argparse would print its usage and exit."""
        if message.endswith("required") or "are required: " in message:
            raise UserError(f"Which step? Say: {self.epilog} (the steps are {choices()}).")
        if pair := re.match(r"argument (\S+): not allowed with argument (\S+)", message):
            names = " and ".join(name.strip("-").upper() for name in reversed(pair.groups()))
            raise UserError(f"{names} do not go together. See: {self.prog} --help")
        message = message.removeprefix("argument command: ")
        raise UserError(f"{message[0].upper()}{message[1:]}. See: {self.prog} --help")


def overview() -> str:
    """Return the list of commands, one line each."""
    lines = [colour("Django Channels in five steps", "bold"), ""]
    lines += [f"  make {usage:<26} {text}" for usage, text in COMMANDS.values() if usage]
    return "\n".join([*lines, "", *HINTS])


def build_parser() -> Parser:
    """Return the parser for all commands."""
    parser = Parser(prog="python -m course", description="The commands of the course.")
    commands = parser.add_subparsers(dest="command", metavar="command")
    made = {
        name: commands.add_parser(
            name,
            help=text,
            description=f"{text.capitalize()}.",
            epilog=f"make {usage}" if usage else f"{parser.prog} {name} 1",
        )
        for name, (usage, text) in COMMANDS.items()
    }

    def add(names: str, option: str, text: str, **settings: Any) -> None:
        for name in names.split():
            made[name].add_argument(option, help=text, **settings)

    step = "the step: its number (1) or its folder (step01_echo)"
    add("run standalone", "step", step)
    add("diff", "first", step, metavar="from")
    add("diff", "second", step, metavar="to")
    add("run test diff stack redgreen propagate", "--part", "the number of one part of the step")
    add("run", "--port", "the server's port (default: 8000)", default="8000")
    add("run stack", "--trace", "draw messages live: 1, or a file such as talk.jsonl", metavar="1")
    add("wire", "file", "a recording, such as talk.jsonl", nargs="?")
    add("stack", "--port", "the port of nginx (default: 8080)", default="8080")
    add("stack", "--workers", "number of workers (default: 2)", default="2")
    add("stack", "--server", "of the workers: uvicorn (default) or daphne", default="uvicorn")
    add("stack", "--shards", "number of Redis servers (default: 1)", default="1")
    add("bench", "--runs", "number of runs (default: 3)", default="3")
    add("bench", "--parts", "measure the gain of each part (make: PARTS=1)", action="store_true")
    add("test-all", "--django", "latest, or a series such as 6.0", metavar="SERIES")
    add("diff", "--only", "one file, such as chat/consumers.py", metavar="FILE")
    add("drift", "--accept", "write files.toml from the folders (ACCEPT=1)", action="store_true")
    add("docs", "--check", "change nothing, and fail if a page differs", action="store_true")
    add("propagate", "--dry-run", "show the changes, write nothing", action="store_true")
    add("upgrade", "--only", "one package, such as redis", metavar="PACKAGE")
    add("redgreen standalone", "--results", "folder for JUnit files", type=Path)
    add("scaling", "--take", "take the last figures of make bench (TAKE=1)", action="store_true")
    tested = made["test"].add_mutually_exclusive_group(required=True)
    tested.add_argument("step", nargs="?", help=step)
    tested.add_argument(
        "--only", metavar="KIND", help=f"one kind of tests: {', '.join(jobs.KINDS)}"
    )
    proved = made["redgreen"].add_mutually_exclusive_group()
    proved.add_argument("step", nargs="?", help=step)
    proved.add_argument("--fix", metavar="COMMIT", help="run tests changed since then on its steps")
    carried = made["propagate"].add_mutually_exclusive_group(required=True)
    carried.add_argument("step", nargs="?", metavar="from", help=step)
    carried.add_argument("--right", metavar="FILE", help="declare that this file needs no change")
    return parser


def dispatch(options: argparse.Namespace) -> int:
    """Carry out the command in `options`; without a command, print the overview."""
    if options.command:
        return CALLS[options.command](options)
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
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of our output, such as `| head`, has closed the pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except UserError as error:
        text = str(error)
    except PermissionError as error:
        text = f"{error.filename} cannot be used ({error.strerror}): copy the course to a folder "
        text += "that you may write to, then run the command there."
    print(colour(text, "red", sys.stderr), file=sys.stderr)
    return 2
