"""The glossary has each term once, and the map of the book has each page once."""

import re

from channels.layers import InMemoryChannelLayer
from channels_redis.core import RedisChannelLayer

from course.core.steps import ROOT

GLOSSARY = ROOT / "docs" / "glossary.md"
ENTRIES = dict(re.findall(r"^## (.+)\n\n((?:.+\n)+)", GLOSSARY.read_text("utf-8"), re.MULTILINE))
ANCHORS = {re.sub(r"[^a-z0-9 -]", "", name.lower()).replace(" ", "-") for name in ENTRIES}


def test_the_terms_are_in_the_order_of_the_alphabet():
    """Each term stands once, and has an entry."""
    names = re.findall(r"^## (.+)$", GLOSSARY.read_text("utf-8"), re.MULTILINE)
    assert names == list(ENTRIES) == sorted(ENTRIES, key=str.lower)
    assert len(ANCHORS) == len(names)


def test_each_entry_is_two_sentences():
    """A reader who looks a term up wants an answer, not a page."""
    counts = {name: len(re.findall(r"[.!?](?=\s)", text)) for name, text in ENTRIES.items()}
    assert {name for name, count in counts.items() if count != 2} == set()


def test_each_link_to_a_term_leads_to_it():
    """The glossary has each term that a page of the book links, and that its own entries link."""
    wanted = set()
    for file in (ROOT / "docs").rglob("*.md"):
        text = file.read_text("utf-8")
        wanted |= set(re.findall(r"glossary\.md#([^)\s]+)\)", text))
    wanted |= set(re.findall(r"\]\(#([^)]+)\)", GLOSSARY.read_text("utf-8")))
    assert wanted
    assert wanted - ANCHORS - {"term"} == set()


def test_the_defaults_of_a_channel_layer():
    """Capacity and expiry are those of Channels today."""
    for layer in (InMemoryChannelLayer(), RedisChannelLayer()):
        assert (layer.capacity, layer.expiry, layer.group_expiry) == (100, 60, 86_400)
    assert "100 by default" in ENTRIES["capacity"]
    assert "60 seconds by\ndefault" in ENTRIES["expiry"]
    assert "one day by default" in ENTRIES["expiry"]


def test_the_map_names_each_page():
    """A page that the map of the book does not name has no place in the book."""
    docs = ROOT / "docs"
    named = re.findall(r"^\| \[[^]]+\]\(([\w/-]+\.md)\) \|", (docs / "index.md").read_text(), re.M)
    files = [*docs.glob("*.md"), *docs.glob("recipes/*.md")]
    pages = {file.relative_to(docs).as_posix() for file in files} - {"index.md"}
    assert pages - set(named) == set()
    assert len(named) == len(set(named))
