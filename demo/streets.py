"""Street scenes by code: a photograph, its label map and its instances, as a function of a random generator.

What is in a scene does not depend on the size of its picture: a seed shows the same street at any height and width.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8, UInt16

from demo.backdrop import Street, draw_backdrop
from demo.cars import Car
from demo.classes import CAR, CLASSES, IGNORE_INDEX, PERSON, SIGN, TREE
from demo.photo import develop
from demo.sprites import Sprite, cast_shadows, rasterise
from demo.textures import Noise
from demo.things import Person, Sign
from demo.trees import Tree
from demo.view import Camera, Light

CLASS_OF = {Tree: TREE, Car: CAR, Person: PERSON, Sign: SIGN}
Thing = Tree | Car | Person | Sign


@dataclass(frozen=True)
class Scene:
    """One picture.

    Attributes:
        image: RGB.
        label_map: ids of CLASSES, 255 where an annotator would be unsure.
        instances: 0, or the number, from 1, of the tree, car, person or sign that the pixel shows.
    """

    image: UInt8[np.ndarray, "h w 3"]
    label_map: UInt8[np.ndarray, "h w"]
    instances: UInt16[np.ndarray, "h w"]


def _spaced(rng: np.random.Generator, start: float, stop: float, step: float, share: float) -> list[float]:
    """Places about every `step` metres from `start` to `stop`, each taken with probability `share`."""
    places = np.arange(start + rng.uniform(0, step), stop, step)
    return [float(z + rng.normal(0, 0.08 * step)) for z in places if rng.random() < share]


def _kerbside(
    rng: np.random.Generator, street: Street, side: int, parked: bool, busy: float, green: float
) -> list[Thing]:
    """Between a kerb and the fronts: parked cars, street trees, signs, people and hedges."""
    kerb, wall, inward = street.kerbs[side], street.rows[side].plane, 1 if side == 0 else -1
    paved = abs(wall - kerb)
    things: list[Thing] = []
    if parked:
        places = _spaced(rng, rng.uniform(3.5, 10), 60, 6.3, rng.uniform(0.3, 0.95))
        turn = np.pi if rng.random() < (0.8 if side == 0 else 0.3) else 0.0
        things += [Car.draw(rng, kerb + inward * 1.15, z, turn) for z in places]
    row = kerb - inward * min(0.9, paved * 0.3)
    kind = None if rng.random() < 0.5 else str(rng.choice(["round", "slim"]))  # mixed, or all alike
    places = _spaced(rng, 8, 80, rng.uniform(7, 13), green)
    things += [Tree.draw(rng, row, z, kind, room=abs(wall - row)) for z in places]
    things += [Sign.draw(rng, kerb - inward * rng.uniform(0.3, 0.6), z) for z in _spaced(rng, 5, 45, 9, 0.5)]
    for z in 5 + 40 * rng.random(rng.poisson(3 + 4 * busy)) ** 1.4:
        x = kerb - inward * rng.uniform(0.4, paved - 0.3)
        for friend in range(rng.choice([1, 2], p=[0.75, 0.25])):
            things.append(Person.draw(rng, x + 0.55 * friend, z + 0.2 * friend))
    hedge = wall + inward * 0.8
    return things + [Tree.draw(rng, hedge, z, "bush", room=0.75) for z in _spaced(rng, 6, 50, 9, 0.12)]


def _on_road(rng: np.random.Generator, street: Street, parked: list[bool], busy: float) -> list[Thing]:
    """Cars in both lanes and people who cross."""
    left, right = street.kerbs
    things: list[Thing] = []
    for side, heading, start in ((1, 0.0, 9.0), (0, np.pi, 7.0)):  # they drive on the right
        away = 3.2 if parked[side] else (right - left) / 3.6
        x = right - away if side else left + away
        things += [Car.draw(rng, x + rng.normal(0, 0.2), z, heading) for z in _spaced(rng, start, 75, 13, 0.55 * busy)]
    for start in street.crossings:
        across = rng.uniform(left, right, rng.poisson(1.5))
        things += [Person.draw(rng, x, start + rng.uniform(0.4, 2.8)) for x in across]
    return things + [Person.draw(rng, x, rng.uniform(9, 30)) for x in rng.uniform(left, right, rng.poisson(0.4))]


def _in_gaps(rng: np.random.Generator, street: Street) -> list[Thing]:
    """Where no building stands: at times a car at the mouth of a side street, else a few trees."""
    things: list[Thing] = []
    for side, row in enumerate(street.rows[:2]):
        outward = -1 if side == 0 else 1
        roads = [(start, stop) for of, start, stop in street.side_streets if of == side]
        for start, stop in row.gaps():
            middle = (start + stop) / 2
            if any(begin < middle < end for begin, end in roads):
                if rng.random() < 0.5:
                    kerb = street.kerbs[side]
                    x = kerb + outward * rng.uniform(-1, abs(row.plane - kerb) + 3)
                    things.append(Car.draw(rng, x, middle, -outward * np.pi / 2))
            elif start > 4:
                for _ in range(rng.integers(2, 6)):
                    x = row.plane + outward * rng.uniform(0.5, 12)
                    things.append(Tree.draw(rng, x, rng.uniform(start + 0.5, stop - 0.5)))
    return things


def populate(rng: np.random.Generator, street: Street) -> list[Thing]:
    """Everything that stands or moves on the street; some streets are busier, some greener."""
    busy, green = rng.uniform(0.1, 1.0), rng.uniform(0.0, 0.9)
    parked = [bool(rng.random() < 0.65) for _ in street.kerbs]
    if street.kerbs[1] - street.kerbs[0] < 9.0:
        parked[0] &= not parked[1]  # two lanes must stay free
    things = [thing for side in (0, 1) for thing in _kerbside(rng, street, side, parked[side], busy, green)]
    return things + _on_road(rng, street, parked, busy) + _in_gaps(rng, street)


def _sprite(thing: Thing, camera: Camera, light: Light, lit: float, noise: Noise) -> Sprite | None:
    if isinstance(thing, Tree):
        return thing.sprite(camera, light, lit, noise)
    return rasterise(camera, thing.faces(camera, light, lit))


def _compose(
    camera: Camera, street: Street, light: Light, noise: Noise, things: list[Thing]
) -> tuple[Float[np.ndarray, "h w 3"], UInt16[np.ndarray, "h w"]]:
    """Radiance, and a code per pixel: class + 8 · number of the thing (0: none)."""
    cast = cast_shadows(camera, light.to_sun, [solid for thing in things for solid in thing.solids()])
    backdrop = draw_backdrop(camera, street, light, noise, cast)
    radiance, codes = backdrop.radiance, backdrop.label_map.astype(np.uint16)
    dark = cast_shadows(camera, np.array([0, 1.0, 0]), [t.footprint() for t in things if isinstance(t, Car | Person)])
    radiance *= (1 - 0.6 * dark * backdrop.ground)[..., None]
    lit = street.lit(light, np.array([(thing.x, 1.0, thing.z) for thing in things]).reshape(-1, 3))
    for k in sorted(range(len(things)), key=lambda k: -things[k].z):
        thing = things[k]
        sprite = _sprite(thing, camera, light, float(lit[k]), noise)
        if sprite is None:
            continue
        window = sprite.window
        before = backdrop.ground[window] | (thing.z < backdrop.depth[window])  # in front of any building there
        paint, outline = sprite.paint & before, sprite.outline & before
        radiance[window][paint] = light.through_air(sprite.radiance[paint], thing.z)
        codes[window][outline] = CLASS_OF[type(thing)] + len(CLASSES) * (k + 1)
    return radiance, codes


def _blocks(fine: np.ndarray, scale: int) -> np.ndarray:
    """(h·s, w·s, …) → (h, w, s·s, …): the fine pixels of each pixel."""
    height, width = fine.shape[0] // scale, fine.shape[1] // scale
    blocks = fine.reshape(height, scale, width, scale, *fine.shape[2:]).swapaxes(1, 2)
    return blocks.reshape(height, width, scale * scale, *fine.shape[2:])


def _annotate(
    codes: UInt16[np.ndarray, "H W"], scale: int, noise: Noise
) -> tuple[UInt8[np.ndarray, "h w"], UInt16[np.ndarray, "h w"]]:
    """Reduce codes by majority to a label map and instances, unsure along some of the boundaries."""
    blocks = _blocks(codes, scale)
    winner, agreed = blocks[..., 0].copy(), np.ones(blocks.shape[:2])
    mixed = (blocks != blocks[..., :1]).any(-1)
    ballots = blocks[mixed]
    votes = (ballots[:, :, None] == ballots[:, None, :]).sum(-1)
    winner[mixed] = ballots[np.arange(len(ballots)), votes.argmax(-1)]
    label_map = (winner % len(CLASSES)).astype(np.uint8)
    agreed[mixed] = (ballots % len(CLASSES) == label_map[mixed][:, None]).mean(-1)
    height, width = label_map.shape
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    careless = noise.smooth(columns / width * 0.7, rows / height * 0.7)
    label_map[(agreed < 0.6) & (careless > -0.3) | (agreed < 0.8) & (careless > 0.7)] = IGNORE_INDEX
    numbers = np.where(label_map == IGNORE_INDEX, 0, winner // len(CLASSES))
    shown, instances = np.unique(numbers, return_inverse=True)
    return label_map, (instances.reshape(height, width) + (shown[0] != 0)).astype(np.uint16)


def draw_scene(rng: np.random.Generator, height: int, width: int) -> Scene:
    """Draw one street; a generator in the same state gives the same scene.

    Raises:
        ValueError: If a side is below 32 pixels, where people and signs vanish.
    """
    if min(height, width) < 32:
        raise ValueError(f"a scene needs at least 32x32 pixels, not {height}x{width} (height x width)")
    # one generator for each part, so that no part's draws shift another's
    plan, parts, texture, film = (np.random.default_rng(seed) for seed in rng.integers(2**63, size=4))
    scale = 3 if height <= 160 else 2  # finer drawing than the picture: edges come out as a lens gives them
    camera, light, street = Camera.draw(plan, width * scale, height * scale), Light.draw(plan), Street.draw(plan)
    noise = Noise.draw(texture)
    radiance, codes = _compose(camera, street, light, noise, populate(parts, street))
    label_map, instances = _annotate(codes, scale, noise)
    return Scene(develop(_blocks(radiance, scale).mean(2), film), label_map, instances)
