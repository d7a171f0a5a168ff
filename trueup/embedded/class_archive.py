"""Kafka's classes as its Java has once read and checked them: the next start takes half the time.

The first broker that ends in order leaves the archive beside the jars. It is one Java's and these
jars': Java itself refuses, and goes on without, what does not fit, and verifies what it takes.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from pathlib import Path

from trueup.embedded.java import Java

SILENT = "-Xlog:cds*=off"
"""Java names hundreds of classes that it leaves out."""
VERIFIED = ("-XX:+UnlockDiagnosticVMOptions", "-XX:+VerifySharedSpaces")


class ClassArchive:
    """The archive of some jars for one Java.

    Args:
        jars: The folder of the jars; the archive lies there too.
    """

    def __init__(self, jars: Path, java: Java) -> None:
        digest = hashlib.sha256(f"{java.path.resolve()}\n{java.version}".encode()).hexdigest()
        self._path = jars / f"classes-{digest[:16]}.jsa"
        self._java_home = java.path.resolve().parents[1]

    @property
    def can_be_made(self) -> bool:
        """Whether there is none yet, a place for it, and a Java that makes one."""
        has_place = not self._path.exists() and os.access(self._path.parent, os.W_OK)
        # It is made on top of Java's own one, which a Java that was cut to size lacks.
        return has_place and any(self._java_home.glob("lib/*/classes*.jsa"))

    @property
    def use(self) -> list[str]:
        """What Java is told to read it; nothing where there is none."""
        if not self._path.exists():
            return []
        return [SILENT, *VERIFIED, f"-XX:SharedArchiveFile={self._path}"]

    @staticmethod
    def make(draft: str) -> list[str]:
        """What Java is told to write it as it ends, into its own folder."""
        return [SILENT, f"-XX:ArchiveClassesAtExit={draft}"]

    def keep(self, draft: Path) -> None:
        """A draft that Java has finished, if it made one, is the archive from now on.

        It is renamed into place, so that whoever reads it has it whole. Where that cannot be, for
        the disk is full or another user's, starts go on without.
        """
        beside = self._path.with_suffix(f".{os.getpid()}")
        with contextlib.suppress(OSError):
            shutil.move(draft, beside)
            beside.replace(self._path)
