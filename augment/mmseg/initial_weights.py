"""The weights that a segmenter's encoder starts from: fetched before a training, or a user's error."""

from mmengine.config import ConfigDict
from mmengine.runner import CheckpointLoader
from mmseg.registry import MODELS

from augment.mmseg.packages import bare_name, dicts_in


def fetch_initial_weights(model: ConfigDict) -> None:
    """Have the encoder's weights on disk, where its building finds them.

    Raises:
        ValueError: they cannot be had; the message says which option does without.
    """
    backbone = model.get("backbone") or {}
    init_cfg = backbone.get("init_cfg")
    files = {"model.pretrained": model.get("pretrained"), "model.backbone.pretrained": backbone.get("pretrained")}
    files["model.backbone.init_cfg"] = init_cfg.get("checkpoint") if isinstance(init_cfg, dict) else None
    for option, file in files.items():
        if isinstance(file, str):
            try:
                CheckpointLoader.load_checkpoint(file, "cpu", "silent")
            except OSError as error:
                raise _unavailable(file, option, "None", error) from error
    if bare_name(backbone.get("type")) == "TIMMBackbone" and backbone.get("pretrained", True):
        try:
            MODELS.build(backbone)
        except OSError as error:
            raise _unavailable(f"timm's {backbone.model_name}", "model.backbone.pretrained", "False", error) from error


def without_initial_weights(model: ConfigDict) -> ConfigDict:
    """The model's config with nothing to load while it is built: the checkpoint has it all."""
    if "pretrained" in model:
        model.pretrained = None
    for part in dicts_in(model):
        if bare_name(part.get("type")) == "TIMMBackbone":  # looks into timm's hub as soon as it is built
            part.pretrained = False
            part.pop("checkpoint_path", None)
        init_cfg = part.get("init_cfg")
        if isinstance(init_cfg, dict) and init_cfg.get("type") == "Pretrained":
            part.init_cfg = None
    return model


def _unavailable(weights: str, option: str, nothing: str, error: OSError) -> ValueError:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return ValueError(
        f"the encoder's weights cannot be had ({weights}: {reason}); to start without: --cfg-options {option}={nothing}"
    )
