"""Signing up, in and out through the pages."""

import re

from playwright.sync_api import expect

from course.checks.browser.pages import (
    expect_closed,
    expect_lines,
    expect_open,
    page_path,
    say,
    sign_in,
    sign_up,
)
from course.checks.browser.sites import Site, steps


@steps(first=4)
def test_a_stranger_signs_up_on_the_way_to_a_room(site: Site, room: str, new_window):
    """A stranger who opens a room can sign in or sign up, and then arrives in that room."""
    page = new_window()
    page.goto(site.url + page_path(site, room))
    expect(page).to_have_title(re.compile("Sign in"))
    page.get_by_role("link", name="Sign up").click()
    expect(page).to_have_title(re.compile("Sign up"))
    sign_up(page, "newcomer")
    expect(page).to_have_url(site.url + page_path(site, room))
    expect_open(page)
    expect(page.get_by_text("Signed in as newcomer")).to_be_visible()


@steps(first=4)
def test_signing_out_closes_all_windows_of_the_user(site: Site, room: str, new_window, join):
    """All pages of the user close at once, on every device, and say so; nobody else notices.

    After a wrong password, the page says what is wrong, and asks again.
    """
    phone, ben = join("ann"), join("ben")
    page = new_window()
    page.goto(site.url + page_path(site, room))
    sign_in(page, "ann", "wrong")
    expect(page.locator(".errorlist")).to_contain_text("correct username and password")
    sign_in(page, "ann")
    expect_open(page)
    tab = page.context.new_page()
    tab.goto(site.url + page_path(site, room))
    expect_open(tab)

    page.get_by_role("button", name="Sign out").click()

    expect(page).to_have_title(re.compile("Sign in"))
    expect_closed(tab, "Signed out")
    expect_closed(phone, "Signed out")
    say(ben, "still here")
    expect_lines(ben, "still here")
    tab.reload()
    expect(tab).to_have_title(re.compile("Sign in"))
