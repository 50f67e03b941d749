"""Errors that the user can fix, and warnings."""

import functools
import sys

from tqdm import tqdm


class UserError(Exception):
    """An error that the user can fix. Its text has one line per problem, with the file or option and the remedy."""


class ImageError(UserError):
    """An image file that cannot be used. Its text says why."""


def one_line(error: Exception) -> str:
    """First line of an error's text without its last dot or colon, or the error's type if it has no text."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".:")


def raise_problems(problems: list[str]) -> None:
    """UserError with the first ten problems and the number of others, if there are any."""
    if problems:
        more = f"\n... and {len(problems) - 10} more" if len(problems) > 10 else ""
        raise UserError("\n".join(problems[:10]) + more)


@functools.cache
def warn_once(text: str) -> None:
    """Print a warning between the lines of a progress bar, unless this process has printed it before."""
    tqdm.write(text, file=sys.stderr)
