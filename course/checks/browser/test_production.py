"""Step 5 in production shape, in a real browser: cookies, static files, content security policy."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from playwright.sync_api import Browser, Page, expect

from course.checks.production.prepared import QuickStack
from course.stack.stack import Stack

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the stack needs Linux or macOS")

MAKE_SUPERUSER = "UPDATE auth_user SET is_staff = true, is_superuser = true WHERE username = 'ann'"


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """Run a stack with a superuser, Ann, whose password is the stack's."""
    with QuickStack() as stack:
        with psycopg.connect(stack.database_url) as database:
            database.execute(MAKE_SUPERUSER)
        yield stack


@pytest.fixture
def window(browser: Browser, stack: Stack) -> Iterator[Page]:
    """Open an empty window, whose `complaints` lists the browser's complaints."""
    with browser.new_context(base_url=stack.url) as context:
        page = context.new_page()
        page.complaints = []
        page.on("console", lambda line: page.complaints.append(line.text))
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        yield page


def sign_in(page: Page, path: str, stack: Stack) -> None:
    """Sign Ann in on the page that leads to `path`."""
    page.goto(path)
    page.get_by_label("Username").fill("ann")
    page.get_by_label("Password").fill(stack.password)
    page.get_by_role("button", name=re.compile("(Sign|Log) in")).click()


def test_a_person_signs_in_and_talks(window: Page, stack: Stack) -> None:
    """Ann talks through nginx; the browser complains about no file, cookie or socket."""
    sign_in(window, "/chat/lobby/", stack)
    expect(window.locator("#connection-status")).to_have_attribute("data-state", "open")
    window.locator("#chat-message-input").fill("hello")
    window.locator("#chat-message-submit").click()
    expect(window.locator("#chat-log")).to_contain_text("hello")
    scripts = window.evaluate("performance.getEntriesByType('resource').map(entry => entry.name)")
    names = [name for name in scripts if name.endswith((".js", ".css"))]
    assert len(names) >= 3
    assert [name for name in names if not re.search(r"\.[0-9a-f]{12}\.\w+$", name)] == []
    assert window.complaints == []


def test_the_admin_works_under_the_policy(window: Page, stack: Stack) -> None:
    """The policy forbids none of the admin's lists, forms and scripts."""
    sign_in(window, "/admin/auth/user/", stack)
    expect(window.locator("#result_list")).to_contain_text("ann")
    window.goto("/admin/chat/message/?q=hello")
    expect(window.locator("#searchbar")).to_have_value("hello")
    window.goto("/admin/auth/user/add/")
    window.locator("#id_username").fill("ben")
    window.goto("/admin/auth/user/1/change/")
    expect(window.locator(".datetimeshortcuts").first).to_be_visible()
    assert [line for line in window.complaints if "Content Security Policy" in line] == []


def test_a_smuggled_script_does_not_run(window: Page, stack: Stack) -> None:
    """The browser blocks scripts in the page, from elsewhere and in attributes, and says why."""
    window.goto("/accounts/login/")
    window.evaluate(
        """() => {
            const inline = document.createElement("script");
            inline.textContent = "window.smuggled = true";
            document.head.append(inline);
            document.body.setAttribute("onclick", "window.smuggled = true");
            document.body.click();
            const foreign = document.createElement("script");
            foreign.src = "http://evil.example/x.js";
            document.head.append(foreign);
        }"""
    )
    assert window.evaluate("window.smuggled") is None
    said = "\n".join(window.complaints)
    assert said.count("Content Security Policy") >= 3


def test_another_site_cannot_show_our_pages(browser: Browser, stack: Stack) -> None:
    """The browser shows no page of ours in another site's frame: this prevents clickjacking."""
    with browser.new_context() as context:
        page = context.new_page()
        with page.expect_console_message(lambda line: "frame-ancestors" in line.text):
            page.set_content(f'<iframe src="{stack.url}/accounts/login/"></iframe>')


def certificate(folder: Path) -> tuple[Path, Path]:
    """Write a certificate that only this test trusts, and its key; return both files."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .sign(key, hashes.SHA256())
    )
    files = folder / "certificate.pem", folder / "key.pem"
    files[0].write_bytes(made.public_bytes(Encoding.PEM))
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    files[1].write_bytes(private)
    return files


def test_with_https_cookies_never_travel_without_it(browser: Browser, tmp_path: Path) -> None:
    """A certificate, put in as deploy/nginx.conf says, secures pages, sockets and cookies.

    Requests without https are redirected.
    """
    pem, key = certificate(tmp_path)
    origin = {"DJANGO_CSRF_TRUSTED_ORIGINS": "https://chat.example"}
    with QuickStack(workers=1, variables=origin) as stack:
        worker = requests.get(f"{stack.worker_urls[0]}/chat/", allow_redirects=False, timeout=30)
        assert worker.status_code == 301
        assert worker.headers["Location"].startswith("https://")
        forged = {"X-Forwarded-Proto": "https"}
        answer = requests.get(
            f"{stack.url}/chat/", headers=forged, allow_redirects=False, timeout=30
        )
        assert answer.status_code == 301

        # The container's health check asks without https, and nothing redirects the check.
        check = stack.site / "deploy" / "healthcheck.py"
        check.write_text(check.read_text().replace(":8000", f":{stack.ports['worker1']}"))
        asked = subprocess.run([sys.executable, check], env=stack.environment, capture_output=True)
        assert asked.returncode == 0, asked.stderr

        site = stack.folder / "site.conf"
        ssl = f" ssl; ssl_certificate {pem}; ssl_certificate_key {key};"
        listen = f"listen {stack.host}"
        site.write_text(site.read_text().replace(f"{listen};", listen + ssl))
        stack.parts["nginx"].restart()
        with browser.new_context(
            base_url=f"https://{stack.host}", ignore_https_errors=True
        ) as context:
            page = context.new_page()
            sign_in(page, "/chat/lobby/", stack)
            expect(page.locator("#connection-status")).to_have_attribute("data-state", "open")
            cookies = {cookie["name"]: cookie for cookie in context.cookies()}
            assert cookies["sessionid"]["secure"]
            assert cookies["sessionid"]["httpOnly"]
            assert cookies["csrftoken"]["secure"]
            answer = page.request.get("/chat/")
            assert answer.headers["strict-transport-security"] == "max-age=2592000"
