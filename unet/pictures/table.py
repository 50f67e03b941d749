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
        widths = [max(len(row[column]) for row in self.rows) for column in range(len(self.rows[0]))]
        return "\n".join(
            "  ".join(
                cell.rjust(width) if column else cell.ljust(width)
                for column, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in self.rows
        )

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
