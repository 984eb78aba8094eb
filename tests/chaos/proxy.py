"""A cable between a worker and the broker that can be cut, in both directions or in one, and mended again.

What is cut off is neither refused nor ended: no FIN and no reset passes, and a new connection gets no answer. What was
sent in the meantime arrives once the cable is mended, as TCP would send it again.
"""

import asyncio
import contextlib
from typing import Literal
from urllib.parse import urlparse

Direction = Literal["to_broker", "to_worker"]
BOTH: tuple[Direction, ...] = ("to_broker", "to_worker")
CHUNK = 65536


class Proxy:
    """`open`, then `close`, once each."""

    def __init__(self, url: str) -> None:
        parsed = urlparse(url)
        self._broker = (parsed.hostname, parsed.port)
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()
        self._passing: dict[Direction, asyncio.Event] = {direction: asyncio.Event() for direction in BOTH}
        self._jammed = asyncio.Event()
        self.mend()

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"nats://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)

    async def close(self) -> None:
        """Ends every connection."""
        assert self._server is not None
        self._server.close()
        serving = list(self._serving)
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)
        await self._server.wait_closed()

    def cut(self, *directions: Direction) -> None:
        """Both when none is named."""
        for direction in directions or BOTH:
            self._passing[direction].clear()

    def mend(self) -> None:
        for passing in self._passing.values():
            passing.set()

    def cut_for_good(self) -> None:
        """Both, for the connections that there are: those who come anew are let through."""
        self.cut()
        self._passing = {direction: asyncio.Event() for direction in BOTH}
        self.mend()

    def jam(self) -> None:
        """The connections that there are swallow whatever is sent, for good, and pass on nothing but their end: what a
        firewall does that has forgotten them. Those who come anew are let through."""
        self._jammed.set()
        self._jammed = asyncio.Event()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ends = [writer]
        try:
            # A handshake takes both directions.
            for direction in BOTH:
                await self._passing[direction].wait()
            if reader.at_eof():
                return  # it has not waited for that
            there, here = await asyncio.open_connection(*self._broker)
            ends.append(here)
            jammed = self._jammed
            async with asyncio.TaskGroup() as group:
                group.create_task(self._copy(reader, here, self._passing["to_broker"], jammed))
                group.create_task(self._copy(there, writer, self._passing["to_worker"], jammed))
        except* OSError:
            pass  # one end is gone, and the other is told below
        finally:
            for end in ends:
                end.transport.abort()
                with contextlib.suppress(OSError):
                    await end.wait_closed()

    async def _copy(
        self,
        source: asyncio.StreamReader,
        target: asyncio.StreamWriter,
        passing: asyncio.Event,
        jammed: asyncio.Event,
    ) -> None:
        """To the end of `source`, which it hands on as well."""
        data = b"-"
        while data:
            data = await source.read(CHUNK)
            await passing.wait()
            if target.is_closing():
                return  # the other direction has ended
            if data and not jammed.is_set():
                target.write(data)
                await target.drain()
        target.close()
