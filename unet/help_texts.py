"""Help texts of options, tidied for --help: whole paragraphs, and no None where the text says what happens instead."""

from dataclasses import fields, is_dataclass
from types import NoneType, UnionType
from typing import Annotated, Literal, Union, get_args, get_origin

import tyro
from docstring_parser import parse_from_object


def tidy_help(options_type: type) -> None:
    """Change how tyro shows the fields of a dataclass, and of the dataclasses in it.

    Tyro keeps the line breaks of an indented docstring, and shows None and () as defaults and None as a choice.
    """
    texts = {
        field.arg_name: " ".join(field.description.split())
        for owner in options_type.__mro__
        if is_dataclass(owner)
        for field in parse_from_object(owner).params
    }
    for field in fields(options_type):
        kind = bare(field.type)
        if is_dataclass(kind):
            tidy_help(kind)
            continue
        field.metadata = {"help": texts[field.name]}
        if field.default in (None, ()):
            is_optional = get_origin(field.type) in (Union, UnionType)
            shown = tyro.conf.arg(help_behavior_hint="", metavar=value_name(field.type) if is_optional else None)
            field.type = options_type.__annotations__[field.name] = Annotated[field.type, shown]


def bare(kind: type) -> type:
    """A type without its annotations."""
    return get_args(kind)[0] if get_origin(kind) is Annotated else kind


def value_name(optional: type) -> str:
    """What stands for a value of this type, which may also be None: its choices, or INT, FLOAT, STR or PATH."""
    kind = next(bare(part) for part in get_args(optional) if part is not NoneType)
    return f"{{{','.join(map(str, get_args(kind)))}}}" if get_origin(kind) is Literal else kind.__name__.upper()
