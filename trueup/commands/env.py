"""`trueup env`."""

import os
from dataclasses import asdict

from trueup.commands.options import AsJson
from trueup.embedded.fetch import environment
from trueup.in_force import settings_in_force, wrong_settings
from trueup.printing import print_json, print_line
from trueup.running import adopt_running


def command(as_json: AsJson = False) -> None:
    """Secrets are not shown; what is wrong is said beneath."""
    own = dict(os.environ)
    settings = settings_in_force(own)
    adopt_running(os.environ)
    wrong = list(wrong_settings(own))
    machine = environment()
    if as_json:
        told = [asdict(setting) for setting in settings]
        print_json({"settings": told, "wrong": wrong, "machine": machine})
        return
    width = max(len(setting.name) for setting in settings)
    for setting in settings:
        if setting.value:
            print_line(f"{setting.name:<{width}}  {setting.value}  <- {setting.source}")
    unset = [setting.name for setting in settings if not setting.value]
    print_line(f"not set: {', '.join(unset)}")
    for sentence in wrong:
        print_line(f"! {sentence}")
    print_line("")
    for name, fact in machine.items():
        if not name.endswith("_is_set"):
            print_line(f"{name:<{width}}  {fact}")
