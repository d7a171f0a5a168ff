"""`python -m agents_topics FOLDER`: the contract's files, made anew in a folder such as `docs`."""

import sys
from pathlib import Path

from agents_topics.asyncapi import asyncapi
from agents_topics.contract_tables import page_with_tables
from agents_topics.schemas import INPUTS, OUTPUTS, name_of, schema_of, text_of

PAGE = "contract.md"


def files_of(page: str | None) -> dict[str, str]:
    """Every file by its path; the page only where there is one to be filled in."""
    schemas = {
        f"contract/{name_of(event)}.schema.json": text_of(schema_of(event))
        for event in (*INPUTS, *OUTPUTS)
    }
    pages = {} if page is None else {PAGE: page_with_tables(page)}
    return {**schemas, "contract/asyncapi.json": text_of(asyncapi()), **pages}


def write(folder: Path) -> None:
    """The files are in the folder."""
    page = folder / PAGE
    for path, text in files_of(page.read_text("utf-8") if page.exists() else None).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
        sys.stdout.write(f"{folder / path}\n")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    write(Path(sys.argv[1]))
