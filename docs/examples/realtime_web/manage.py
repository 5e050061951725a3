#!/usr/bin/env python
"""Django's command line for this project: ``python manage.py runserver``."""

import os
import sys


def main():
    """Run one of Django's commands with the settings of this project."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    try:
        from django.core.management import execute_from_command_line
    except ImportError as error:
        raise SystemExit(
            "Django is not installed here. Run: make run STEP=1"
        ) from error
    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
