"""`resurgam replay`: the replay tool over the systems that `coordinator.access` finds."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from replay.__main__ import create_app
from replay.access import Location, Source


@asynccontextmanager
async def open_found(location: Location) -> AsyncIterator[Source]:
    from coordinator.access import open_system

    async with open_system(
        nats_url=location.nats_url, namespace=location.namespace, state_dir=location.state_dir
    ) as system:
        yield system


app = create_app(open_found)
