"""`replace`: has a launcher start another process for the worker. The older one, if anything is left of it, gives way:
the new process claims the id and registers when nothing of the old one can run any more (`worker.succession`)."""

from collections.abc import Callable

from coordinator.strategies.interface import Context, Launcher, LaunchOrder, Unavailable


class Replace:
    """`launcher` finds the one of a name, or raises `Unavailable`."""

    def __init__(self, launcher: Callable[[str], Launcher]) -> None:
        self._launcher = launcher

    async def act(self, context: Context) -> str:
        if not context.launcher:
            raise Unavailable("no launcher is configured (the setting 'launcher')")
        order = LaunchOrder(
            worker_id=context.worker_id,
            nats_url=context.bus.url,
            namespace=context.streams.namespace,
            slots=context.slots,
            labels=context.labels,
            host=context.host,
            machine=context.machine,
            seconds_left=context.seconds_left,
        )
        return await self._launcher(context.launcher).launch(order)
