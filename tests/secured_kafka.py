"""A broker as operators run it: TLS and SASL, an authorizer, and nothing allowed that is not said.

Everybody comes by SASL_SSL or, with a certificate of their own, by SSL. Its plain listener is the
broker's own way to itself and this module's, to set up users and rights: nobody who is tested
connects there.
"""

import asyncio
import base64
import json
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from aiokafka.abc import AbstractTokenProvider
from confluent_kafka import KafkaException
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from agents_topics.connection import Connection
from agents_topics.rights import Right
from streams.topic_admin import create_topics
from tests.certificates import Authority
from trueup.embedded.kafka import EmbeddedKafka
from trueup.embedded.ports import free_port
from trueup.embedded.servers import kafka_in

PLAIN_USER, PLAIN_PASSWORD = "plain-user", "plain canary 9f3a"
_KINDS = {
    "topic": ResourceType.TOPIC,
    "group": ResourceType.GROUP,
    "transactional-id": ResourceType.TRANSACTIONAL_ID,
}
_SETTINGS = """
listeners=PLAINTEXT://127.0.0.1:{{port}},SASL_SSL://127.0.0.1:{sasl_port},\\
SSL://127.0.0.1:{ssl_port},CONTROLLER://127.0.0.1:{{controller_port}}
advertised.listeners=PLAINTEXT://127.0.0.1:{{port}},SASL_SSL://127.0.0.1:{sasl_port},\\
SSL://127.0.0.1:{ssl_port}
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL,SSL:SSL
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER
listener.name.sasl_ssl.plain.sasl.jaas.config=\\
org.apache.kafka.common.security.plain.PlainLoginModule required \\
user_{plain_user}="{plain_password}";
listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config=\\
org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=\\
org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.sasl_ssl.oauthbearer.sasl.jaas.config=\\
org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required \\
unsecuredLoginStringClaim_sub="broker";
ssl.keystore.type=PEM
ssl.keystore.location={folder}/broker.pem
ssl.truststore.type=PEM
ssl.truststore.location={folder}/authority.pem
listener.name.ssl.ssl.client.auth=required
ssl.principal.mapping.rules=RULE:^CN=([^,]+).*$/$1/
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
allow.everyone.if.no.acl.found=false
super.users=User:ANONYMOUS
"""


@dataclass(slots=True)
class SecuredKafka:
    """The running broker, its users' ways in, and what they may do."""

    broker: EmbeddedKafka
    authority: Authority
    folder: Path
    sasl_bootstrap: str
    ssl_bootstrap: str
    admin: AdminClient

    def user(self, name: str, password: str, mechanism: str = "SCRAM-SHA-512") -> dict[str, str]:
        """The settings of a user that the broker knows from now on; the password is in a file."""
        scram = getattr(ScramMechanism, mechanism.replace("-", "_"))
        change = UserScramCredentialUpsertion(
            name, ScramCredentialInfo(scram, 4096), password.encode()
        )
        for future in self.admin.alter_user_scram_credentials([change]).values():
            future.result(10)
        deadline_s = time.monotonic() + 10
        while not self._knows(name, scram):
            assert time.monotonic() < deadline_s
        file = self.folder / f"{name}.password"
        file.write_text(password + "\n", encoding="utf-8")
        return {
            "KAFKA_BOOTSTRAP": self.sasl_bootstrap,
            "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "KAFKA_SASL_MECHANISM": mechanism,
            "KAFKA_SASL_USERNAME": name,
            "KAFKA_SASL_PASSWORD_FILE": str(file),
            "KAFKA_SSL_CA_FILE": str(self.authority.file),
        }

    def _knows(self, name: str, mechanism: ScramMechanism) -> bool:
        """Whether the broker has taken in what was altered."""
        (found,) = self.admin.describe_user_scram_credentials([name]).values()
        try:
            infos = found.result(10).scram_credential_infos
        except KafkaException:
            return False
        return any(info.mechanism == mechanism for info in infos)

    def allow(self, user: str, rights: Iterable[Right]) -> None:
        """The user may do that."""
        for future in self.admin.create_acls(list(_bindings(user, rights))).values():
            future.result(10)

    def take_back(self, user: str, rights: Iterable[Right]) -> None:
        """The user may not do that any more."""
        filters = [
            AclBindingFilter(b.restype, b.name, b.resource_pattern_type, b.principal, b.host,
                             b.operation, b.permission_type)
            for b in _bindings(user, rights)
        ]  # fmt: skip
        for future in self.admin.delete_acls(filters).values():
            assert future.result(10)

    def create_topics(self, prefix: str, partitions: int) -> None:
        """An installation's topics, made by whoever runs the cluster."""
        own = Connection(bootstrap=self.broker.bootstrap, prefix=prefix)
        asyncio.run(create_topics(own, partitions))


def _bindings(user: str, rights: Iterable[Right]) -> Iterable[AclBinding]:
    for right in rights:
        pattern = ResourcePatternType.PREFIXED if right.is_prefix else ResourcePatternType.LITERAL
        operation = "".join(
            "_" + letter if letter.isupper() else letter for letter in right.operation
        ).upper()
        yield AclBinding(
            _KINDS[right.resource], right.name, pattern, f"User:{user}", "*",
            AclOperation[operation.removeprefix("_")], AclPermissionType.ALLOW,
        )  # fmt: skip


def secured_kafka(home: Path) -> SecuredKafka:
    """A broker that runs."""
    authority = Authority(home)
    broker_pem = home / "broker.pem"
    authority.issue("broker", broker_pem)
    sasl_port, ssl_port = free_port(), free_port()
    settings = _SETTINGS.format(
        sasl_port=sasl_port, ssl_port=ssl_port, folder=home,
        plain_user=PLAIN_USER, plain_password=PLAIN_PASSWORD,
    )  # fmt: skip
    broker = kafka_in(home, throwaway=True, settings=settings)
    broker.start()
    return SecuredKafka(
        broker,
        authority,
        home,
        f"127.0.0.1:{sasl_port}",
        f"127.0.0.1:{ssl_port}",
        AdminClient({"bootstrap.servers": broker.bootstrap, "log_level": 0}),
    )


def unsecured_token(subject: str) -> str:
    """A token that the broker's built-in validator of unsigned tokens takes."""

    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    now_s = int(time.time())
    claims = {"sub": subject, "iat": now_s, "exp": now_s + 600}
    return f"{part({'alg': 'none'})}.{part(claims)}."


class TokenProvider(AbstractTokenProvider):  # type: ignore[misc]
    """Gives a token of the user `token-user`."""

    async def token(self) -> str:
        return unsecured_token("token-user")
