"""A page that connects again: the script that does it, and the user whose page it is."""

import re
from urllib.parse import quote, urljoin

import pytest
from channels.db import database_sync_to_async
from django.contrib.staticfiles.storage import staticfiles_storage
from django.core.management import call_command

from .helpers import SIGNED_OUT, hear, refusal, say, session_cookie, socket_path

LOBBY = socket_path("lobby")
IMPORT = r'^import .* from "(.+)";$'


@pytest.mark.parametrize("query", ["as=ben", "as=", "as=Ann", "after=0&as=ben"])
async def test_the_page_of_somebody_else_is_signed_out(connect, query):
    """When another user has signed in with the same browser, an old page gets 4001."""
    assert await refusal(await connect(f"{LOBBY}?{query}")) == SIGNED_OUT


@pytest.mark.parametrize("name", ["a+b@例え", "a_b-c.d"])
async def test_the_page_of_the_same_user_may_come_back(
    connect, django_user_model, name
):
    """The address has the username, which may contain ``+`` and letters of any script."""
    user = await django_user_model.objects.acreate(username=name)
    session = await database_sync_to_async(session_cookie)(user)
    other = await connect(f"{LOBBY}?as={name[0]}", session=session)
    assert await refusal(other) == SIGNED_OUT
    socket = await connect(f"{LOBBY}?as={quote(name)}", session=session)
    await say(socket, "I am back")
    assert (await hear(socket))["username"] == name


def test_the_page_knows_its_user(page):
    """The page has the username as JSON, for the address of its socket."""
    assert '<script id="username" type="application/json">"ann"</script>' in page


def test_the_page_loads_the_script_that_comes_back(visitor, page):
    """The page's script imports conversation.js, which the server has as JavaScript."""
    (path,) = re.findall(r'<script type="module" src="([^"]+)"', page)
    imports = re.findall(IMPORT, visitor.get(path).text, re.MULTILINE)
    assert imports == ["./conversation.js"]
    answer = visitor.get(urljoin(path, imports[0]))
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/javascript")
    assert "export class Conversation" in answer.text


def test_in_production_both_scripts_have_hashed_names(settings, tmp_path):
    """Browsers may keep old files for ever, so a script imports the other by its hash."""
    settings.STATIC_ROOT = tmp_path
    hashed = {"BACKEND": "config.static.HashedNames"}
    settings.STORAGES = {**settings.STORAGES, "staticfiles": hashed}
    call_command("collectstatic", interactive=False, verbosity=0)
    script = tmp_path / staticfiles_storage.stored_name("chat/chat.js")
    imports = re.findall(IMPORT, script.read_text("utf-8"), re.MULTILINE)
    assert len(imports) == 1
    assert re.fullmatch(r"\./conversation\.\w{12}\.js", imports[0])
    assert (script.parent / imports[0]).is_file()
