"""Arms against each other, on all labels and on few: which data, which configs, which commands, in which folders.

OUT/settings.json                   what was asked for
OUT/filtered/settings.json          by what synthetic samples are filtered, where arms are
OUT/data/25                         the data set with a quarter of the labels (links)
OUT/25/shards                       the synthetic samples of its label maps
OUT/25/filtered                     what a filter decided on them
OUT/25/configs/ARM.py               what is trained for equal iterations; ARM-epochs.py for equal epochs
OUT/25/segmenters/ARM-seedN         work dir of a training; segmenters-epochs/ARM-seedN likewise
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import yaml
from mmengine.config import Config

from augment.filter.run import SUMMARY
from augment.mmseg.arms import SHARDED, Arm, Mix, arm_config, epochs_as_real
from augment.mmseg.classes import metainfo_of
from augment.mmseg.config import check_data, datasets_of, load_config, synthetic_hooks
from augment.mmseg.leftovers import check_config, check_content, check_teacher
from augment.mmseg.mix import check_loss_weight
from augment.mmseg.packages import require_packages
from augment.mmseg.shard_dataset import check_classes
from augment.mmseg.train_on_synthetic import check_settings, keep_settings, split_sha256
from augment.report.gain_trained import FILTERED, FOLDERS, ITERATIONS, REAL, planned
from augment.shards import MANIFEST
from augment.stages import Stage, short
from augment.storage import write_text
from augment.subset import link_subset
from dpsims.layouts import find_labels, has_split
from dpsims.run_folder import run_of
from dpsims.sample import load_generator


@dataclass(frozen=True)
class Part:
    """A fraction of the labels.

    Attributes:
        data: the data set that has no others.
        images: how many of them.
        generator: run folder or snapshot; None if no arm needs one.
        generator_sha256: of its weights.
        generator_images: how many labelled images it was trained on; None where nothing tells.
        generator_init_from: name of another one, from whose weights its training began; None if it had none.
    """

    fraction: float | int
    data: Path
    images: int
    generator: Path | None = None
    generator_sha256: str | None = None
    generator_images: int | None = None
    generator_init_from: str | None = None

    @property
    def name(self) -> str:
        """In percent, as its folder is called."""
        return f"{100 * self.fraction:g}"

    def describe(self) -> dict:
        known = ("fraction", "images", "generator_sha256", "generator_images", "generator_init_from")
        return {"name": self.name, **{key: getattr(self, key) for key in known}}

    def content(self) -> dict:
        """What decides its scores: the generator, and the files of the data, wherever they lie."""
        splits = [split for split in ("train", "val", "test") if has_split(self.data, split)]
        described = self.describe()
        del described["generator_init_from"]  # the weights' hash says it, too
        return {**described, "files_sha256": {split: split_sha256(self.data, split) for split in splits}}


@dataclass(frozen=True)
class Comparison:
    """What is compared, and how.

    Attributes:
        config: file of the segmenter on real images.
        iterations: of the real arm.
        budgets: of `augment.report.gain_trained.BUDGETS`.
        synthesis: more options of tools/synthesize.py, as typed.
        perturb: of the label maps, in all synthetic arms.
        scorer: of the filter: "discriminator", the GAN's own, or "segmenter", the first seed's on real images.
        filtering: more options of tools/filter.py, as typed.
    """

    config: Path
    out: Path
    parts: list[Part]
    arms: list[Arm]
    mix: Mix
    seeds: list[int]
    iterations: int
    budgets: list[str]
    synthesis: list[str]
    perturb: str | None
    scorer: str
    filtering: list[str]

    def prepare(self) -> list[Stage]:
        """Write the settings and the configs; returns all that is to be run.

        Raises:
            ValueError: `out` holds a comparison of other settings, data that do not fit, or a segmenter that lacks a
                package, or losses to weigh; nothing was written.
        """
        reals = [load_config(self.config, data_root=part.data) for part in self.parts]
        if synthetic_hooks(reals[0]) or any("shards" in part for part in datasets_of(reals[0], "train_dataloader")):
            raise ValueError(f"{self.config} trains on synthetic images, which the arms add: take its `_real` sibling")
        require_packages(reals[0].model, self.config.name)
        check_loss_weight(reals[0].model, self.mix.loss_weight)
        for real, part in zip(reals, self.parts, strict=True):
            check_data(real)
            if part.generator is not None:
                made = load_generator(part.generator).space.classes
                check_classes(made, classes_of(real), f"the images of {part.generator}")
            if self.filters and self.scorer == "discriminator" and run_of(part.generator) is None:
                raise ValueError(f"--scorer discriminator: {part.generator} is in no run folder, which would have it")
        decisive = {"config": str(self.config.resolve()), "iterations": self.iterations, **asdict(self.mix)}
        decisive |= {"synthesis": self.synthesis, "perturb": self.perturb}
        check_settings(self.out, decisive)
        filters = {"scorer": self.scorer, "filtering": self.filtering} if self.filters else {}
        check_settings(self.out / FILTERED, filters)
        contents = [check_content(self.out / part.name, part.content()) for part in self.parts]
        for real, part in zip(reals, self.parts, strict=True):
            if self.filters and self.scorer == "segmenter":
                check_teacher(self.out / part.name / FILTERED, f"{REAL}-seed{self.seeds[0]}")
            check_config(
                self.out / part.name / "configs" / f"{REAL}.py", arm_config(real, Arm(REAL), self.mix, self.iterations)
            )

        self.out.mkdir(parents=True, exist_ok=True)
        settings = {**decisive, "classes": classes_of(reals[0]), **filters, **self.asked()}
        if self.filters:
            keep_settings(self.out / FILTERED, filters)
        write_text(self.out / "settings.json", json.dumps(settings, indent=1, ensure_ascii=False) + "\n")
        stages = []
        for real, part, content in zip(reals, self.parts, contents, strict=True):
            (self.out / part.name).mkdir(exist_ok=True)
            write_text(self.out / part.name / "settings.json", json.dumps(content, indent=1, ensure_ascii=False) + "\n")
            stages += [*self.synthetic_stages(part), *self.training_stages(part, real)]
        return stages

    @property
    def filters(self) -> bool:
        """Whether an arm is filtered."""
        return any(arm.filtered for arm in self.arms)

    def asked(self) -> dict:
        """What is trained, as `augment.report.gain_trained.planned` reads it; another call may ask for more."""
        return {
            "fractions": [part.describe() for part in self.parts],
            "arms": [arm.describe() for arm in self.arms],
            "budgets": self.budgets,
            "seeds": self.seeds,
        }

    def synthetic_stages(self, part: Part) -> Iterator[Stage]:
        """The shards, if an arm needs some."""
        folder = self.out / part.name
        if self.filters or any(arm.kind in SHARDED for arm in self.arms):
            perturb = ("--perturb", self.perturb) if self.perturb else ()
            yield Stage(
                f"{part.name}/shards",
                f"Synthetic images for {part.name} % of the labels",
                (
                    *("tools/synthesize.py", "--generator", short(part.generator.absolute())),
                    *("--labels", short(part.data / "train"), "--out", short(folder / "shards")),
                    *(*perturb, *self.synthesis),
                ),
                product=folder / "shards" / MANIFEST,
            )
        if self.filters:
            teacher, inputs = ("--gan", short(run_of(part.generator).absolute())), ()
            if self.scorer == "segmenter":
                work_dir = folder / FOLDERS[ITERATIONS] / f"{REAL}-seed{self.seeds[0]}"
                config = folder / "configs" / f"{REAL}.py"
                teacher = ("--config", short(config), "--checkpoint", short(work_dir), "--data-root", short(part.data))
                inputs = (work_dir / "test.json",)
            yield Stage(
                f"{part.name}/{FILTERED}",
                f"Filter of the synthetic images for {part.name} % of the labels",
                (
                    *("tools/filter.py", "--shards", short(folder / "shards"), "--scorer", self.scorer, *teacher),
                    *("--out", short(folder / FILTERED), *self.filtering),
                ),
                product=folder / FILTERED / SUMMARY,
                inputs=(folder / "shards" / MANIFEST, *inputs),
            )

    def training_stages(self, part: Part, real: Config) -> Iterator[Stage]:
        """The segmenters, all arms of a seed before the next seed."""
        folder, arms = self.out / part.name, {arm.name: arm for arm in self.arms}
        for name, budget, described, seed in planned(self.asked()):
            if name != part.name:
                continue
            arm = arms[described["name"]]
            work_dir = folder / FOLDERS[budget] / f"{arm.name}-seed{seed}"
            inputs = (folder / "shards" / MANIFEST,) if arm.kind in SHARDED else ()
            inputs += (folder / FILTERED / SUMMARY,) if arm.filtered else ()
            yield Stage(
                f"{part.name}/{work_dir.parent.name}/{work_dir.name}",
                f"Segmenter on {arm.title}, {part.name} % of the labels, seed {seed}"
                + ("" if budget == ITERATIONS else ", equal epochs"),
                (
                    *("tools/train_segmenter.py", short(self.write_config(part, real, budget, arm))),
                    *("--seed", f"{seed}", "--work-dir", short(work_dir), "--resume", "--test"),
                ),
                product=work_dir / "test.json",
                inputs=inputs,
                skip=True,
            )

    def write_config(self, part: Part, real: Config, budget: str, arm: Arm) -> Path:
        """What an arm trains, as a file."""
        folder = self.out / part.name
        length = self.iterations if budget == ITERATIONS else epochs_as_real(arm, self.mix, self.iterations)
        generator = part.generator and part.generator.absolute()
        made = {"shards": folder / "shards", "generator": generator, "perturb": self.perturb}
        made |= {"decisions": folder / FILTERED}
        file = folder / "configs" / f"{arm.name}{'' if budget == ITERATIONS else '-epochs'}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        write_text(file, arm_config(real, arm, self.mix, length, **made).pretty_text)
        return file


def classes_of(cfg: Config) -> list[str]:
    return list(metainfo_of(next(datasets_of(cfg, "train_dataloader")))["classes"])


def find_parts(
    data_root: Path,
    out: Path,
    fractions: Sequence[float | int],
    generators: Mapping[float | int, Path],
    *,
    needed: bool,
) -> list[Part]:
    """The fractions of a data set in the generic layout, each with its generator.

    Args:
        needed: an arm takes generators.

    Raises:
        ValueError: a fraction lacks its generator, or one has seen labels that its fraction does not have.
    """
    parts = []
    for fraction in sorted(fractions, reverse=True):
        data, generator = data_root, generators.get(fraction)
        if fraction != 1:
            data = out / "data" / f"{100 * fraction:g}"
            link_subset(data_root, data, fraction)
        names = find_labels(data, "train").keys()
        if generator is None and needed:
            raise ValueError(
                f"--generator has none for the fraction {fraction:g}: train it on these labels alone, with "
                f"python tools/train_gan.py data.root={data} …, and name it by --generator {fraction:g}=RUN"
            )
        part = Part(fraction, data.absolute(), len(names))
        if generator is not None and needed:
            seen = trained_on(generator)
            if seen is not None and seen - names:
                raise ValueError(
                    f"--generator {fraction:g}={generator} was trained on {len(seen)} images, {len(seen - names)} of "
                    f"them not among the {len(names)} of this fraction: the comparison would not be one of few labels"
                )
            sha256 = load_generator(generator).sha256
            origin = seen and len(seen), init_from(generator)
            part = Part(fraction, data.absolute(), len(names), generator, sha256, *origin)
        parts.append(part)
    return parts


def trained_on(generator: Path) -> set[str] | None:
    """Names of the images that a generator was trained on, where its run tells and they are still there."""
    data = run_config(generator).get("data", {})
    try:
        return {*find_labels(Path(data["root"]), data["train_split"], data["layout"])}
    except (KeyError, ValueError):
        return None


def init_from(generator: Path) -> str | None:
    """Name of the generator from whose weights a run began, where there is one."""
    other = run_config(generator).get("init_from")
    return other and Path(other).name


def run_config(generator: Path) -> dict:
    """Of the run that a generator lies in; empty where there is none."""
    run = run_of(generator)
    return {} if run is None else yaml.safe_load((run / "config.yaml").read_text())
