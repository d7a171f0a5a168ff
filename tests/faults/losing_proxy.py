"""A proxy between workers and a broker that loses the broker's answers to commits, when told to.

It reads no more of Kafka's protocol than every frame's beginning: of a request its size, kind,
version and number; of an answer its size and the number of the request that it answers.
"""

import asyncio
import struct
from contextlib import asynccontextmanager, suppress

END_TXN = 26
HEAD = struct.Struct(">hhi")
LISTENERS = """
listeners=PLAINTEXT://127.0.0.1:{{port}},PROXIED://127.0.0.1:{broker_port},\
CONTROLLER://127.0.0.1:{{controller_port}}
advertised.listeners=PLAINTEXT://127.0.0.1:{{port}},PROXIED://127.0.0.1:{proxy_port}
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT
"""
"""A second listener, whose clients are told to come by the proxy."""


class LosingProxy:
    """While `fate` is given, answers to the end of a transaction are lost.

    `cut`: the connection ends in the place of the answer. `silent`: nothing comes, and it stays.
    """

    def __init__(self):
        self.fate = None
        self.lost_count = 0

    @asynccontextmanager
    async def between(self, port, broker_port):
        """Listens on a port and passes everything on to the broker's."""

        async def serve(reader, writer):
            with suppress(OSError, asyncio.IncompleteReadError):
                await self._serve(reader, writer, broker_port)
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", port)
        try:
            yield self
        finally:
            server.close()

    async def _serve(self, reader, writer, broker_port):
        broker_reader, broker_writer = await asyncio.open_connection("127.0.0.1", broker_port)
        ends = set()
        ways = (
            asyncio.create_task(self._requests(reader, broker_writer, ends)),
            asyncio.create_task(self._answers(broker_reader, writer, ends)),
        )
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            broker_writer.close()
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _requests(self, reader, broker, ends):
        """Passes requests on; notes the numbers of those that end a transaction."""
        while True:
            frame = await _frame(reader)
            kind, _, number = HEAD.unpack_from(frame, 4)
            if kind == END_TXN:
                ends.add(number)
            broker.write(frame)
            await broker.drain()

    async def _answers(self, broker, writer, ends):
        """Passes answers on, but for those that are to be lost."""
        while True:
            frame = await _frame(broker)
            (number,) = struct.unpack_from(">i", frame, 4)
            is_end = number in ends
            ends.discard(number)
            if is_end and self.fate:
                self.lost_count += 1
                if self.fate == "cut":
                    return
                continue
            writer.write(frame)
            await writer.drain()


async def _frame(reader):
    """One request or answer, its size before it."""
    size = await reader.readexactly(4)
    return size + await reader.readexactly(struct.unpack(">i", size)[0])
