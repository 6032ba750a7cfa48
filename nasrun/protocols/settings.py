"""Declare what a setting can be: `Annotated[type, range]`, in one place, read by checks and people.

A plug-in annotates its settings with these names; defaults and comments stand in its YAML. The
checks read the annotations from the source, so that nothing is imported before a configuration is
known to be sound. A whole number without a declared upper end can be a million at most.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Annotated, TypeVar, cast, dataclass_transform

from annotated_types import Ge, Gt, Interval

Kind = TypeVar("Kind", bound=type)


@dataclass_transform(kw_only_default=True, eq_default=False, field_specifiers=(field,))
def plugin(kind: Kind) -> Kind:
    """Make the annotated attributes of a class, and of its bases, the keywords of its constructor.

    What is derived from them is made in `__post_init__`.
    """
    return cast(Kind, dataclass(eq=False, repr=False, kw_only=True)(kind))


@dataclass(frozen=True)
class AtMost:
    """A setting that is at most another one of the same plug-in."""

    other: str


@dataclass(frozen=True)
class Below:
    """A setting that is below another one of the same plug-in."""

    other: str


@dataclass(frozen=True)
class Divides:
    """A setting that divides another one of the same plug-in; 1 always does."""

    other: str


@dataclass(frozen=True)
class ReadWith:
    """A setting that nothing reads unless another one of the same plug-in is true."""

    other: str


@dataclass(frozen=True)
class Matches:
    """A text of a form, as a regular expression of the whole; `Meaning` says it in words."""

    pattern: str


@dataclass(frozen=True)
class Meaning:
    """What a value should be, in words, where its type says too little to a person."""

    text: str


@dataclass(frozen=True)
class Location:
    """A text that says where a file or folder is. Who resumes a run can say it anew.

    `existing` is what has to be there before a run begins: `file`, `folder`, or nothing.
    """

    existing: str = ""


class OneOf:
    """A text that is one of several; where a type can say so, it is a `Literal`."""

    def __init__(self, *choices: str) -> None:
        self.choices = choices


@dataclass(frozen=True)
class Unit:
    """The unit of a setting, for people."""

    name: str


Count = Annotated[int, Ge(1)]
CountOrNone = Annotated[int, Ge(0)]
Pair = Annotated[int, Ge(2)]
"""A number of things, at least two."""
Seed = Annotated[int, Interval(ge=0, le=2**32 - 1)]
Positive = Annotated[float, Gt(0)]
NotNegative = Annotated[float, Ge(0)]
Probability = Annotated[float, Interval(ge=0, le=1)]
PositiveShare = Annotated[float, Interval(gt=0, le=1)]
Fraction = Annotated[float, Interval(ge=0, lt=1)]
"""A share below the whole."""

NumEpochs = Annotated[int, Interval(ge=1, le=10**6), Unit("epochs")]
NumLabels = Annotated[int, Interval(ge=1, le=10**6), Unit("labels")]
NumImages = Annotated[int, Interval(ge=1, le=10**9), Unit("images")]
BatchImages = Annotated[int, Interval(ge=2, le=10**6), Unit("images")]
"""Images that are normalised together; one alone would have no statistics."""
NumClasses = Annotated[int, Interval(ge=2, le=100_000), Unit("classes")]
ImageSize = Annotated[int, Interval(ge=1, le=10_000), Unit("pixels")]
Samples = Annotated[int, Interval(ge=0, le=10_000), Unit("samples")]
Pixels = Annotated[int, Interval(ge=0, le=10_000), Unit("pixels")]
"""A length in pixels; 0 is off."""
BatchSize = Annotated[int, Interval(ge=2, le=100_000), Unit("images")]
"""Images per update; batch norm needs two."""
MaxPixels = Annotated[int, Interval(ge=1, le=10**10), Unit("pixels")]
"""The size of a picture that is decoded; a larger one is taken for a decompression bomb."""
Place = Annotated[str, Location()]
Channels = Annotated[int, Interval(ge=1, le=4_096)]
Cells = Annotated[int, Interval(ge=1, le=100)]
Width = Annotated[int, Interval(ge=1, le=10_000)]
"""Units of a layer of a predictor."""
PopulationSize = Annotated[int, Interval(ge=2, le=10_000)]
WorkerCount = Annotated[int, Interval(ge=1, le=1_000)]


@dataclass(frozen=True, kw_only=True)
class WeightTraining:
    """SGD with momentum on the weights of a network, with a cosine schedule between two rates.

    Its keys stand beside those of the plug-in that has it: `strategy.learning_rate`.
    """

    learning_rate: Positive
    learning_rate_min: NotNegative
    momentum: Fraction
    weight_decay: NotNegative
    gradient_clip: NotNegative  # the largest norm of the gradient; 0 is off

    def with_rate(self, learning_rate: float | None) -> WeightTraining:
        """Return the same settings with another learning rate; `None` changes nothing."""
        if learning_rate is None:
            return self
        return replace(self, learning_rate=learning_rate)
