"""Which settings are in force and where each comes from: what `trueup env` shows.

The law: a secret is never shown, neither one that is a setting of its own nor one inside an
address.
"""

import difflib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from agents_topics.connection import ConnectionProblem, connection_of
from agents_topics.policy import PolicyProblem
from agents_topics.policy_file import load_policy
from streams.settings import Settings, SettingsProblem, read_settings, variable_of
from trueup.embedded.cache import cache_folder
from trueup.parent import PARENT
from trueup.running import NAMES, names_servers, running_here

HIDDEN = "***"
DEFAULT = "default"
SECRETS = ("KAFKA_SASL_PASSWORD", "KAFKA_SSL_KEY_PASSWORD")
FROM_FILES = ("DATABASE_URL", *SECRETS)
_CONNECTION = {
    "KAFKA_BOOTSTRAP": None,
    "DATABASE_URL": None,
    "KAFKA_SECURITY_PROTOCOL": "PLAINTEXT",
    "KAFKA_SASL_MECHANISM": "PLAIN",
    "KAFKA_SASL_USERNAME": None,
    "KAFKA_SASL_PASSWORD": None,
    "KAFKA_SASL_TOKEN_PROVIDER": None,
    "KAFKA_SSL_CA_FILE": None,
    "KAFKA_SSL_CERTIFICATE_FILE": None,
    "KAFKA_SSL_KEY_FILE": None,
    "KAFKA_SSL_KEY_PASSWORD": None,
    "TRUEUP_PREFIX": "",
}
_PASSWORD = re.compile(r"(?<=password=)[^&]*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting, its value for people, and where it comes from."""

    name: str
    value: str | None
    source: str


def settings_in_force(environ: Mapping[str, str]) -> list[Setting]:
    """Every setting, in the order of the documentation."""
    here = None if names_servers(environ) else running_here()
    defaults = dict(_CONNECTION)
    for name, field in Settings.model_fields.items():
        value = field.default
        told = ",".join(value) if isinstance(value, tuple) else value
        defaults[variable_of(name)] = None if told is None else str(told)
    defaults |= {
        "TRUEUP_METRICS": None,
        "TRUEUP_CACHE": str(cache_folder({**environ, "TRUEUP_CACHE": ""})),
        "TRUEUP_MAVEN_MIRROR": None,
    }
    found = []
    for name, default in defaults.items():
        if here is not None and name in NAMES:
            if name in here.settings:
                source = f"what runs in this folder, process {here.pid}"
                found.append(Setting(name, shown(name, here.settings[name]), source))
                continue
            is_put_aside = bool(environ.get(name))
            note = ", as for what runs in this folder" if is_put_aside else ""
            found.append(Setting(name, default, DEFAULT + note))
        elif name in FROM_FILES and (file := environ.get(f"{name}_FILE")):
            found.append(Setting(name, HIDDEN, f"file {file} ({name}_FILE)"))
        elif environ.get(name):
            found.append(Setting(name, shown(name, environ[name]), "environment"))
        else:
            found.append(Setting(name, default, DEFAULT))
    return found


def shown(name: str, value: str) -> str:
    """The value without its secrets.

    >>> shown("DATABASE_URL", "postgresql://ada:s3cret@db:5432/trueup?sslmode=require")
    'postgresql://ada:***@db:5432/trueup?sslmode=require'
    >>> shown("KAFKA_SASL_PASSWORD", "s3cret")
    '***'
    """
    if name in SECRETS:
        return HIDDEN
    if "://" not in value and name != "DATABASE_URL":
        return value
    address, mark, options = value.partition("?")
    scheme, slashes, rest = address.partition("://")
    if not slashes:
        return HIDDEN
    user, at, host = rest.rpartition("@")  # a password may hold any character
    name, colon, _ = user.partition(":")
    hidden = f"{name}{colon}{HIDDEN if colon else ''}{at}{host}"
    return scheme + slashes + hidden + mark + _PASSWORD.sub(HIDDEN, options)


def wrong_settings(environ: Mapping[str, str]) -> Iterator[str]:
    """A sentence for each name that means nothing, and for each setting that is wrong.

    The process's environment is to be the one in force.
    """
    known = {setting.name for setting in settings_in_force(environ)}
    known |= {PARENT, *(f"{name}_FILE" for name in FROM_FILES)}
    for name in sorted(environ):
        if name.startswith(("TRUEUP_", "KAFKA_")) and name not in known:
            near = difflib.get_close_matches(name, known, 1, 0.7)
            yield f"{name} is no setting{f'; did you mean {near[0]}?' if near else '.'}"
    policy = os.environ.get("TRUEUP_POLICY")
    for check in (
        read_settings,
        lambda: load_policy(Path(policy)) if policy else None,
        lambda: connection_of(os.environ) if os.environ.get("KAFKA_BOOTSTRAP") else None,
    ):
        try:
            check()
        except (SettingsProblem, PolicyProblem, ConnectionProblem) as problem:
            yield str(problem)
