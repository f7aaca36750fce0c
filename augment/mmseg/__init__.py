"""The OpenMMLab side: importing it registers its parts for mmengine configs and shuts mmengine's unpickling."""

from augment.mmseg.compat import resolve_config_scopes, stub_missing_ops

resolve_config_scopes()
stub_missing_ops()  # before mmseg, which upstream cannot be imported without

from augment.mmseg import backbone, checkpoint, evaluate, mix, paint, sampler, shard_dataset, tar_backend  # noqa: E402

checkpoint.shut_unpickling()

__all__ = ["backbone", "checkpoint", "evaluate", "mix", "paint", "sampler", "shard_dataset", "tar_backend"]
