"""What a worker is started with."""

import msgspec

from events.work import Suite


class Options(msgspec.Struct, frozen=True, kw_only=True):
    nats_url: str
    worker_id: str
    slots: int = 1
    labels: dict[str, str] = {}
    namespace: str = "resurgam"
    drain_timeout_s: float = 60.0
    warm_suite: Suite | None = None
