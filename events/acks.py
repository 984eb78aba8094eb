"""How JetStream answers a publish."""

import msgspec


class Refusal(msgspec.Struct):
    err_code: int = 0
    description: str = "no reason given"


class Ack(msgspec.Struct):
    seq: int = 0
    duplicate: bool = False
    error: Refusal | None = None


decode_ack = msgspec.json.Decoder(Ack).decode
