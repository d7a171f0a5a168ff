"""A next release, as far as there is none yet: this one's source with another format of the state.

It reads the states of this release and writes its own, which this release does not read.
"""

import shutil
from pathlib import Path

from streams.changelog import FORMAT

PACKAGES = ("agents_topics", "tables", "streams", "sinks", "trueup")
SOURCE = Path(__file__).parents[2]
NEXT = FORMAT + 1
CHANGES = (
    (f"\nFORMAT = {FORMAT}\n", f"\nFORMAT = {NEXT}\n"),
    ("    format: int = FORMAT_FIRST\n", "    format: int = FORMAT\n"),
)


def next_release(folder):
    """The settings with which a worker's process is of the next release, whose source is there."""
    for package in PACKAGES:
        shutil.copytree(SOURCE / package, folder / package, ignore=shutil.ignore_patterns("*.pyc"))
    changelog = folder / "streams" / "changelog.py"
    text = changelog.read_text()
    for old, new in CHANGES:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    changelog.write_text(text)
    return {"PYTHONPATH": str(folder)}
