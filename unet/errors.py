"""The one reader of image files and the one writer of results: whole or not at all."""


class UserError(Exception):
    """A fault that the user can mend; its text is one line that names the file or option and the mend."""


class ImageError(UserError):
    """An image file that cannot be used; its text says why."""


def raise_problems(problems: list[str]) -> None:
    """UserError with the first ten problems and their count, if there are any."""
    if problems:
        more = f"\n... and {len(problems) - 10} more" if len(problems) > 10 else ""
        raise UserError("\n".join(problems[:10]) + more)
