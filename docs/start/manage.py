#!/usr/bin/env python
"""Django's command line for this step: ``python manage.py runserver`` and others."""

import os
import sys


def main():
    """Run one of Django's commands with this step's settings."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    try:
        from django.core.management import execute_from_command_line
    except ImportError as error:
        raise SystemExit(
            "Django is not installed here. Run: pip install -r requirements.txt"
        ) from error
    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
