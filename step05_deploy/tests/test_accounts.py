"""Sign up, sign in, sign out; and names on messages."""

import re

from .helpers import hear, history_of, say, submit

PASSWORD = "correct horse battery"


def sign_up(visitor, username, path="/accounts/signup/"):
    """Sign up with a new name, on the page at this path."""
    return submit(
        visitor, path, username=username, password1=PASSWORD, password2=PASSWORD
    )


def test_a_stranger_signs_up_and_arrives_in_the_room(stranger):
    """A stranger who asks for a room gets there by signing up."""
    asked = stranger.get("/chat/test-room/")
    assert asked.url == f"{stranger.url}/accounts/login/?next=/chat/test-room/"
    sign_up_path = re.search(r'href="(/accounts/signup/[^"]*)"', asked.text)[1]
    arrived = sign_up(stranger, "ben", sign_up_path)
    assert arrived.url == f"{stranger.url}/chat/test-room/"
    assert "<b>ben</b>" in arrived.text


def test_a_user_who_signs_out_is_a_stranger_until_they_sign_in(stranger):
    """The button on each page ends the session. Name and password start another."""
    sign_up(stranger, "ben")
    signed_out = submit(stranger, "/chat/", to="/accounts/logout/")
    assert signed_out.url == f"{stranger.url}/accounts/login/"
    assert "/accounts/login/" in stranger.get("/chat/").url

    arrived = submit(
        stranger, "/accounts/login/?next=/chat/", username="ben", password=PASSWORD
    )
    assert arrived.url == f"{stranger.url}/chat/"


def test_a_wrong_password_does_not_sign_in(stranger):
    """The page says so, and asks again."""
    sign_up(stranger, "ben")
    submit(stranger, "/chat/", to="/accounts/logout/")
    answer = submit(stranger, "/accounts/login/", username="ben", password="wrong")
    assert "Please enter a correct username and password" in answer.text
    assert "/accounts/login/" in stranger.get("/chat/").url


def test_a_weak_password_is_not_accepted(stranger):
    """Signing up says what a password needs."""
    answer = submit(
        stranger, "/accounts/signup/", username="ben", password1="1", password2="1"
    )
    assert "This password is too short" in answer.text


def test_signing_up_leads_to_no_other_site(stranger):
    """A link with another site's address in ``next`` does not lead there."""
    arrived = sign_up(stranger, "ben", "/accounts/signup/?next=https://evil.example/")
    assert arrived.url == f"{stranger.url}/chat/"


async def test_a_message_carries_the_name_of_its_sender(connect, bens_session):
    """Live and in the history, everybody sees who spoke. The sender cannot change it."""
    as_ann, as_ben = await connect(), await connect(session=bens_session)
    await say(as_ann, "I am Ann")
    assert (await hear(as_ben))["username"] == "ann"
    await say(as_ben, "I am Ann, too", username="ann")
    assert [(await hear(as_ann))["username"] for _ in range(2)] == ["ann", "ben"]
    assert [frame["username"] for frame in await history_of(await connect())] == [
        "ann",
        "ben",
    ]
