"""mmengine's runner, with a screen that a person can follow."""

import logging

from mmengine.logging import MMLogger
from mmengine.runner import Runner

MAX_LINES = 30


class BriefRunner(Runner):
    """Sends the long dumps (environment, config, list of hooks) to the log file in the work dir alone."""

    def build_logger(self, log_level: int | str = "INFO", log_file: str | None = None, **kwargs: object) -> MMLogger:
        logger = super().build_logger(log_level, log_file, **kwargs)
        for handler in logger.handlers:
            if not isinstance(handler, logging.FileHandler):
                handler.addFilter(lambda record: record.getMessage().count("\n") < MAX_LINES)
        return logger
