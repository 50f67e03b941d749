"""The one reader of image files and the one writer of results: whole or not at all."""

import csv
import io
from collections.abc import Iterable
from pathlib import Path

from unet.files import write_whole


def table_text(columns: Iterable[str], rows: list[dict], header: bool = True) -> str:
    """Rows as CSV."""
    text = io.StringIO()
    # Python 3.11 does not quote names with this one, at which a line would end.
    returns = any("\r" in str(value) for row in rows for value in row.values())
    quoting = csv.QUOTE_NONNUMERIC if returns else csv.QUOTE_MINIMAL
    writer = csv.DictWriter(text, columns, lineterminator="\n", quoting=quoting)
    if header:
        writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def write_table(path: Path, rows: list[dict]) -> None:
    """Write rows with equal keys as CSV with a header, whole or not at all."""
    write_whole(path, table_text(rows[0], rows))


def read_table(path: Path, errors: str = "strict") -> list[dict[str, str]]:
    """Rows of a CSV with a header; `errors` is what str.decode takes."""
    # Spreadsheets begin a file with a mark of UTF-8; sig drops it.
    with open(path, newline="", encoding="utf-8-sig", errors=errors) as file:
        return list(csv.DictReader(file))
