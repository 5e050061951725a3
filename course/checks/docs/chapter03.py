"""Chapter 3: what its reader does in a room, and its scenes."""

from collections.abc import Callable
from datetime import datetime
from zoneinfo import ZoneInfo

from playwright.sync_api import Page, expect
from websockets.sync.client import ClientConnection, connect

from course.checks.docs.reader import type_into_console

Scene = Callable[[str, Page], str]
SECONDS = 30  # longer than a busy machine needs for anything here


def enter(page: Page, host: str, room: str = "lobby") -> None:
    """Open the page of a room, and wait until the state of its socket is known."""
    page.goto(f"http://{host}/chat/{room}/")
    expect(page.locator("#connection-status")).not_to_have_text("Connecting…")


def write(page: Page, message: str) -> None:
    """Write a line, and press Enter."""
    page.fill("#chat-message-input", message)
    page.press("#chat-message-input", "Enter")


def closed(page: Page) -> str:
    """Return what the page says about the closed connection."""
    status = page.locator("#connection-status")
    expect(status).to_contain_text("Closed")
    return status.inner_text()


def write_hello(page: Page) -> None:
    """Enter the lobby, write a line, and hear it."""
    enter(page, page.url.split("/")[2])
    write(page, "hello")
    expect(page.locator("#chat-log p").last).to_contain_text("hello")


def refused(host: str, page: Page) -> str:
    """Open a page whose socket is refused."""
    enter(page, host)
    return closed(page)


def broken(host: str, page: Page) -> str:
    """Write a line that ends the connection."""
    enter(page, host)
    write(page, "hello")
    return closed(page)


def half_a_character(*heard: str) -> Scene:
    """Return a scene: somebody sends half a character, and the page shows what the room heard."""

    def scene(host: str, page: Page) -> str:
        enter(page, host)
        with page.expect_console_message() as said:
            type_into_console(page, "03-persistence.md", "send-first")
        # The consumer of the page handles its events in order: this line comes last.
        write(page, "hello")
        lines = page.locator("#chat-log bdi")
        expect(lines.last).to_have_text("hello")
        # A browser draws half a character as U+FFFD.
        texts = [text.replace("\ud83d", "\ufffd") for text in lines.all_inner_texts()]
        assert texts == [*heard, "hello"]
        return f"{said.value.text}\n{', '.join(texts)}"

    return scene


def admin(host: str, page: Page) -> str:
    """Sign in to the admin, and read the newest message."""
    page.goto(f"http://{host}/admin/chat/message/")
    page.fill("#id_username", "ann")
    page.fill("#id_password", "correct-horse-battery")
    page.get_by_role("button", name="Log in").click()
    expect(page.locator("#content h1")).to_be_visible()
    row = page.locator("#result_list tbody tr").first
    shown = [row.locator(f".field-{name}").inner_text() for name in ("room", "__str__")]
    return f"{page.locator('#content h1').inner_text()}\n{': '.join(shown)}"


def say(socket: ClientConnection, message: str) -> None:
    """Say a message, and hear it."""
    socket.send(f'{{"message": "{message}"}}')
    while f'"{message}"' not in str(socket.recv(SECONDS)):
        pass


def meanwhile(room: str) -> Scene:
    """Return a scene: a page joins while somebody else talks, and shows its lines in one row."""

    def scene(host: str, page: Page) -> str:
        url = f"ws://{host}/ws/chat/{room}/"
        with connect(url, origin=f"http://{host}", open_timeout=SECONDS) as other:
            say(other, "before")
            enter(page, host, room)
            expect(page.locator("#connection-status")).to_have_text("Connected")
            say(other, "in between")
            # The consumer of the page reads this line after it has joined.
            write(page, "later")
            lines = page.locator("#chat-log bdi")
            expect(lines.last).to_have_text("later")
            return ", ".join(lines.all_inner_texts())

    return scene


def timed(host: str, page: Page) -> str:
    """Write a line; return it as the page shows it. Somebody in Tokyo sees another time."""
    enter(page, host)
    assert page.context.browser
    with page.context.browser.new_context(locale="de-DE", timezone_id="Asia/Tokyo") as abroad:
        tokyo = abroad.new_page()
        enter(tokyo, host)
        write(page, "hello")
        for each in (page, tokyo):
            expect(each.locator("#chat-log p").last).to_contain_text("hello")
        stored = str(tokyo.locator("time").last.get_attribute("datetime"))
        there = datetime.fromisoformat(stored).astimezone(ZoneInfo("Asia/Tokyo"))
        assert tokyo.locator("time").last.inner_text() == there.strftime("%H:%M")
    return page.locator("#chat-log p").last.inner_text()


def reload(host: str, page: Page) -> str:
    """Write two lines, and reload; return the newest lines."""
    enter(page, host)
    lines = page.locator("#chat-log bdi")
    for message in ["one", "two"]:
        write(page, message)
        expect(lines.last).to_have_text(message)
    page.reload()
    expect(lines.last).to_have_text("two")
    return "\n".join(lines.all_inner_texts()[-2:])


SCENES = {
    "obvious": broken,
    "send-first": half_a_character("\ufffd"),
    "store first": half_a_character(),
    "checked": half_a_character(),
    "admin": admin,
    "timed": timed,
    "gap": meanwhile("gap"),
    "twice": meanwhile("twice"),
    "reload": reload,
    "refuse": refused,
}
