"""What a perturbation is made of: things, rules and operations, read from a plain dict and checked before any work."""

import difflib
import hashlib
import json
import types
import typing
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import ClassVar, Protocol, runtime_checkable

import numpy as np
import yaml

from augment.perturb.boundary import Dilate, Erode, Jitter
from augment.perturb.context import Context, Rules
from augment.perturb.geometry import Crop, Flip, Shift
from augment.perturb.moving import Drop, Move, Scale, Swap
from augment.perturb.options import check_bounds, check_range
from augment.perturb.pasting import Paste
from augment.perturb.scene import Scene
from augment.perturb.seam import Seam
from dpsims.labels import LabelSpace

PRESETS = Path(__file__).resolve().parents[2] / "configs" / "synthesize"


@runtime_checkable
class Operation(Protocol):
    """A change to a scene in two halves: chance decides parameters, parameters decide the result.

    Attributes:
        p: probability that it is tried.
        needs_things: it works on objects.
        keeps_rules: its results need no check.
    """

    p: float
    needs_things: ClassVar[bool]
    keeps_rules: ClassVar[bool]

    def draw(self, scene: Scene, rng: np.random.Generator, context: Context) -> dict | None:
        """Parameters, plain JSON; None if the scene has nothing to do it to. `Refused` if this draw will not do."""
        ...

    @staticmethod
    def apply(scene: Scene, parameters: dict, context: Context) -> Scene:
        """The new scene; nothing but the arguments decides it."""
        ...


OPERATIONS: dict[str, type[Operation]] = {
    "flip": Flip,
    "crop": Crop,
    "shift": Shift,
    "jitter": Jitter,
    "dilate": Dilate,
    "erode": Erode,
    "move": Move,
    "scale": Scale,
    "drop": Drop,
    "paste": Paste,
    "swap": Swap,
    "seam": Seam,
}


@dataclass(frozen=True)
class Recipe:
    """A checked perturbation.

    Attributes:
        things: names of the classes whose pixels are objects.
        operations: (name, operation), in the order in which they are tried.
    """

    things: tuple[str, ...]
    rules: Rules
    operations: tuple[tuple[str, Operation], ...]

    @classmethod
    def from_dict(cls, values: dict, space: LabelSpace) -> "Recipe":
        """From the keys `ops`, and optionally `things` and `rules`; see `configs/synthesize/` for examples.

        Raises:
            ValueError: naming the key that is unknown or wrong, and the nearest right one.
        """
        _check_keys(values, ("things", "rules", "ops"), "")
        if not isinstance(values.get("ops"), list) or not values["ops"]:
            raise ValueError("ops is a list of operations, such as [{op: flip, p: 0.5}]; there is none")
        rules = _build(Rules, values.get("rules") or {}, "rules.")
        _check_rules(rules)
        operations = tuple(_operation(item, f"ops[{i}]") for i, item in enumerate(values["ops"]))
        named = values.get("things")
        if named is not None:
            named = _convert(tuple[str, ...], named, "things")
            _check_names(named, space.classes, "things", "class")
        things = named if named is not None else space.things
        for i, (name, operation) in enumerate(operations):
            if operation.needs_things and not things:
                raise ValueError(
                    f"ops[{i}] is {name}, which works on objects, and no class is named whose pixels are objects. "
                    f'Write things: [car, …] into the perturbation, or "things": ["car", …] into meta.json'
                )
            for key in ("classes", "groups"):
                chosen = getattr(operation, key, None) or ()
                flat = [name for group in chosen for name in group] if key == "groups" else chosen
                _check_names(flat, things or (), f"ops[{i}].{key} ({name})", "thing")
        return cls(tuple(things or ()), rules, operations)

    def to_dict(self) -> dict:
        """All of it, defaults too, as plain JSON; the inverse of `from_dict`."""
        operations = [{"op": name, **asdict(operation)} for name, operation in self.operations]
        return json.loads(json.dumps({"things": self.things, "rules": asdict(self.rules), "ops": operations}))

    @property
    def digest(self) -> str:
        """sha256 of the content, hexadecimal."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()

    def thing_ids(self, space: LabelSpace) -> tuple[int, ...]:
        return tuple(space.classes.index(name) for name in self.things)


def preset_names() -> list[str]:
    """Of `configs/synthesize/`."""
    return sorted(file.stem for file in PRESETS.glob("*.yaml"))


def load_perturbation(name: str | Path) -> dict:
    """The dict for `Recipe.from_dict` from a preset's name or a YAML file."""
    file = Path(name)
    if file.suffix not in (".yaml", ".yml"):
        if str(name) not in preset_names():
            raise ValueError(
                f"no perturbation is called {str(name)!r}{_nearest(str(name), preset_names())}; "
                f"it is one of {', '.join(preset_names())}, or a .yaml file"
            )
        file = PRESETS / f"{name}.yaml"
    try:
        values = yaml.safe_load(file.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"{file} cannot be read as YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{file} holds no keys; a perturbation has ops: [{{op: flip, p: 0.5}}, …]")
    return values


