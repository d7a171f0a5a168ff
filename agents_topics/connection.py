"""How every Kafka client connects: one settings object, so that none of them can differ."""

import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

Protocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
_PROTOCOLS: tuple[Protocol, ...] = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
_MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER")


class ConnectionProblem(Exception):
    """A setting of the connection is wrong: says which and what it may be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """Where the broker is, how to speak to it, and the prefix of our names on it."""

    bootstrap: str
    prefix: str = ""
    security_protocol: Protocol = "PLAINTEXT"
    sasl_mechanism: str = "PLAIN"
    sasl_username: str | None = None
    sasl_password: str | None = field(default=None, repr=False)
    ssl_ca_file: str | None = None
    ssl_certificate_file: str | None = None
    ssl_key_file: str | None = None
    ssl_key_password: str | None = field(default=None, repr=False)
    sasl_token_provider: str | None = None

    def topic(self, name: str) -> str:
        """A topic's, group's or transactional id's name on this broker."""
        return self.prefix + name

    def client_options(self) -> dict[str, Any]:
        """What an aiokafka client takes to connect.

        Raises:
            ConnectionProblem: a certificate or the token provider cannot be had.
        """
        options: dict[str, Any] = {
            "bootstrap_servers": self.bootstrap,
            "security_protocol": self.security_protocol,
        }
        if self.security_protocol.startswith("SASL"):
            options["sasl_mechanism"] = self.sasl_mechanism
            if self.sasl_mechanism == "OAUTHBEARER":
                options["sasl_oauth_token_provider"] = _provider(self.sasl_token_provider or "")
            else:
                options["sasl_plain_username"] = self.sasl_username
                options["sasl_plain_password"] = self.sasl_password
        if self.security_protocol.endswith("SSL"):
            options["ssl_context"] = self._ssl_context()
        return options

    def _ssl_context(self) -> ssl.SSLContext:
        """The broker's certificate and host name are checked; ours is shown where there is one."""
        try:
            context = ssl.create_default_context(cafile=self.ssl_ca_file)
        except OSError as problem:
            raise ConnectionProblem(f"KAFKA_SSL_CA_FILE {self.ssl_ca_file}: {problem}") from None
        if self.ssl_certificate_file:
            # Without a password OpenSSL would ask for one on the terminal.
            password = self.ssl_key_password or ""
            try:
                context.load_cert_chain(self.ssl_certificate_file, self.ssl_key_file, password)
            except OSError as problem:
                raise ConnectionProblem(
                    f"KAFKA_SSL_CERTIFICATE_FILE {self.ssl_certificate_file} and key: {problem}"
                ) from None
        return context


def connection_of(environment: Mapping[str, str]) -> Connection:
    """The connection that `KAFKA_*` and `TRUEUP_PREFIX` describe; secrets may come as `*_FILE`.

    >>> connection_of({"KAFKA_BOOTSTRAP": "broker:9092"}).bootstrap
    'broker:9092'

    Raises:
        ConnectionProblem: a setting is missing or wrong.
    """
    bootstrap = environment.get("KAFKA_BOOTSTRAP")
    if not bootstrap:
        raise ConnectionProblem("KAFKA_BOOTSTRAP is not set: give it host:port of a broker")
    named = environment.get("KAFKA_SECURITY_PROTOCOL", "PLAINTEXT")
    protocol = next((known for known in _PROTOCOLS if known == named), None)
    if protocol is None:
        raise ConnectionProblem(f"KAFKA_SECURITY_PROTOCOL is one of {', '.join(_PROTOCOLS)}")
    mechanism = environment.get("KAFKA_SASL_MECHANISM", "PLAIN")
    if mechanism not in _MECHANISMS:
        raise ConnectionProblem(f"KAFKA_SASL_MECHANISM is one of {', '.join(_MECHANISMS)}")
    provider = environment.get("KAFKA_SASL_TOKEN_PROVIDER")
    if protocol.startswith("SASL") and mechanism == "OAUTHBEARER" and not provider:
        raise ConnectionProblem("KAFKA_SASL_TOKEN_PROVIDER is not set: name one, as module:name")
    return Connection(
        bootstrap=bootstrap,
        prefix=environment.get("TRUEUP_PREFIX", ""),
        security_protocol=protocol,
        sasl_mechanism=mechanism,
        sasl_username=environment.get("KAFKA_SASL_USERNAME"),
        sasl_password=secret_of(environment, "KAFKA_SASL_PASSWORD"),
        ssl_ca_file=environment.get("KAFKA_SSL_CA_FILE"),
        ssl_certificate_file=environment.get("KAFKA_SSL_CERTIFICATE_FILE"),
        ssl_key_file=environment.get("KAFKA_SSL_KEY_FILE"),
        ssl_key_password=secret_of(environment, "KAFKA_SSL_KEY_PASSWORD"),
        sasl_token_provider=provider,
    )


def _provider(named: str) -> Any:
    """What `module:name` names, made if it is a class or a function: an aiokafka token provider.

    Raises:
        ConnectionProblem: there is none.
    """
    module, _, name = named.partition(":")
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as problem:
        raise ConnectionProblem(f"KAFKA_SASL_TOKEN_PROVIDER {named}: {problem}") from None
    provider = found() if isinstance(found, type) or not hasattr(found, "token") else found
    if not hasattr(provider, "token"):
        raise ConnectionProblem(
            f"KAFKA_SASL_TOKEN_PROVIDER {named} has no token(): it is to be an "
            "aiokafka.abc.AbstractTokenProvider, or make one"
        )
    return provider


def secret_of(environment: Mapping[str, str], name: str) -> str | None:
    """A secret given as it is or, as `NAME_FILE`, by the file that holds it.

    Raises:
        ConnectionProblem: the file cannot be read.
    """
    path = environment.get(f"{name}_FILE")
    if path is None:
        return environment.get(name)
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError as problem:
        raise ConnectionProblem(f"{name}_FILE: {problem}") from None


def from_process() -> Connection:
    """The connection that this process's environment describes."""
    return connection_of(os.environ)
