"""The kinds of files in a step; a diff leaves some of them out."""

from fnmatch import fnmatchcase

# The first pattern that matches the path of a file inside its step decides its kind.
PATTERNS = {
    "tests/*": "tests",
    "*/migrations/*": "other",
    "README.md": "README",
    "deploy/*": "deployment",
    "*.py": "Python",
    "*.html": "templates",
    "*.js": "JavaScript",
    "*.css": "CSS",
    "*": "other",
}
# Each kind, in the order of a table.
KINDS = ("Python", "templates", "JavaScript", "CSS", "deployment", "tests", "README", "other")
# README and tests are read on their own, Django generates migrations, and pictures are no text.
NOISE = ("tests/*", "README.md", "*/migrations/*", "pytest.ini", "*.png", "*.ico", "*.svg")


def kind_of(path: str) -> str:
    """Return the kind of a file of a step, by its path inside the step."""
    return next(kind for pattern, kind in PATTERNS.items() if fnmatchcase(path, pattern))


def is_noise(path: str) -> bool:
    """Tell whether a diff leaves out a file, by its path inside the step."""
    return any(fnmatchcase(path, pattern) for pattern in NOISE)
