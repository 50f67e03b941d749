"""A table of text, rendered for the terminal, a Markdown page or HTML."""

import html
from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """Rows of text. The first row has the headings."""

    caption: str
    rows: list[list[str]]

    def as_text(self) -> str:
        """For the terminal: columns aligned, the first one to the left and the others to the right."""
        first, *others = [max(map(len, column)) for column in zip(*self.rows, strict=True)]
        lines = [[row[0].ljust(first), *map(str.rjust, row[1:], others)] for row in self.rows]
        return "\n".join("  ".join(line).rstrip() for line in lines)

    def as_markdown(self) -> str:
        """For a Markdown page, without the caption."""
        headings, *rows = self.rows
        lines = [headings, ["---"] * len(headings), *rows]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)

    def as_html(self) -> str:
        """For the report page."""

        def cells(row: list[str], tag: str) -> str:
            return "<tr>" + "".join(f"<{tag}>{html.escape(text)}</{tag}>" for text in row) + "</tr>"

        headings, *rows = self.rows
        body = "\n".join(cells(row, "td") for row in rows)
        return (
            f'<div class="wide"><table><caption>{html.escape(self.caption)}</caption>'
            f"<thead>{cells(headings, 'th')}</thead><tbody>{body}</tbody></table></div>"
        )
