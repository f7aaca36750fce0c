"""Two label maps joined at a slightly curved, upright seam where they agree."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Bool, Float, Int, Int32

from augment.perturb.context import Context
from augment.perturb.crumbs import all_regions, swept_from
from augment.perturb.options import check_bounds, check_range
from augment.perturb.scene import Refused, Scene
from augment.perturb.smooth import spline_weights

KNOT_SPACING = 1 / 3  # of the seam's spline, as a share of the height


@dataclass(frozen=True)
class Seam:
    """One side of the frame comes from another label map.

    Of a few maps and all places, the seam takes that with the most rows in which both sides are of one class and no
    thing is cut: horizon and road then go on.

    Attributes:
        position_range: where the seam may be, as shares of the width.
        curve: how far it bends, as a share of the width.
        candidates: how many other maps are looked at.
        min_agreement: share of rows in which both sides must be of one class.
    """

    p: float = 0.5
    position_range: tuple[float, float] = (0.3, 0.7)
    curve: float = 0.03
    candidates: int = 4
    min_agreement: float = 0.75

    needs_things: ClassVar[bool] = False
    keeps_rules: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_range("position_range", self.position_range, 0, 1)
        check_bounds("curve", self.curve, 0, 0.2)
        check_bounds("candidates", self.candidates, 1, 64)
        check_bounds("min_agreement", self.min_agreement, 0, 1)

    def draw(self, scene: Scene, rng: np.random.Generator, context: Context) -> dict | None:
        keys = context.donors.keys
        if not keys:
            return None
        (height, width), kept = scene.size, "left" if rng.random() < 0.5 else "right"
        knots = spline_weights(height, height * KNOT_SPACING).shape[1]
        bends = rng.uniform(-1, 1, knots) * self.curve * width
        first, last = (round(share * width) for share in self.position_range)
        chosen = rng.choice(len(keys), size=min(self.candidates, len(keys)), replace=False)
        best = (-1.0, "", 0)
        for number in chosen:
            donor = context.donor(keys[number])
            if np.array_equal(donor.label_map, scene.label_map):
                continue
            agree = (scene.label_map == donor.label_map) & ~context.is_thing[scene.label_map]
            columns = np.arange(first, last + 1) + seam_columns(height, bends)[:, None]  # (H, places)
            share = np.take_along_axis(agree, np.clip(columns, 0, width - 1), axis=1).mean(axis=0)
            place = int(share.argmax())
            best = max(best, (float(share[place]), keys[number], first + place))
        if best[0] < self.min_agreement:
            raise Refused("agreement")
        return {"source_key": best[1], "kept": kept, "knots": np.round(bends + best[2], 2).tolist()}

    @staticmethod
    def apply(scene: Scene, parameters: dict, context: Context) -> Scene:
        donor = context.donor(parameters["source_key"])
        height, width = scene.size
        left = np.arange(width) < seam_columns(height, np.array(parameters["knots"]))[:, None]
        mine = left if parameters["kept"] == "left" else ~left
        joined = Scene(np.where(mine, scene.label_map, donor.label_map), joined_instances(scene, donor, mine))
        (numbers, areas), (other_numbers, other_areas) = all_regions(scene), all_regions(donor)
        sources = np.where(mine, numbers, np.where(other_numbers > 0, other_numbers + len(areas), 0))
        return swept_from(joined, sources, np.concatenate([areas, [0], other_areas[1:]]), context)


def seam_columns(height: int, knots: Float[np.ndarray, " knots"]) -> Int[np.ndarray, " h"]:
    """The seam's column in each row."""
    return np.rint(spline_weights(height, height * KNOT_SPACING) @ knots).astype(int)


def joined_instances(scene: Scene, donor: Scene, mine: Bool[np.ndarray, "h w"]) -> Int32[np.ndarray, "h w"] | None:
    """The donor's instances come after the scene's; none where the scene has none."""
    if scene.instances is None:
        return None
    if donor.instances is None:
        return np.where(mine, scene.instances, 0).astype(np.int32)
    theirs = np.where(donor.instances > 0, donor.instances + scene.instances.max(), 0)
    return np.where(mine, scene.instances, theirs).astype(np.int32)
