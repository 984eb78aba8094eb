"""What an embedded nats-server is told: its listeners, its store, its accounts, and its place in a cluster.

Everybody who connects is a user of one account, `ACCOUNT`: without credentials, or by the user and password that our
own credentials hold. The system account has no users. It gives away two things, which `ACCOUNT` imports: the advisories
about connections of that account that have ended, and the request that closes a connection. That request knows no
accounts: whoever may send it can close any connection to the server, by its number. Here all connections are the farm's
own.
"""

from pathlib import Path
from typing import Any, Literal, NamedTuple

from events.bus import PAYLOAD_BYTES_MAX
from events.credentials import NONE, Credentials

Sync = Literal["always", "default"]

HOST = "127.0.0.1"

ACCOUNT = "RESURGAM"
SYSTEM_ACCOUNT = "SYS"
DISCONNECTIONS = f"$SYS.ACCOUNT.{ACCOUNT}.DISCONNECT"
"""Known to every user of the account under the same name."""
KICK = "$SYS.REQ.SERVER.*.KICK"
"""The same; the wildcard is the server's id, which is another one after each start."""
ACCOUNTS: dict[str, Any] = {
    SYSTEM_ACCOUNT: {
        "exports": [
            {"stream": DISCONNECTIONS, "accounts": [ACCOUNT]},
            {"service": KICK, "accounts": [ACCOUNT]},
        ]
    },
    ACCOUNT: {
        "jetstream": "enabled",
        "users": [{"user": "anybody"}],
        "imports": [
            {"stream": {"account": SYSTEM_ACCOUNT, "subject": DISCONNECTIONS}},
            {"service": {"account": SYSTEM_ACCOUNT, "subject": KICK}},
        ],
    },
}
GLOBAL_ACCOUNT = "$G"
"""Where a server without accounts keeps the streams of everybody."""


class Membership(NamedTuple):
    """A server's place in a cluster."""

    cluster: str
    node: str
    """The others know it, and what it has stored, by this name: it stays the same for as long as its store."""
    port: int
    """Where the other nodes reach it."""
    routes: tuple[str, ...]
    """Of all nodes, itself included."""


def server_configuration(
    folder: Path,
    *,
    port: int,
    store_bytes_max: int,
    sync: Sync,
    membership: Membership | None = None,
    own: Credentials = NONE,
) -> dict[str, Any]:
    """What `nats.conf` holds, for a server that keeps all it has in `folder` and takes clients on `port`: those that
    show our `own` user and password, or else everybody."""
    jetstream: dict[str, Any] = {
        "store_dir": str(folder / "store"),
        "max_file_store": store_bytes_max,
        "max_memory_store": 256 * 1024 * 1024,  # consumers without acknowledgements live there
    }
    if sync == "always":
        jetstream["sync_interval"] = "always"
    configuration: dict[str, Any] = {
        "server_name": f"resurgam-{port}" if membership is None else membership.node,
        "host": HOST,
        "port": port,
        "http": f"{HOST}:-1",
        "ports_file_dir": str(folder / "ports"),
        "pid_file": str(folder / "nats.pid"),
        "log_file": str(folder / "nats.log"),
        "log_size_limit": 10 * 1024 * 1024,
        "logfile_max_num": 3,
        "max_payload": PAYLOAD_BYTES_MAX,
        "write_deadline": "10s",
        "jetstream": jetstream,
        "accounts": ACCOUNTS,
        "system_account": SYSTEM_ACCOUNT,
        "no_auth_user": "anybody",
    }
    if own.user is not None:
        users = [{"user": own.user, "password": own.password}]
        configuration["accounts"] = {**ACCOUNTS, ACCOUNT: {**ACCOUNTS[ACCOUNT], "users": users}}
        del configuration["no_auth_user"]
    if membership is not None:
        configuration["cluster"] = {
            "name": membership.cluster,
            "host": HOST,
            "port": membership.port,
            "routes": list(membership.routes),
        }
    return configuration
