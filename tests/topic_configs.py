"""Settings of topics on a real broker, which obeys a moment after it has answered."""

import asyncio
from collections.abc import Mapping

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

SECONDS_MAX = 20


async def configure(admin: AIOKafkaAdminClient, configs: Mapping[str, Mapping[str, str]]) -> None:
    """Each topic has these settings, and the broker says so."""
    await admin.alter_configs([_resource(name, wanted) for name, wanted in configs.items()])
    async with asyncio.timeout(SECONDS_MAX):
        while not all([await _obeys(admin, name, wanted) for name, wanted in configs.items()]):
            await asyncio.sleep(0.05)


async def _obeys(admin: AIOKafkaAdminClient, name: str, wanted: Mapping[str, str]) -> bool:
    (answer,) = await admin.describe_configs([_resource(name)])
    found = {entry[0]: entry[1] for entry in answer.resources[0][4]}
    return wanted.items() <= found.items()


def _resource(name: str, wanted: Mapping[str, str] | None = None) -> ConfigResource:
    return ConfigResource(ConfigResourceType.TOPIC, name, wanted)
