"""How JetStream answers a publish."""

import msgspec

STREAM_FULL = (10077, 10047, 10123, 10122)
"""Error codes: there is no room for it."""


class Refusal(msgspec.Struct):
    err_code: int = 0
    description: str = "no reason given"


class Ack(msgspec.Struct):
    seq: int = 0
    duplicate: bool = False
    error: Refusal | None = None


decode_ack = msgspec.json.Decoder(Ack).decode
