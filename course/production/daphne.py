"""The limits of Daphne in production, named in one place. The README of step 5 has them too.

On Daphne as on uvicorn nothing is lost, nothing comes twice, and everything comes in order. Each
limit here comes from Daphne, or from Autobahn, its WebSocket library. Step 5 does not patch them.

uvicorn has one of the limits as well: `ON_BOTH`. No test holds a server to that one.
"""

from dataclasses import dataclass

ISSUES = "https://github.com/django/daphne/issues"


@dataclass(frozen=True)
class Limit:
    """What a client or an operator meets on either server, why, and where to read more."""

    uvicorn: str
    daphne: str
    why: str
    issue: str | None  # None: nobody has reported it so far


LIMITS = {
    "a close frame at a stop": Limit(
        "closes each socket with 1012",
        "ends the connections without a close frame: browsers see 1006, and come back as well",
        "Daphne cancels its applications and stops. It tells the clients nothing.",
        f"{ISSUES}/177",
    ),
    "waiting for a client that does not read": Limit(
        "the outbox fills up, and the socket is closed with 4013",
        "the messages wait in the memory of the process, until the client reads or is dropped "
        "because it does not answer a ping",
        "Daphne takes every message that it is to send. It never makes the sender wait.",
        f"{ISSUES}/170",
    ),
    "waiting for a consumer that is busy": Limit(
        "does not read a socket while the consumer has unread frames",
        "frames wait in the memory of the process",
        "The queue of frames to an application has no limit.",
        None,
    ),
    "a limit of 64 KiB to a frame": Limit(
        "--ws-max-size 65536",
        "takes 1 MiB, unless --websocket-max-message-size and --websocket-max-frame-size say less",
        "1 MiB is the default since Daphne 4.2.2. Older versions take frames of any size.",
        f"{ISSUES}/580",
    ),
    "a close code for a bad frame": Limit(
        "1009 for a frame that is too large, 1002 and 1007 for a breach of the protocol",
        "ends the connection without a close frame: browsers see 1006",
        "Daphne uses Autobahn's default, failByDrop: a client that breaks the protocol is dropped.",
        "https://github.com/crossbario/autobahn-python/issues/29",
    ),
}

ON_BOTH = {
    "waiting for a client that sends pings and does not read": Limit(
        "the answers wait in the memory of the process. nginx ends such a connection after 30 "
        "seconds in which nothing moves",
        "the same",
        "Both servers answer a ping at once, whether the client reads or not. An operator can "
        "limit the memory of a worker: MemoryMax= of systemd, mem_limit of Compose.",
        None,
    ),
}


def lacks(server: str, what: str) -> bool:
    """Tell whether a server lacks something that `LIMITS` names; KeyError if it names no such."""
    return bool(LIMITS[what]) and server == "daphne"


def as_table() -> str:
    """Return the limits as a table in Markdown, for the README of step 5."""
    lines = ["| Daphne lacks | on uvicorn | on Daphne | why |", "|---|---|---|---|"]
    for name, limit in (LIMITS | ON_BOTH).items():
        why = f"{limit.why} ([issue]({limit.issue}))" if limit.issue else limit.why
        lines.append(f"| {name} | {limit.uvicorn} | {limit.daphne} | {why} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(as_table())
