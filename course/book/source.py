"""Find a symbol, or the place of a text, in a file; split a file into its units."""

import ast
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from course.core.steps import ROOT
from course.core.terminal import UserError

DOCS = ROOT / "docs"
# The text that stands for lines that a listing leaves out.
ELLIPSIS = {".py": "# …", ".js": "// …", ".html": "{# … #}", ".css": "/* … */"}
LANGUAGES = {".py": "python", ".js": "js", ".html": "html", ".css": "css", ".txt": "text"}
LANGUAGES |= {".ini": "ini", ".svg": "xml"}


def book() -> list[Path]:
    """Return the pages with listings; maintaining.md only speaks of listings."""
    found = [file for file in DOCS.rglob("*.md") if "[[[cog" in file.read_text("utf-8")]
    return sorted(file for file in found if file.name != "maintaining.md")


def read_lines(file: Path) -> list[str]:
    """Return the lines of a file, with their ends; none if there is no such file."""
    return file.read_text("utf-8").splitlines(keepends=True) if file.exists() else []


def language(path: str) -> str:
    """Return the name of a file's language for a fence."""
    return LANGUAGES.get(Path(path).suffix, "text")


def first_line(node: Any, lines: Sequence[str]) -> int:
    """Return the index of a statement's first line, with its decorators and its comment."""
    decorators = getattr(node, "decorator_list", [])
    start: int = min([node.lineno, *(each.lineno for each in decorators)]) - 1
    while start and lines[start - 1].lstrip().startswith("#"):
        start -= 1
    return start


def body_of(node: Any) -> list[ast.stmt]:
    """Return the statements of a module or class, without its docstring."""
    body: list[ast.stmt] = getattr(node, "body", [])
    is_documented = body and isinstance(body[0], ast.Expr) and isinstance(node, ast.ClassDef)
    return body[1:] if is_documented else body


def names_of(node: ast.stmt) -> set[str]:
    """Return the names that a statement of a module or class defines."""
    targets = getattr(node, "targets", [getattr(node, "target", None)])
    found = {each.id for each in targets if isinstance(each, ast.Name)}
    return found | ({node.name} if hasattr(node, "name") else set())


def find_symbol(name: str, lines: Sequence[str]) -> list[range]:
    """Return the lines of a symbol such as `EchoConsumer.connect`, by index: one range or none."""
    scope: list[Any] = [ast.parse("".join(lines))]
    for part in name.split("."):
        scope = [each for node in scope for each in body_of(node) if part in names_of(each)]
    return [range(first_line(node, lines), node.end_lineno or 0) for node in scope]


def units(path: str, lines: Sequence[str]) -> list[range]:
    """Split a file: a unit is a paragraph, and in Python a paragraph of statements.

    The statements are those of the module and of its classes. Blank lines before a unit belong to
    the unit.
    """
    starts = {n for n, line in enumerate(lines) if n and line.strip() and not lines[n - 1].strip()}
    if path.endswith(".py"):
        module = ast.parse("".join(lines))
        nodes = [*module.body, *(each for top in module.body for each in body_of(top))]
        starts &= {first_line(node, lines) for node in nodes if hasattr(node, "lineno")}
    bounds = [0]
    for start in sorted(starts):
        while not lines[start - 1].strip():
            start -= 1
        bounds.append(start)
    return [range(*pair) for pair in zip(bounds, [*bounds[1:], len(lines)], strict=True)]


def find(name: str, path: str, lines: Sequence[str]) -> range:
    """Return the lines, by index, of a symbol, or of the unit that has the text `name`.

    Raises UserError if there is none, or more than one.
    """
    found = find_symbol(name, lines) if path.endswith(".py") and is_dotted(name) else []
    if not found:
        found = [unit for unit in units(path, lines) if name in "".join(lines[n] for n in unit)]
    if len(found) != 1:
        raise UserError(f"{path} has {name!r} in {len(found)} places; a listing needs one.")
    return found[0]


def is_dotted(name: str) -> bool:
    """Tell whether a text can be the name of a symbol."""
    return all(part.isidentifier() for part in name.split("."))
