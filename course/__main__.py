"""Entry point of `python -m course`.

The version check comes first, in syntax that Python 2.7 can read: a reader whose Python is too
old gets a sentence, not a traceback.
"""

import sys

NEEDED = (3, 11)


def main():
    """Run the command line; return the exit code, 2 if this Python is too old."""
    if sys.version_info < NEEDED:
        sys.stderr.write(
            "The course needs Python %d.%d or later and this is Python %d.%d.%d: "
            "install a newer Python and name it, for example: make run STEP=1 PYTHON=python3.12\n"
            % (NEEDED + tuple(sys.version_info[:3]))
        )
        return 2
    try:
        from course.cli import main as command_line

        return command_line(sys.argv[1:])
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
