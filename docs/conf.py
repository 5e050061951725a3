"""How Sphinx makes a web site of the book. `make docs` calls Sphinx."""

import hashlib
import os
import re
from pathlib import Path

import mermaidx
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

DOCS = Path(__file__).parent
# Links to files outside the book lead here: on the web to the repository, else to this disk.
SOURCE = os.environ.get("BOOK_SOURCE", DOCS.parent.as_uri())

project = "Django Channels in five steps"
html_title = project
extensions = ["myst_parser"]
exclude_patterns = ["start", "examples"]
suppress_warnings = ["misc.highlighting_failure"]  # "…" is in no language
myst_heading_anchors = 4
myst_fence_as_directive = {"mermaid"}
myst_enable_extensions = ["alert", "attrs_inline"]
html_theme = "furo"
html_static_path = ["site.css"]
html_css_files = ["site.css"]
html_theme_options = {"navigation_with_keys": True}
html_copy_source = False
html_scaled_image_link = False  # a dark diagram alone would stand on white
html_show_sphinx = False
html_use_index = False  # the page would be empty
html_show_copyright = False  # the foot of a page would say "Copyright ©", of nobody

logger = logging.getLogger(__name__)


def in_words(text: str) -> str:
    """Return what a diagram says, for a person who hears the page: "browser to server: hello".

    A diagram without frames and notes stays as it is.
    """
    names = dict(re.findall(r"participant (\w+) as (.+)", text))
    events = re.findall(r"(?m)^ *(?:Note over )?(\w+)(?:-(?:>>|x)(\w+))?: (.+)", text)
    said = [" to ".join(names[end] for end in ends if end) + f": {what}" for *ends, what in events]
    return "; ".join(said) or text


def draw(text: str, theme: str, ground: str) -> str:
    """Return a diagram as SVG. Drawing takes seconds, so `.course/diagrams` keeps each.

    Where an arrow's text crosses a line, the text has an edge in the colour of the ground.
    """
    edge = f"#my-svg .messageText{{stroke:{ground};stroke-width:5px;paint-order:stroke}}</style>"
    key = hashlib.sha256(f"{mermaidx.__version__} {theme} {text}".encode()).hexdigest()
    kept = DOCS.parent / ".course" / "diagrams" / f"{key}.svg"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(mermaidx.render(text, theme=theme).svg(), "utf-8")
    return kept.read_text("utf-8").replace("</style>", edge, 1)


class Mermaid(SphinxDirective):
    """A Mermaid diagram, drawn while the site is built: once light, once dark."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        """Write two pictures, and return a frame with both, of which a reader sees one."""
        text = "\n".join(self.content)
        frame = nodes.container(classes=["diagram"])
        themes = ("default", "only-light", "#fff"), ("dark", "only-dark", "#131416")
        for theme, shown, ground in themes:
            name = f"{Path(self.env.docname).name}-{self.lineno}-{theme}.svg"
            folder = Path(self.env.app.doctreedir) / "diagrams"
            folder.mkdir(parents=True, exist_ok=True)
            svg = draw(text, theme, ground)
            (folder / name).write_text(svg, "utf-8")
            path = os.path.relpath(folder / name, Path(self.env.doc2path(self.env.docname)).parent)
            # Mermaid's letters have 16 pixels, so this width makes them as large as the prose.
            width = float(re.search(r'viewBox="\S+ \S+ (\S+)', svg)[1]) / 16
            frame += nodes.image(uri=path, alt=in_words(text), width=f"{width}em", classes=[shown])
        return [frame]


def lead_outside(app: Sphinx, page: str, source: list[str]) -> None:
    """Lead links to files of the repository out of the site; a broken one is a warning."""
    folder = (DOCS / page).parent

    def target(link: re.Match[str]) -> str:
        path = (folder / link[2]).resolve()
        if not path.exists():
            logger.warning("%s links to %s, which does not exist.", page, link[2])
        if path.is_relative_to(DOCS):
            return link[0]
        # HTML, because Markdown refuses links to a disk.
        url = f"{SOURCE}/{path.relative_to(DOCS.parent).as_posix()}{link[3] or ''}"
        return f'<a class="reference external" href="{url}">{link[1]}</a>'

    source[0] = re.sub(r"\[([^\]]*)\]\((\.\./[^)#\s]*)(#[^)\s]*)?\)", target, source[0])


def show_dark(app: Sphinx, page: str, source: list[str]) -> None:
    """Show each picture in the reader's colours: beside `…-light.png` lies `…-dark.png`."""
    both = r"![\1](\2light.png){.only-light} ![\1](\2dark.png){.only-dark}"
    source[0] = re.sub(r"!\[([^\]]*)\]\((\S+-)light\.png\)", both, source[0])


def add_contents(app: Sphinx, page: str, source: list[str]) -> None:
    """Give the first page its table of contents: the tables of its sections. GitHub needs none."""
    if page == "index":
        for title, section in re.findall(r"(?ms)^## ([^\n]+)(.*?)(?=^## |\Z)", source[0]):
            rows = re.findall(r"^\| \[([^]]+)\]\((\w[\w/-]*)\.md\)", section, re.MULTILINE)
            pages = [f"{name} <{page}>" for name, page in rows]
            options = [":hidden:", f":caption: {title}", ""]
            if pages:
                source[0] += "\n".join(["\n\n```{toctree}", *options, *pages, "```\n"])


def setup(app: Sphinx) -> None:
    """Tell Sphinx what this file adds."""
    app.add_directive("mermaid", Mermaid)
    app.connect("source-read", lead_outside)
    app.connect("source-read", show_dark)
    app.connect("source-read", add_contents)
