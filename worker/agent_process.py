"""The process of an agent: its broker, its signals, and the machine around it."""

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Callable
from typing import Any

import uvloop

from events.connection import Connection
from events.errors import LogError
from worker.agent import FAILED, UNREACHABLE, Agent
from worker.gauges import MachineGauges
from worker.jobs import SlotEvent
from worker.kept import processes
from worker.lifeline import HeldLifeline
from worker.link import SocketLink, answer
from worker.marks import Row
from worker.options import Options
from worker.ports import Surroundings
from worker.slots import Slot

CONNECT_S_MAX = 30.0


def surroundings(held: HeldLifeline | None, marks_fd: int | None) -> Surroundings:
    hold_fds = [] if held is None else [held.fd]

    def slot(index: int, on_events: Callable[[list[SlotEvent]], None], **settings: Any) -> Slot:
        row = None if marks_fd is None else Row(marks_fd, index)
        return Slot(index, on_events, runners=processes(hold_fds, row), **settings)

    return Surroundings(
        hostname=socket.gethostname(),
        pid=os.getpid(),
        gauges=MachineGauges(),
        slot=slot,
        lifeline=None if held is None else held.lifeline,
    )


async def serve(options: Options, link: SocketLink, held: HeldLifeline | None, marks_fd: int | None) -> int:
    loop = asyncio.get_running_loop()
    loop.add_reader(link.fileno(), answer, link, lambda: os._exit(FAILED))
    try:
        bus = await Connection.connect(options.nats_url, name=f"agent/{options.worker_id}", wait_s=CONNECT_S_MAX)
    except LogError as error:
        link.send("failed", str(error))
        return UNREACHABLE
    agent = Agent(options, link, bus, surroundings(held, marks_fd))
    loop.add_signal_handler(signal.SIGTERM, agent.terminate)
    code = await agent.run()
    with contextlib.suppress(LogError, TimeoutError):
        async with asyncio.timeout(1):
            await bus.close()
    return code


def main(options: Options, link: SocketLink, held: HeldLifeline | None, marks_fd: int | None = None) -> int:
    """The whole life of an agent process."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(serve(options, link, held, marks_fd))
