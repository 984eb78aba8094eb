"""Ways to bring a worker back that a farm of several machines may have."""

import asyncio
import os
import shlex

from coordinator.strategies import Context, LaunchOrder, StrategyFailed, Unavailable


class RemoteShell:
    """Starts the worker on the machine where it was, over ssh, which must let us in without a question."""

    async def launch(self, order: LaunchOrder) -> str:
        worker = shlex.join(["resurgam", "worker", *order.options])
        command = f"nohup {worker} >>{order.worker_id}.log 2>&1 </dev/null & echo $!"
        pid = await said_by("ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=5", order.host, command)
        return f"process {pid} on {order.host}"


class Pod:
    """Starts the worker as a pod, wherever there is room. What there was of it before is deleted."""

    def __init__(self) -> None:
        self._image = os.environ.get("FARM_IMAGE", "")

    async def launch(self, order: LaunchOrder) -> str:
        if not self._image:
            raise Unavailable("FARM_IMAGE does not say which image holds resurgam and the tests' interpreter")
        name = f"worker-{order.worker_id.lower().replace('_', '-')}"
        await said_by("kubectl", "delete", "pod", name, "--ignore-not-found", "--now")
        worker = ("resurgam", "worker", *order.options)
        await said_by("kubectl", "run", name, f"--image={self._image}", "--restart=Never", "--", *worker)
        return f"pod {name}"


class PowerCycle:
    """Switches the worker's machine off and on again, at a socket that is one of its labels."""

    async def act(self, context: Context) -> str:
        socket = context.labels.get("socket")
        if socket is None:
            raise Unavailable(f"{context.worker_id} has no label 'socket'")
        await said_by("pdu", "cycle", socket)
        return f"socket {socket} was switched off and on again"


async def said_by(*command: str) -> str:
    """What a command prints. It is harmless to run it again, as all that a strategy does must be."""
    try:
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
    except OSError as error:
        raise Unavailable(f"{command[0]} cannot be run here: {error}") from error
    try:
        output, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()  # its time is up
    if process.returncode:
        lines = errors.decode(errors="replace").strip().splitlines() or ["it does not say why"]
        raise StrategyFailed(f"{command[0]} ended with code {process.returncode}: {lines[-1]}")
    return output.decode(errors="replace").strip()
