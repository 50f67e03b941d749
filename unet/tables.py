"""CSV tables: reading, and writing whole or not at all."""

import csv
import io
from collections.abc import Iterable
from pathlib import Path

from unet.files import write_whole

Facts = dict[str, dict[str, str]]  # by slice id: "patient" and maybe other columns of the patients table


def table_text(columns: Iterable[str], rows: list[dict], header: bool = True) -> str:
    """Rows as CSV text."""
    text = io.StringIO()
    # Python 3.11 does not quote a carriage return, where readers would end the line.
    has_returns = any("\r" in str(cell) for cells in (columns, *(row.values() for row in rows)) for cell in cells)
    quoting = csv.QUOTE_NONNUMERIC if has_returns else csv.QUOTE_MINIMAL
    writer = csv.DictWriter(text, columns, lineterminator="\n", quoting=quoting)
    if header:
        writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def write_table(path: Path, rows: list[dict]) -> None:
    """Write rows as CSV with a header, whole or not at all. Cells are empty for columns that only other rows have."""
    write_whole(path, table_text(dict.fromkeys(name for row in rows for name in row), rows))


def read_table(path: Path, errors: str = "strict") -> list[dict[str, str]]:
    """Rows of a CSV with a header; `errors` as for str.decode. csv.Error if two columns have the same name, in any
    case."""
    # utf-8-sig drops the byte order mark that spreadsheets write.
    with open(path, newline="", encoding="utf-8-sig", errors=errors) as file:
        rows = csv.DictReader(file)
        columns = [name.strip().lower() for name in rows.fieldnames or () if name.strip()]
        if repeated := [name for name in columns if columns.count(name) > 1]:
            raise csv.Error(f"it has several columns '{repeated[0]}'")
        return list(rows)
