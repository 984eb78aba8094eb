"""Questions about a worker, over the broker, to those who can know.

`service.presence.<worker_id>` is answered by a worker's supervisor and by its agent: whether anybody of it can be
reached. `service.witness.<machine>` is answered by everybody of ours on that machine, supervisors and coordinators:
whether anything of a worker is left there. Many may answer; all say the same, and the first answer counts.
"""

from collections.abc import Callable

import msgspec

from events.bus import Bus, Message
from events.errors import LogError
from events.identity import Id
from events.streams import Streams
from worker.lifeline import Lifeline

IsHeld = Callable[[Lifeline], bool]


class Question(msgspec.Struct, frozen=True):
    lifeline: Id


class Testimony(msgspec.Struct, frozen=True):
    held: bool


def presence(streams: Streams, worker_id: str) -> str:
    return streams.service_subject(f"presence.{worker_id}")


def witness(streams: Streams, machine: str) -> str:
    return streams.service_subject(f"witness.{machine}")


async def serve_presence(bus: Bus, streams: Streams, worker_id: str, role: str) -> None:
    """Answers until the connection ends.

    Raises:
        Unacknowledged: the connection is closed.
    """

    async def answer(message: Message) -> None:
        await bus.publish(message.reply, role.encode())

    await bus.subscribe(presence(streams, worker_id), answer)


async def serve_witness(bus: Bus, streams: Streams, machine: str, is_held: IsHeld) -> None:
    """Testifies until the connection ends.

    Raises:
        Unacknowledged: the connection is closed.
    """

    async def answer(message: Message) -> None:
        question = msgspec.json.decode(message.data, type=Question)
        testimony = Testimony(is_held(Lifeline(machine, question.lifeline)))
        await bus.publish(message.reply, msgspec.json.encode(testimony))

    await bus.subscribe(witness(streams, machine), answer)


async def ask_presence(bus: Bus, streams: Streams, worker_id: str, *, timeout_s: float) -> str:
    """Empty if somebody of the worker answered; else why not."""
    try:
        await bus.request(presence(streams, worker_id), timeout_s=timeout_s)
    except LogError as error:
        return str(error)
    return ""


async def ask_witness(bus: Bus, streams: Streams, lifeline: Lifeline, *, timeout_s: float) -> bool | None:
    """Whether anything holds the lifeline; None: nobody there could be asked."""
    question = msgspec.json.encode(Question(lifeline.name))
    try:
        answer = await bus.request(witness(streams, lifeline.machine), question, timeout_s=timeout_s)
        return msgspec.json.decode(answer, type=Testimony).held
    except (LogError, msgspec.DecodeError):
        return None
