"""Who gets in, by what is shown to a real server, and to whom nothing is shown."""

import asyncio
import json
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from coordinator.broker import EmbeddedBroker
from events.addresses import addresses
from events.connection import Connection
from events.credentials import NONE, VARIABLE, Credentials, credentials
from events.errors import CredentialsUnusable, Unreachable, Unwelcome
from tests.conftest import _await_ports, nats_server_binary
from tests.waiting import until

HERE = Path(__file__).parent / "certificates"
SECRET = "nobody may see this"
ALICE = f'user = "alice"\npassword = "{SECRET}"\n'
PASSWORD = f'authorization {{ user: alice, password: "{SECRET}" }}'
TOKEN = f'authorization {{ token: "{SECRET}" }}'
TLS = f'tls {{ cert_file: "{HERE}/server.pem", key_file: "{HERE}/server-key.pem" }}'
MUTUAL = f'{TLS[:-1]}, ca_file: "{HERE}/ca.pem", verify: true }}'
CA = f'ca = "{HERE}/ca.pem"\n'

Show = Callable[[str], Path]


@pytest.fixture
def show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Show:
    """From now on this process has a file of credentials with such a content."""

    def write(content: str) -> Path:
        path = tmp_path / "credentials.toml"
        path.write_text(content)
        path.chmod(0o600)
        monkeypatch.setenv(VARIABLE, str(path))
        return path

    return write


class Server:
    def __init__(self, folder: Path, configuration: str) -> None:
        self._folder = folder
        own, log = json.dumps(str(folder)), json.dumps(str(folder / "nats.log"))
        (folder / "nats.conf").write_text(f"{configuration}\nports_file_dir: {own}\nlog_file: {log}\n")
        self._listen = '"127.0.0.1:-1"'
        self.start()

    def start(self, change: Callable[[str], str] = str) -> None:
        path = self._folder / "nats.conf"
        path.write_text(change(path.read_text()))
        own = self._folder / "own.conf"
        own.write_text(f"listen: {self._listen}\n{path.read_text()}")
        self.process = subprocess.Popen([nats_server_binary(), "-c", str(own)])
        self.url = _await_ports(self.process, self._folder).replace("tls://", "nats://")
        self._listen = json.dumps(self.url.removeprefix("nats://"))

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@contextmanager
def server(folder: Path, configuration: str) -> Iterator[Server]:
    one = Server(folder, configuration)
    try:
        yield one
    finally:
        one.kill()


async def lets_in(url: str) -> None:
    bus = await Connection.connect(url, name="test")
    await bus.flush()
    await bus.close()


ADMITTED = {
    "a password": (PASSWORD, ALICE),
    "a token": (TOKEN, f'token = "{SECRET}"'),
    "an authority": (TLS, CA),
    "a certificate": (MUTUAL, f'{CA}certificate = "{HERE}/w1.pem"\nkey = "{HERE}/w1-key.pem"'),
    "all of it": (f"{TLS}\n{PASSWORD}", ALICE + CA),
    "nothing, and nothing is asked for": ("", ""),
}


@pytest.mark.parametrize(("configuration", "shown"), ADMITTED.values(), ids=ADMITTED)
async def test_24_the_right_credentials_are_let_in(tmp_path: Path, show: Show, configuration: str, shown: str) -> None:
    show(shown)
    with server(tmp_path, configuration) as one:
        await lets_in(one.url)


REFUSED = {
    "none": (PASSWORD, "", "refuses the credentials, or wants some"),
    "a wrong password": (PASSWORD, ALICE.replace("nobody", "anybody"), "refuses the credentials"),
    "a wrong token": (TOKEN, 'token = "guessed"', "refuses the credentials"),
    "a password where nobody asks": ("", ALICE, "lets in everybody"),
    "no encryption": (PASSWORD, ALICE + CA, "offers no encryption"),
    "another authority's": (TLS, f'ca = "{HERE}/other.pem"', "do not agree on encryption"),
    "no certificate": (MUTUAL, CA, "do not agree on encryption"),
    "an expired certificate": (
        MUTUAL,
        f'{CA}certificate = "{HERE}/expired.pem"\nkey = "{HERE}/expired-key.pem"',
        "do not agree on encryption",
    ),
}


@pytest.mark.parametrize(("configuration", "shown", "words"), REFUSED.values(), ids=REFUSED)
async def test_24_wrong_missing_and_expired_ones_are_refused(
    tmp_path: Path, show: Show, configuration: str, shown: str, words: str
) -> None:
    show(shown)
    with server(tmp_path, configuration) as one, capture_logs() as logs:
        with pytest.raises(Unwelcome, match=words) as refused:
            await Connection.connect(one.url, name="test", wait_s=2.0)
        assert refused.value.exit_code == 5
        assert SECRET not in f"{refused.value} {refused.value!r} {logs}"


