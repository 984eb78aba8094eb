"""`reconnect`: closes a worker's connection at the server, so that it makes a new one and hears what it has missed."""

from coordinator.kick import ConnectionCloser
from coordinator.strategies.interface import Context, StrategyFailed, Unavailable


class Reconnect:
    def __init__(self) -> None:
        self._closer: ConnectionCloser | None = None

    async def act(self, context: Context) -> str:
        if self._closer is None:
            self._closer = ConnectionCloser(context.bus, context.streams)
        kick = await self._closer.close_agent(context.worker_id)
        match kick.outcome:
            case "closed":
                return "its connections were closed at the server"
            case "not_permitted":
                raise Unavailable(kick.detail)
            case "not_connected":
                raise Unavailable("its agent has no connection that could be closed")
            case "unanswered":
                raise StrategyFailed(f"the broker does not say whether its connections were closed: {kick.detail}")
