"""The kinds of files in a step; a diff leaves some of them out."""

from pathlib import PurePosixPath

KINDS = (
    "Python", "templates", "JavaScript", "CSS", "deployment", "tests", "README", "other",
)  # fmt: skip
SUFFIXES = {".py": "Python", ".html": "templates", ".js": "JavaScript", ".css": "CSS"}
DEPLOYMENT_NAMES = ("Dockerfile", "compose.yaml", ".env.example", ".dockerignore")


def kind_of(path: PurePosixPath) -> str:
    """Return the kind of a file of a step, by its path inside the step."""
    if "tests" in path.parts[:-1]:
        return "tests"
    if "migrations" in path.parts:
        return "other"
    if path.name == "README.md":
        return "README"
    if path.parts[0] == "deploy" or path.name in DEPLOYMENT_NAMES:
        return "deployment"
    return SUFFIXES.get(path.suffix, "other")


def is_noise(path: PurePosixPath) -> bool:
    """Tell whether a diff leaves out a file, by its path inside the step.

    README and tests are read on their own, Django generates migrations, and pictures are no text.
    """
    return (
        kind_of(path) in ("tests", "README")
        or "migrations" in path.parts
        or path.name == "pytest.ini"
        or path.suffix in (".png", ".ico", ".svg")
    )
