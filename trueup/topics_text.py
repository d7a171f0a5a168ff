"""TOPICS in the words of the tools by which operators make topics."""

from dataclasses import dataclass
from typing import Any

from agents_topics.topics import Topic


@dataclass(frozen=True, slots=True)
class Row:
    """A topic by its name on the broker."""

    name: str
    topic: Topic
    partitions: int
    replication: int

    @property
    def config(self) -> dict[str, str]:
        """Its settings."""
        return self.topic.config_with(self.replication)

    def as_data(self) -> dict[str, Any]:
        """What is required and what is recommended."""
        topic = self.topic
        return {
            "name": self.name,
            "key": topic.key,
            "partitions": self.partitions,
            "replication": self.replication,
            "config": self.config,
            "minimum": {
                "replication": topic.replication_min,
                "min.insync.replicas": topic.in_sync_min,
            },
            "recommended": {
                "replication": topic.replication_recommended,
                "min.insync.replicas": topic.in_sync_recommended,
            },
        }


def shell(row: Row) -> str:
    """A line for Kafka's own tool."""
    configs = " ".join(f"--config {key}={value}" for key, value in row.config.items())
    return (
        'kafka-topics --bootstrap-server "$KAFKA_BOOTSTRAP" --command-config admin.properties '
        f"--create --if-not-exists --topic {row.name} --partitions {row.partitions} "
        f"--replication-factor {row.replication} {configs}"
    )


def terraform(row: Row) -> str:
    """A resource of the provider Mongey/kafka."""
    configs = "\n".join(f'    "{key}" = "{value}"' for key, value in row.config.items())
    return f"""resource "kafka_topic" "{row.topic.name.replace("-", "_")}" {{
  name               = "{row.name}"
  partitions         = {row.partitions}
  replication_factor = {row.replication}
  config = {{
{configs}
  }}
}}"""


def strimzi(row: Row, cluster: str) -> str:
    """A KafkaTopic; its own name in Kubernetes may hold neither dots nor underscores."""
    configs = "\n".join(f'    {key}: "{value}"' for key, value in row.config.items())
    own = row.name.lower().replace("_", "-")
    return f"""apiVersion: kafka.strimzi.io/v1beta2
kind: KafkaTopic
metadata:
  name: "{own}"
  labels:
    strimzi.io/cluster: "{cluster}"
spec:
  topicName: "{row.name}"
  partitions: {row.partitions}
  replicas: {row.replication}
  config:
{configs}
"""
