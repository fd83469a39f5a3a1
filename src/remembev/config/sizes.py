"""Sizes with units: written ``1.6 m`` in a configuration, numbers in the code."""

from __future__ import annotations

from re import fullmatch
from typing import Annotated, Any, ClassVar

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema
from typing_extensions import Self


class Size(float):
    """A positive number with a unit, which it is read from and written with."""

    unit: ClassVar[str]

    @classmethod
    def parse(cls, value: object) -> Self:
        """Return a size from its text. Raises ValueError for anything else, and for another unit."""
        if isinstance(value, cls):
            return value
        if isinstance(value, str) and fullmatch(rf"\d+(\.\d+)? {cls.unit}", value):
            size = cls(value.split()[0])
            if size > 0:
                return size
        raise ValueError(f"expected a size such as 1.5 {cls.unit}")

    def __str__(self) -> str:
        return f"{float(self):.15g} {self.unit}"

    def __eq__(self, other: object) -> bool:
        # A count is never a size: 1 frame is not 1 s.
        return not isinstance(other, int) and float.__eq__(self, other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = float.__hash__

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return _schema(cls.parse)


class Metres(Size):
    """A length in m."""

    unit = "m"


class SquareMetres(Size):
    """An area in m²."""

    unit = "m2"


class Seconds(Size):
    """A time in s."""

    unit = "s"


class MetresPerSecond(Size):
    """A speed in m/s."""

    unit = "m/s"


class RadiansPerSecond(Size):
    """A turn rate in rad/s."""

    unit = "rad/s"


class _CountOr:
    """Makes a field accept a whole number from 1 on, or a size."""

    def __init__(self, size: type[Size]) -> None:
        self.size = size

    def parse(self, value: object) -> int | Size:
        if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
            return value
        try:
            return self.size.parse(value)
        except ValueError as error:
            raise ValueError(f"expected a whole number from 1 on, or a size such as 1.5 {self.size.unit}") from error

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return _schema(self.parse)


CountOrMetres = Annotated[int | Metres, _CountOr(Metres)]
CountOrSquareMetres = Annotated[int | SquareMetres, _CountOr(SquareMetres)]
CountOrSeconds = Annotated[int | Seconds, _CountOr(Seconds)]


def _schema(parse: Any) -> CoreSchema:
    return core_schema.no_info_plain_validator_function(
        parse,
        serialization=core_schema.plain_serializer_function_ser_schema(
            lambda value: str(value) if isinstance(value, Size) else value, when_used="json"
        ),
    )
