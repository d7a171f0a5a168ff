"""How a consumer is stopped, for certain.

Just after its assignment has changed, aiokafka's fetching awaits what it has itself cancelled, and
takes an order to stop for the end of that: it goes on, and `stop` waits for it for ever (0.14).
"""

import asyncio

from aiokafka import AIOKafkaConsumer

AGAIN_S = 0.5


async def stop_reading(consumer: AIOKafkaConsumer) -> None:
    """Stops a consumer, started or not; its fetching is told again until it has heard."""
    stopping = asyncio.ensure_future(consumer.stop())
    while not (await asyncio.wait([stopping], timeout=AGAIN_S))[0]:
        if consumer._fetcher:
            consumer._fetcher._fetch_task.cancel()
    stopping.result()
