"""The page where people write."""

import re

import pytest

IDS = ["chat-log", "chat-message-input", "chat-message-submit", "connection-status"]


@pytest.mark.parametrize("element_id", IDS)
def test_the_page_has_the_elements_that_its_script_needs(page, element_id):
    """The log, the input, the button and the connection's status keep their ids."""
    assert f'id="{element_id}"' in page


def test_the_page_has_one_main_part(page):
    """The page marks its main part for screen readers, and the log is inside it."""
    (main,) = re.findall(r"<main>.*</main>", page, re.DOTALL)
    assert 'role="log"' in main


def test_the_server_has_the_files_that_the_page_asks_for(visitor, page):
    """Script, stylesheet and icon are served with their types."""
    paths = re.findall(r'(?:src|href)="(/static/[^"]+)"', page)
    types = {visitor.get(path).headers["content-type"].split(";")[0] for path in paths}
    assert types == {"text/javascript", "text/css", "image/svg+xml"}
