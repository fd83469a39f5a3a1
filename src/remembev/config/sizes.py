"""Sizes with units: ``1.6 m`` in a configuration, a float in the code."""

from __future__ import annotations

from decimal import Decimal
from re import fullmatch
from typing import Annotated, Any, ClassVar

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema
from typing_extensions import Self


class Size(float):
    """A positive number with a unit.

    A size that was parsed prints as it was written, since saved states are compared by that text.
    """

    unit: ClassVar[str]
    _text: str | None = None

    @classmethod
    def parse(cls, value: object) -> Self:
        """Parse text such as ``1.6 m``.

        Raises:
            ValueError: If it is no such text, has another unit, or isn't positive.
        """
        if isinstance(value, cls):
            return value
        if isinstance(value, str) and fullmatch(rf"\d+(\.\d+)? {cls.unit}", value):
            size = cls(value.split()[0])
            size._text = value
            if size > 0:
                return size
        raise ValueError(f"expected a size such as 1.5 {cls.unit}")

    def __str__(self) -> str:
        number = format(Decimal(repr(float(self))), "f").removesuffix(".0")  # never with an exponent
        return self._text or f"{number} {self.unit}"

    def __eq__(self, other: object) -> bool:
        # A count never equals a size: 1 frame is not 1 s.
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
    """Pydantic annotation of a field that takes an integer ≥ 1 or a size."""

    def __init__(self, size: type[Size]) -> None:
        self.size = size

    def parse(self, value: object) -> int | Size:
        if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
            return value
        try:
            return self.size.parse(value)
        except ValueError as error:
            raise ValueError(f"expected an integer ≥ 1, or a size such as 1.5 {self.size.unit}") from error

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
