"""What can go wrong between a program and the log, by whose matter it is."""


def without_secret(url: str) -> str:
    """What may be repeated of an address: a password that somebody wrote into it goes into no log."""
    return url.rpartition("@")[2]


class LogError(Exception):
    """Base of everything that the log raises."""


class Unreachable(LogError):
    """No broker answered at `url` within the time allowed. The operator's matter."""

    def __init__(self, url: str, detail: str) -> None:
        self.url = without_secret(url)
        super().__init__(
            f"no NATS server answers at {self.url} ({detail}); start one with 'nats-server -js' there, or give another "
            f"--nats-url"
        )


class Unwelcome(Unreachable):
    """A broker is there, and it and we do not trust each other: it refused the credentials, or is not protected as
    they demand. Trying again changes nothing."""

    exit_code = 5

    def __init__(self, url: str, detail: str) -> None:
        self.url = without_secret(url)
        LogError.__init__(self, f"no connection to the broker at {self.url}: {detail}")


class CredentialsUnusable(LogError):
    """What a process has to show to the broker cannot be read."""

    exit_code = 4

    def __init__(self, name: str, detail: str) -> None:
        super().__init__(f"the credentials in {name} cannot be used: {detail}")


class BrokerRefused(LogError):
    """The broker answered and said no. `code` is JetStream's error code (10071, ...), 0 where it has none."""

    def __init__(self, what: str, description: str, code: int = 0) -> None:
        super().__init__(f"{what}: {description}" + (f" (JetStream error {code})" if code else ""))
        self.code = code
        self.description = description


class Unacknowledged(LogError):
    """No answer came in time. The append may or may not be stored; sending it again under the same ids is safe."""


class NobodyListens(Unacknowledged):
    """The broker says that nobody is there to answer on that subject: at once, and not after a time."""


class NotReady(Unacknowledged):
    """JetStream is there and cannot answer at present: the nodes of its cluster have no leader, or no majority."""


class Conflict(BrokerRefused):
    """The subject's last sequence was not the expected one: somebody else wrote first."""


class Fenced(Conflict):
    """A newer leader has been elected; this writer's term is over and nothing of the batch was stored."""


class LogFull(BrokerRefused):
    """The stream has reached its `max_bytes`. Nothing is lost; nothing more is taken until there is room."""


class ObjectDamaged(LogError):
    """An object on the broker is not, or not wholly, what was written there."""


class PositionLost(LogError):
    """The log does not hold the event that a reader last saw: its tail was lost, or this is another log. Whoever has
    drawn conclusions from what it read has to draw them anew."""
