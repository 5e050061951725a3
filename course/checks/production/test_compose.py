"""The parts in step 5's `deploy/compose.yaml` fit together."""

import yaml

from course.core.steps import ROOT

DEPLOY = ROOT / "step05_deploy" / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())


def test_parts_wait_for_parts_that_have_what_is_waited_for():
    """A part that must be healthy has a health check; a part that must complete ends.

    All volumes are declared, and only nginx publishes a port.
    """
    services = COMPOSE["services"]
    for name, service in services.items():
        for other, how in service.get("depends_on", {}).items():
            assert other in services, name
            healthy = "healthcheck" in services[other] or "build" in services[other]
            if how["condition"] == "service_healthy":
                assert healthy
                assert not services[other].get("healthcheck", {}).get("disable")
            else:
                assert how["condition"] == "service_completed_successfully"
                assert services[other]["restart"].startswith("on-failure")
        for volume in service.get("volumes", []):
            assert volume.split(":")[0] in COMPOSE["volumes"]
        assert service["restart"]
    assert [name for name, service in services.items() if "ports" in service] == ["nginx"]
    assert [
        name for name, service in services.items() if "migrate" in service.get("command", [])
    ] == ["migrate"]


def test_addresses_in_the_compose_file_name_its_services():
    """Each address has the name of its service, and PostgreSQL's user, database and password."""
    postgres = COMPOSE["services"]["postgres"]["environment"]
    password = postgres["POSTGRES_PASSWORD"]
    for worker in ("worker1", "worker2", "migrate"):
        environment = COMPOSE["services"][worker]["environment"]
        user, database = postgres["POSTGRES_USER"], postgres["POSTGRES_DB"]
        expected = f"postgres://{user}:{password}@postgres:5432/{database}"
        assert environment["DATABASE_URL"] == expected
        assert environment["REDIS_URL"] == "redis://redis:6379"
