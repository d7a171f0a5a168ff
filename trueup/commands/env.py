"""`trueup env`."""

import os
from dataclasses import asdict
from typing import Any

from trueup.commands.options import AsJson
from trueup.embedded.fetch import environment
from trueup.in_force import DEFAULT, settings_in_force, wrong_settings
from trueup.printing import print_json, print_line
from trueup.running import adopt_running


def command(as_json: AsJson = False) -> None:
    """Secrets are not shown; what is wrong is said beneath."""
    machine = environment()
    if as_json:
        print_json(_told() | {"machine": machine})
        return
    tell_settings()
    print_line("")
    width = max(map(len, machine))
    for name, fact in machine.items():
        if not name.endswith("_is_set"):
            print_line(f"{name:<{width}}  {fact}")


def tell_settings(*, only_set: bool = False, as_json: bool = False) -> None:
    """Every setting, or those that are not at their default, with what is wrong."""
    told = _told(only_set=only_set)
    if as_json:
        print_json(told)
        return
    settings = told["settings"]
    width = max((len(setting["name"]) for setting in settings), default=0)
    for setting in settings:
        if setting["value"]:
            print_line(f"{setting['name']:<{width}}  {setting['value']}  <- {setting['source']}")
    unset = [setting["name"] for setting in settings if not setting["value"]]
    if unset:
        print_line(f"not set: {', '.join(unset)}")
    for sentence in told["wrong"]:
        print_line(f"! {sentence}")


def _told(*, only_set: bool = False) -> dict[str, list[Any]]:
    own = dict(os.environ)
    settings = settings_in_force(own)
    adopt_running(os.environ)
    return {
        "settings": [
            asdict(setting)
            for setting in settings
            if not only_set or not setting.source.startswith(DEFAULT)
        ],
        "wrong": list(wrong_settings(own)),
    }
