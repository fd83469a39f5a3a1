"""``TensorStruct``: records of tensors that all begin with the batch dimension, as values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor
from typing_extensions import Self

_Struct = TypeVar("_Struct", bound="TensorStruct")


@dataclass(frozen=True)
class TensorStruct:
    """A record of tensors [B, ...], and of such records. Fields that hold anything else stay as they are.

    Saved states and exported programs know a field by its own name, or by the one in ``FILE_NAMES``.
    """

    FILE_NAMES: ClassVar[Mapping[str, str]] = {}
    """Names that files keep for fields that have been renamed since."""

    def map(self, function: Callable[[Tensor], Tensor]) -> Self:
        """Apply ``function`` to every tensor."""
        return self.zip_map(function)

    def zip_map(self, function: Callable[..., Tensor], *others: Self) -> Self:
        """Apply ``function`` to every tensor together with the same tensor of the other records."""

        def applied(values: Sequence[Any]) -> Any:
            if isinstance(values[0], TensorStruct):
                return values[0].zip_map(function, *values[1:])
            return function(*values) if isinstance(values[0], Tensor) else values[0]

        records = (self, *others)
        return type(self)(
            **{field.name: applied([getattr(record, field.name) for record in records]) for field in fields(self)}
        )

    def named(self) -> dict[str, Tensor]:
        """Return every tensor by its name in files, nested ones as ``record.tensor``, always in the same order."""
        tensors: dict[str, Tensor] = {}
        for field in fields(self):
            value, key = getattr(self, field.name), self._file_name(field.name)
            if isinstance(value, TensorStruct):
                tensors |= {f"{key}.{name}": tensor for name, tensor in value.named().items()}
            elif isinstance(value, Tensor):
                tensors[key] = value
        return tensors

    def with_named(self, tensors: Mapping[str, Tensor]) -> Self:
        """Return a record like this one with other tensors, by the names that ``named`` gives."""
        return self.zip_map(lambda _, tensor: tensor, _nested(self, tensors))

    def split(self) -> list[Self]:
        """Return one record with a batch of one for each sample."""
        size = next(iter(self.named().values())).shape[0]
        return [self.map(lambda tensor, sample=sample: tensor[sample : sample + 1]) for sample in range(size)]  # type: ignore[misc]

    @classmethod
    def stack(cls, records: Sequence[Self]) -> Self:
        """Join records into one batch."""
        if len(records) == 1:
            return records[0]
        return records[0].zip_map(lambda *tensors: torch.cat(tensors), *records[1:])

    def where(self, chosen: Tensor, other: Self) -> Self:
        """Take this record for the samples that are ``chosen`` [B], and ``other`` for the rest."""
        return self.zip_map(lambda one, two: torch.where(chosen.view(-1, *[1] * (one.dim() - 1)), one, two), other)

    def detach(self) -> Self:
        """Return the record cut off from its gradient history."""
        return self.map(Tensor.detach)

    @classmethod
    def _file_name(cls, field: str) -> str:
        return cls.FILE_NAMES.get(field, field)


def _nested(like: _Struct, tensors: Mapping[str, Tensor], prefix: str = "") -> _Struct:
    values: dict[str, Any] = {}
    for field in fields(like):
        value, name = getattr(like, field.name), prefix + like._file_name(field.name)
        if isinstance(value, TensorStruct):
            values[field.name] = _nested(value, tensors, f"{name}.")
        else:
            values[field.name] = tensors[name] if isinstance(value, Tensor) else value
    return type(like)(**values)
