"""Chapter 2: what its reader does with two tabs in one room, and its scenes."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, expect

from course.checks.docs.reader import type_into_console
from course.checks.warm import start_module
from course.core.ports import answers, free_port
from course.core.processes import clean_environment, stop, wait_until

SECONDS = 30  # longer than a start takes on a busy machine
ANNOUNCE = 'from chat.announce import announce; announce("lobby", "Closing soon.")'
LOG = Path("..", "server.log")  # what the server's terminal shows
Scene = Callable[[str, Page], str]


def settle(page: Page) -> None:
    """Wait until the socket of the page is open or closed."""
    expect(page.locator("#chat-log")).to_be_attached()
    status = page.locator("#connection-status")
    expect(status).not_to_have_text("Connecting…")


def enter(page: Page, room: str) -> None:
    """Choose a room on the first page, if the site has such a page yet."""
    if page.locator("#room-name-input").count():
        page.fill("#room-name-input", room)
        page.press("#room-name-input", "Enter")
    settle(page)


def other_tab(page: Page) -> Page:
    """Open the page in another tab, in place of the other tabs that are open."""
    for tab in page.context.pages:
        if tab != page:
            tab.close()
    tab = page.context.new_page()
    tab.goto(page.url)
    settle(tab)
    return tab


def write(page: Page, message: str) -> None:
    """Write a line, and press Enter."""
    page.fill("#chat-message-input", message)
    page.press("#chat-message-input", "Enter")


def write_hello(page: Page) -> None:
    """Enter the room in two tabs, and write a line in the second; the first is looked at."""
    enter(page, "lobby")
    tab = other_tab(page)
    write(tab, "hello")


def talk(room: str) -> Scene:
    """Return a scene: one tab writes, the other shows the line."""

    def scene(host: str, page: Page) -> str:
        page.goto(f"http://{host}/")
        enter(page, room)
        write(other_tab(page), "hello")
        expect(page.locator("#chat-log")).to_have_text("hello")
        return page.locator("#chat-log").inner_text()

    return scene


def talk_and_reload(host: str, page: Page) -> str:
    """Talk in a room with a Japanese name, and reload the page: it is empty."""
    heard = talk("日本語")(host, page)
    page.reload()
    settle(page)
    expect(page.locator("#chat-log")).to_be_empty()
    return heard


def echo(host: str, page: Page) -> str:
    """Write in a room whose consumer answers the writer alone."""
    page.goto(f"http://{host}/")
    enter(page, "lobby")
    write(page, "hello")
    expect(page.locator("#chat-log")).to_have_text("Echo: hello")
    return page.locator("#chat-log").inner_text()


def closed(room: str) -> Scene:
    """Return a scene: the socket of the room does not open."""

    def scene(host: str, page: Page) -> str:
        page.goto(f"http://{host}/")
        enter(page, room)
        return page.locator("#connection-status").inner_text()

    return scene


def silence(host: str, page: Page) -> str:
    """Write in one tab: neither tab shows the line, and the terminal shows no warning."""
    page.goto(f"http://{host}/")
    enter(page, "lobby")
    tab = other_tab(page)
    write(tab, "hello")
    # The consumer handles frames in order: the answer to the second frame comes after the first.
    write(tab, " ")
    expect(tab.locator("#chat-log")).to_have_text("The message is empty. Write something first.")
    expect(page.locator("#chat-log")).to_be_empty()
    assert "Warning" not in LOG.read_text("utf-8")
    return page.locator("#connection-status").inner_text()


def end_of_a_room(host: str, page: Page) -> str:
    """Write a line, and lose both connections."""
    page.goto(f"http://{host}/")
    enter(page, "lobby")
    tab = other_tab(page)
    write(tab, "hello")
    for each in [page, tab]:
        expect(each.locator("#connection-status")).to_contain_text("Closed")
    return page.locator("#connection-status").inner_text()


def attack(host: str, page: Page) -> str:
    """End the consumers of a room from the console of a browser; its pages do not notice."""
    page.goto(f"http://{host}/")
    enter(page, "lobby")
    tab = other_tab(page)
    write(tab, "hello")
    expect(page.locator("#chat-log")).to_have_text("hello")
    type_into_console(tab, "02-groups.md", "any-type")
    # The three sockets are those of two tabs and that of the console.
    assert wait_until(lambda: LOG.read_text("utf-8").count("lobby/ 4000") == 3, SECONDS)
    # A person comes later, and hears nothing of what is written in a tab that says `Connected`.
    late = page.context.new_page()
    late.goto(page.url)
    settle(late)
    write(tab, "Is anybody here?")
    write(late, "later")
    expect(late.locator("#chat-log")).to_have_text("later")
    expect(page.locator("#chat-log")).to_have_text("hello")
    return page.locator("#connection-status").inner_text()


def refusal(host: str, page: Page) -> str:
    """Choose a room name that breaks the rule."""
    page.goto(f"http://{host}/")
    page.fill("#room-name-input", "a/b")
    page.press("#room-name-input", "Enter")
    error = page.locator(".error")
    expect(error).to_be_visible()
    return error.inner_text()


def visit(host: str, page: Page) -> str:
    """Open the page a second time, and hear of it in the first tab."""
    page.goto(f"http://{host}/")
    enter(page, "lobby")
    other_tab(page)
    log = page.locator("#chat-log")
    expect(log).to_have_text("Somebody opens the page.")
    return log.inner_text()


def unheard(*command: str) -> Scene:
    """Return a scene: a command sends to the room, and the tab hears only what comes after it."""

    def scene(host: str, page: Page) -> str:
        page.goto(f"http://{host}/")
        enter(page, "lobby")
        subprocess.run([sys.executable, *command], env=clean_environment(), check=True)
        write(other_tab(page), "hello")
        expect(page.locator("#chat-log")).to_have_text("hello")
        return page.locator("#chat-log").inner_text()

    return scene


def meet(first: str, second: str) -> str:
    """Run the reader's script with the ports of two servers."""
    command = [sys.executable, "meet.py", first, second]
    done = subprocess.run(command, env=clean_environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def one_server(host: str, page: Page) -> str:
    """Let two people meet on one server."""
    port = host.rpartition(":")[2]
    return meet(port, port)


def two_servers(host: str, page: Page) -> str:
    """Let two people meet on two servers."""
    port = free_port()
    command = ["manage", "runserver", "--noreload", f"127.0.0.1:{port}"]
    log = Path("..", "second.log")
    process = start_module(command, log, Path(), clean_environment())
    try:
        assert wait_until(lambda: answers(port), SECONDS), log.read_text("utf-8")
        return meet(host.rpartition(":")[2], str(port))
    finally:
        stop(process)


SCENES = {
    "no-route": closed("lobby"),
    "word": echo,
    "word hyphen": closed("test-room"),
    "sync": silence,
    "wrapped": talk("lobby"),
    "chat": talk("lobby"),
    "chat space": closed("my room"),
    "chat Japanese": closed("日本語"),
    "any name": talk_and_reload,
    "slash": refusal,
    "misspelt": end_of_a_room,
    "any-type": attack,
    "view": visit,
    "shell": unheard("manage.py", "shell", "-v0", "-c", ANNOUNCE),
    "command": unheard("manage.py", "announce", "lobby", "Closing soon."),
    "one server": one_server,
    "two servers": two_servers,
}