def _operation(item: object, key: str) -> tuple[str, Operation]:
    if not isinstance(item, dict) or not isinstance(item.get("op"), str):
        raise ValueError(f"{key} is to be like {{op: flip, p: 0.5}}, not {item!r}")
    name = item["op"]
    _check_names([name], OPERATIONS, f"{key}.op", "operation")
    options = {option: value for option, value in item.items() if option != "op"}
    try:
        operation = _build(OPERATIONS[name], options, f"{key}.")
        check_bounds("p", operation.p, 0, 1)
    except ValueError as error:
        text = str(error)
        raise ValueError(f"{text if text.startswith(key) else f'{key}.{text}'} ({name})") from None
    return name, operation


def _check_rules(rules: Rules) -> None:
    try:
        check_bounds("min_area", rules.min_area, 0, 0.1)
        check_bounds("min_images", rules.min_images, 0, 10**9)
        for name in ("position_range", "height_range", "donor_heights"):
            check_range(name, getattr(rules, name), 0, 1)
        check_bounds("min_visible", rules.min_visible, 0, 1)
        check_bounds("redraws", rules.redraws, 0, 1000)
    except ValueError as error:
        raise ValueError(f"rules.{error}") from None


def _build(cls: type, values: object, prefix: str) -> typing.Any:
    """A dataclass from a dict; what is left out has its default."""
    if not isinstance(values, dict):
        raise ValueError(f"{prefix.rstrip('.')} is to hold keys, not {values!r}")
    hints = {field.name: field.type for field in fields(cls)}
    _check_keys(values, hints, prefix)
    missing = [
        field.name for field in fields(cls) if field.name not in values and field.default is field.default_factory
    ]
    if missing:
        raise ValueError(f"{prefix}{missing[0]} has no value")
    return cls(**{key: _convert(hints[key], value, prefix + key) for key, value in values.items()})


def _convert(hint: typing.Any, value: typing.Any, key: str) -> typing.Any:
    """Check a value against a field's type; lists become tuples, whole numbers pass as floats."""
    if isinstance(hint, types.UnionType):
        if value is None:
            return None
        (hint,) = (option for option in typing.get_args(hint) if option is not type(None))
    if typing.get_origin(hint) is tuple:
        inner = typing.get_args(hint)
        if isinstance(value, list | tuple) and (inner[-1] is Ellipsis or len(value) == len(inner)):
            return tuple(_convert(inner[0], item, key) for item in value)
        size = "names" if inner[-1] is Ellipsis else f"{len(inner)} numbers"
        raise ValueError(f"{key} is a list of {size}, not {value!r}")
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is hint:
        return value
    words = {float: "a number such as 0.5", int: "a whole number", str: "a word"}
    raise ValueError(f"{key} is {words[hint]}, not {value!r}")


def _check_keys(values: Iterable[str], known: Iterable[str], prefix: str) -> None:
    for key in values:
        if key not in known:
            raise ValueError(f"unknown key {prefix}{key}{_nearest(str(key), known)}; known are {', '.join(known)}")


def _check_names(names: Sequence[str], known: Iterable[str], key: str, what: str) -> None:
    for name in names:
        if name not in known:
            listed = ", ".join(known)
            raise ValueError(f"{key}: no {what} is called {name!r}{_nearest(name, known)}; there are {listed}")


def _nearest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    return f", did you mean {near[0]}?" if near else ""
