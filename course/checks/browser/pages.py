"""Actions of people on the pages, and the elements where people look."""

from time import monotonic
from urllib.parse import quote

from playwright.sync_api import Error, Locator, Page, expect

from course.checks.browser.sites import PASSWORD, Site

OPEN_SOCKET = """
url => new Promise(resolve => {
    const socket = new WebSocket(url);
    socket.onopen = () => socket.send(JSON.stringify({message: "may I?"}));
    socket.onmessage = event => {
        const frame = JSON.parse(event.data);
        if (!("caught_up" in frame)) resolve(frame);
    };
    socket.onclose = event => resolve(event.code);
    setTimeout(resolve, 10_000, "neither a frame nor a close");
})
"""
ASK_FOR_TOKEN = """
async () => {
    const form = new FormData(document.querySelector("form:has([name=csrfmiddlewaretoken])"));
    const answer = await fetch("/api/token/", {method: "POST", body: form});
    return (await answer.json()).token;
}
"""
SHOWS_LINES = """
(...messages) => {
    const lines = [...document.querySelectorAll("[role=log] p")];
    return lines.length === messages.length
        && lines.every((line, number) => line.textContent.includes(messages[number]));
}
"""
SHOWS_STATE = """
(state, text) => {
    const status = document.querySelector("#connection-status");
    return status?.dataset.state === state && status.textContent.includes(text);
}
"""
SHOWS_COUNT = "(selector, count) => document.querySelectorAll(selector).length === count"
SHOWS_TEXTS = """
(selector, ...texts) => {
    const shown = [...document.querySelectorAll(selector)].map(element => element.textContent);
    return shown.length === texts.length
        && shown.every((text, number) => text.trim() === texts[number].trim());
}
"""
HAS_VALUE = "value => document.querySelector('#chat-message-input').value === value"
IS_FOCUSED = "id => document.activeElement.id === id"
TEXTS = "selector => [...document.querySelectorAll(selector)].map(element => element.textContent)"
# Check the condition again and again, until it holds or the time is up.
COMES_TRUE = """
([condition, given, milliseconds]) => new Promise((resolve, reject) => {
    const holds = eval(condition);
    const end = performance.now() + milliseconds;
    function look() {
        try {
            if (holds(...given)) resolve("");
            else if (performance.now() > end) resolve(document.documentElement.outerHTML);
            else setTimeout(look, 10);
        } catch (error) {
            reject(error);
        }
    }
    look();
})
"""
SELECT = "selector => document.querySelector(selector).select()"
LINES = "[role=log] p"
UNSENT = "#unsent-log p"
SECONDS = 15  # longer than any page takes


def wait_for(page: Page, condition: str, *given: object) -> None:
    """Wait until a JavaScript condition on the page holds; raise AssertionError with the page.

    `expect` does the same, but puts 300 KB of JavaScript into each page, which costs as much as the
    page itself. Every call that begins with a locator does so too.
    """
    end = monotonic() + SECONDS
    shown = "nothing: it went from page to page"
    while (rest := end - monotonic()) > 0:
        try:
            shown = page.evaluate(COMES_TRUE, [condition, given, 1000 * rest])
        except Error as error:
            # The window has meanwhile gone to another page, which may show it.
            if "Execution context was destroyed" not in error.message:
                raise
        if not shown:
            return
    raise AssertionError(f"not so: {condition} of {given}; the page shows {shown}")


def page_path(site: Site, room: str) -> str:
    """Return the path of the page where people write: a room's page, if the step has rooms."""
    return f"/chat/{quote(room, safe='')}/" if site.has_rooms else "/"


def socket_path(site: Site, room: str) -> str:
    """Return the path of the socket that this page opens."""
    return f"/ws{page_path(site, room)}" if site.has_rooms else "/ws/echo/"


def log_of(page: Page) -> Locator:
    """Return the part of the page that shows what was said."""
    return page.get_by_role("log")