async def test_24_an_address_that_asks_for_encryption_gets_it_or_nothing(tmp_path: Path, show: Show) -> None:
    """Whoever stands between the two and offers none hears nothing secret."""
    show(ALICE)
    heard = bytearray()

    async def overhear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"server_id":"X","version":"2.15.1","headers":true,"auth_required":true}\r\n')
        heard.extend(await reader.read())
        writer.close()

    listener = await asyncio.start_server(overhear, "127.0.0.1", 0)
    async with listener:
        port = listener.sockets[0].getsockname()[1]
        with pytest.raises(Unwelcome, match="offers no encryption"):
            await Connection.connect(f"tls://127.0.0.1:{port}", name="test", wait_s=1.0)
    assert not heard


async def test_24_whoever_is_shut_out_later_says_so_and_is_let_in_again(tmp_path: Path, show: Show) -> None:
    show(ALICE)
    with server(tmp_path, PASSWORD) as one, capture_logs() as logs:
        bus = await Connection.connect(one.url, name="test")
        one.kill()
        one.start(lambda text: text.replace(SECRET, "another"))
        await until(bus.refused.is_set, 10, "the refusal")
        one.kill()
        one.start(lambda text: text.replace("another", SECRET))
        await until(lambda: bus.reconnections == 1, 10, "the way back in")
        await bus.flush()
        assert not bus.refused.is_set()
        await bus.close()
    assert [one["event"] for one in logs].count("broker_refuses_credentials") == 1
    assert SECRET not in str(logs)


async def test_24_the_embedded_broker_demands_what_its_own_process_has(
    tmp_path: Path, show: Show, monkeypatch: pytest.MonkeyPatch
) -> None:
    show(ALICE)
    async with EmbeddedBroker(tmp_path / "broker", sync="default") as broker:
        await lets_in(broker.url)
        monkeypatch.delenv(VARIABLE)
        with pytest.raises(Unwelcome, match="refuses the credentials, or wants some"):
            await Connection.connect(broker.url, name="test", wait_s=1.0)
    assert (tmp_path / "broker" / "nats.conf").stat().st_mode & 0o077 == 0


# The file


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ('user = "alice"', "a user with a password"),
        ('password = "x"', "a user with a password"),
        ('user = "a"\npassword = "b"\ntoken = "c"', "a user with a password, or a token"),
        ('key = "k.pem"', "no certificate"),
        ('users = "alice"', "unknown field `users`"),
        ("user = 1\npassword = 'b'", "Expected `str"),
        ("what is this?", "Expected '='"),
    ],
)
def test_what_the_file_may_not_say(show: Show, content: str, complaint: str) -> None:
    show(content)
    with pytest.raises(CredentialsUnusable, match=complaint) as unusable:
        credentials()
    assert unusable.value.exit_code == 4


def test_24_a_file_that_is_not_there_or_open_to_others_is_refused(show: Show) -> None:
    path = show(ALICE)
    path.chmod(0o640)
    with pytest.raises(CredentialsUnusable, match=f"others may read it: 'chmod 600 {path}'"):
        credentials()
    path.unlink()
    with pytest.raises(CredentialsUnusable, match="No such file"):
        credentials()


async def test_24_a_service_does_not_run_without_what_it_was_configured_for(tmp_path: Path, show: Show) -> None:
    path = show(f'{ALICE}ca = "nowhere.pem"')
    with server(tmp_path, f"{TLS}\n{PASSWORD}") as one, pytest.raises(CredentialsUnusable, match=r"nowhere\.pem"):
        await Connection.connect(one.url, name="test", wait_s=1.0)
    path.unlink()
    with pytest.raises(CredentialsUnusable, match="No such file"):
        await EmbeddedBroker(tmp_path / "broker", sync="default").start()


def test_nothing_secret_is_shown_by_accident(show: Show) -> None:
    show(ALICE)
    found = credentials()
    assert (found.user, found.password) == ("alice", SECRET)
    assert SECRET not in f"{found} {found!r}"
    assert credentials({}) == NONE == Credentials()


def test_paths_are_relative_to_the_file(show: Show, tmp_path: Path) -> None:
    show('ca = "ca.pem"\ncertificate = "/etc/w1.pem"')
    found = credentials()
    assert (found.ca, found.certificate) == (str(tmp_path / "ca.pem"), "/etc/w1.pem")


@pytest.mark.parametrize(
    "text",
    ["nats://me:secret@a:1", "me:secret@a", "tls://secret@a:1", "b, nats://me:secret@a:1", "nats://me:sec,secret@a"],
)
async def test_24_an_address_holds_no_secret_and_what_it_holds_is_not_repeated(text: str) -> None:
    complaint = f"everybody on this machine could read: .* {VARIABLE}"
    with pytest.raises(ValueError, match=complaint) as refused:
        addresses(text)
    with pytest.raises(Unreachable, match=complaint) as unreachable:
        await Connection.connect(text, name="test")
    for said in (str(refused.value), str(unreachable.value), unreachable.value.url):
        assert "sec" not in said
        assert "a" in said
