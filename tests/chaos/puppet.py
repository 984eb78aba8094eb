"""A service that a test makes end, go by another clock, or stop listening, by signals. All else about it is its own.

Run as `python -m tests.chaos.puppet MACHINE worker|coordinator ARG...`. Both processes of a worker hear the signals.
MACHINE is the name of one that it believes to be alone on, so that nobody can testify of its end; `-` for the one that
it is on.
"""

import asyncio
import os
import runpy
import signal
import sys

from events.envelope import Recorded
from events.host import CURRENT, Host
from worker import agent_process, lifeline
from worker.agent import Agent
from worker.link import SocketLink
from worker.options import Options
from worker.tenure import Tenure

EXIT_0, EXIT_1, AHEAD, BACK, STUCK = (signal.SIGRTMIN + number for number in range(1, 6))
STEP_S = 3600.0
THIS_MACHINE = "-"


class PuppetHost(Host):
    """The machine, with a wall clock that steps by an hour when told to."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def wall(self) -> float:
        return super().wall() + self.ahead_s

    def step(self, by_s: float) -> None:
        self.ahead_s += by_s


class PuppetAgent(Agent):
    """An agent that, when told to, does nothing more about what it reads in the log, and beats."""

    stuck = False

    async def _handle(self, tenure: Tenure, recorded: Recorded) -> Tenure:
        if self.stuck:
            await asyncio.Event().wait()
        return await super()._handle(tenure, recorded)


def get_stuck() -> None:
    PuppetAgent.stuck = True


def listen(host: PuppetHost) -> None:
    signal.signal(EXIT_0, lambda *_: os._exit(0))
    signal.signal(EXIT_1, lambda *_: os._exit(1))
    signal.signal(AHEAD, lambda *_: host.step(STEP_S))
    signal.signal(BACK, lambda *_: host.step(-STEP_S))
    signal.signal(STUCK, lambda *_: get_stuck())


def main() -> None:
    machine, module = sys.argv.pop(1), sys.argv.pop(1)
    host = PuppetHost()
    CURRENT.set(host)
    listen(host)
    agent_main = agent_process.main

    def listening_agent(
        options: Options, link: SocketLink, held: lifeline.HeldLifeline | None, marks_fd: int | None = None
    ) -> int:
        # A forked agent has none of its supervisor's handlers.
        listen(host)
        return agent_main(options, link, held, marks_fd)

    agent_process.main = listening_agent
    agent_process.Agent = PuppetAgent  # type: ignore[attr-defined] # not exported, and used there all the same
    if machine != THIS_MACHINE:
        lifeline.this_machine = lambda: machine
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
