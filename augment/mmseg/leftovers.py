"""What an earlier call of a comparison left, looked at before another one goes on with it.

Each raises a ValueError where the two would be of different things.
"""

from pathlib import Path

from mmengine.config import Config

from augment.filter.run import SUMMARY, read_summary
from augment.mmseg.train_on_synthetic import check_settings
from augment.shards import differences
from augment.storage import read_json

OF_GENERATOR = ("generator_sha256", "generator_images")  # keys of a fraction's settings; None where no arm needs one
PLACES = ("data_root", "shards", "generator", "decisions")  # keys of a config that say where something lies


def check_content(folder: Path, content: dict) -> dict:
    """See that what decides a fraction's scores is what it was; returns it for the fraction's `settings.json`.

    Arms that take a generator may come after real images alone. A call that asks for real images alone leaves it noted.
    """
    file = folder / "settings.json"
    kept = read_json(file) if file.is_file() else {}
    noted = {key: kept.get(key) for key in OF_GENERATOR}
    if content["generator_sha256"] is None:
        content = content | noted
    elif noted["generator_sha256"] is None:
        check_settings(folder, {key: value for key, value in content.items() if key not in OF_GENERATOR})
        return content
    check_settings(folder, content)
    return content


def check_teacher(filtered: Path, name: str) -> None:
    """See that a finished filter is by this segmenter: it would refuse another one, but only once that was trained."""
    if not (filtered / SUMMARY).is_file():
        return
    made_by = Path(read_summary(filtered)["origin"]["checkpoint"]).parent.name
    if made_by != name:
        raise ValueError(f"{filtered} was made by {made_by}, not {name}: --seeds begins with that segmenter's seed")


def check_config(file: Path, real: Config) -> None:
    """See that the real arm trains what it did, wherever its data lie; the configs of the others follow from its."""
    if not file.is_file():
        return
    kept, asked = (without_places(cfg) for cfg in (Config.fromfile(file), Config.fromstring(real.pretty_text, ".py")))
    changed = differences(kept, asked)
    if changed:
        raise ValueError(
            f"{file} was made with other settings ({'; '.join(changed)}): the config has changed, or the SEG_… that it "
            "reads from the environment; choose another folder"
        )


def without_places(node: object) -> object:
    """A config, or a part of one, without its paths."""
    if isinstance(node, Config | dict):
        return {key: without_places(value) for key, value in node.items() if key not in PLACES}
    return [without_places(value) for value in node] if isinstance(node, list | tuple) else node