def lines(page: Page) -> Locator:
    """Return the lines of the log, messages and errors."""
    return log_of(page).locator("p")


def message_input(page: Page) -> Locator:
    """Return the input where people write."""
    return page.locator("#chat-message-input")


def status(page: Page) -> Locator:
    """Return the element that shows the state of the connection."""
    return page.locator("#connection-status")


def write(page: Page, text: str, selector: str = "#chat-message-input") -> None:
    """Write into an input, in place of its old text."""
    page.evaluate(SELECT, selector)
    page.keyboard.insert_text(text)


def say(page: Page, message: str) -> None:
    """Write a message and press Enter."""
    write(page, message)
    page.keyboard.press("Enter")


def texts(page: Page, selector: str = LINES) -> list[str]:
    """Return the text of each matching element, by default of the log's lines."""
    return page.evaluate(TEXTS, selector)


def expect_count(page: Page, selector: str, count: int) -> None:
    """Wait until the page has this many of these elements."""
    wait_for(page, SHOWS_COUNT, selector, count)


def expect_texts(page: Page, selector: str, *texts: str) -> None:
    """Wait until the page has these elements with these texts, and no others."""
    wait_for(page, SHOWS_TEXTS, selector, *texts)


def expect_lines(page: Page, *messages: str) -> None:
    """Wait until the log shows these messages, and nothing else, in this order."""
    wait_for(page, SHOWS_LINES, *messages)


def expect_lines_by_our_clock(page: Page, *messages: str) -> None:
    """Wait as `expect_lines` does, but by our own clock: the page's clock may be stopped."""
    expect(lines(page)).to_have_count(len(messages))
    expect(lines(page)).to_contain_text(list(messages))  # this check allows more lines


def expect_unsent(page: Page, *messages: str) -> None:
    """Wait until the page shows that these messages, and no others, are on their way."""
    expect_texts(page, UNSENT, *(f"{message} sending…" for message in messages))


def expect_open(page: Page) -> None:
    """Wait until the page says that it is connected."""
    wait_for(page, SHOWS_STATE, "open", "Connected")


def expect_reconnecting(page: Page, reason: str = "") -> None:
    """Wait until the page says that it tries to connect again, and why it cannot."""
    expect_texts(page, "#connection-status[data-state=connecting]", f"{reason}Reconnecting…")


def expect_reconnecting_by_our_clock(page: Page) -> None:
    """Wait as `expect_reconnecting` does, but by our own clock: the page's clock may be stopped."""
    expect(status(page)).to_have_text("Reconnecting…")
    expect(status(page)).to_have_attribute("data-state", "connecting")


def expect_closed(page: Page, reason: str = "Closed") -> None:
    """Wait until the page says that its connection is closed, and why."""
    wait_for(page, SHOWS_STATE, "closed", reason)


def hurry(page: Page) -> None:
    """Make the page's random waits before a new connection as short as possible."""
    page.evaluate("Math.random = () => 0.02")


def sign_up(page: Page, name: str) -> None:
    """Fill in the sign-up form, and send it."""
    page.get_by_label("Username").fill(name)
    page.get_by_label("Password:", exact=True).fill(PASSWORD)
    page.get_by_label("Password confirmation").fill(PASSWORD)
    page.get_by_role("button", name="Sign up").click()


def sign_in(page: Page, name: str, password: str = PASSWORD) -> None:
    """Fill in the sign-in form, and send it."""
    page.get_by_label("Username").fill(name)
    page.get_by_label("Password:").fill(password)
    page.get_by_role("button", name="Sign in").click()


def try_socket(page: Page, url: str) -> dict | int:
    """Open a socket from the page; return the first frame it gets, or its close code.

    Once the socket is open, the page sends "may I?". In a room without history, the first frame is
    this message.
    """
    return page.evaluate(OPEN_SOCKET, url)


def ask_for_token(page: Page) -> str:
    """Return a token for the person who has signed in on this page."""
    return page.evaluate(ASK_FOR_TOKEN)
