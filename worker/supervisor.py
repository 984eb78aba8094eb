"""The process of a supervisor: the whole life of a worker on this machine."""

import asyncio
import signal

from events.connection import Connection
from events.errors import CredentialsUnusable, LogError, Unwelcome
from worker.agent import MISUSED, UNREACHABLE
from worker.bystander import Bystander, leave_bystander
from worker.endings import Ending
from worker.options import Options
from worker.processes import ForkedProcesses
from worker.supervision import Supervisor
from worker.sweep import sweep

CONNECT_S_MAX = 5.0


async def _serve(options: Options, bystander: Bystander) -> Ending:
    processes = ForkedProcesses(options)
    if processes.lifeline is not None:
        bystander.introduce(processes.lifeline)
    try:
        bus = await Connection.connect(options.nats_url, name=f"supervisor/{options.worker_id}", wait_s=CONNECT_S_MAX)
        supervisor = Supervisor(options, bus, processes)
        await supervisor.prepare()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, supervisor.terminate)
        return await supervisor.run()
    except CredentialsUnusable as error:
        return Ending(MISUSED, str(error))
    except Unwelcome as error:
        return Ending(error.exit_code, str(error))
    except LogError as error:
        return Ending(UNREACHABLE, str(error))


def supervise(options: Options) -> Ending:
    """The whole life of a worker. When it returns, nothing of the worker is left."""
    bystander = leave_bystander(options)
    with asyncio.Runner() as runner:
        ending = runner.run(_serve(options, bystander))
    sweep()
    bystander.dismiss()
    return ending
