"""Sets Django up, and hears what the packages only log."""

import logging
import os

import django


def start():
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")
    django.setup()


class Errors(logging.Handler):
    """Calls `on_error` with each error that is logged: the packages log failures and go on."""

    def __init__(self, on_error):
        super().__init__(logging.ERROR)
        self.on_error = on_error
        logging.getLogger().addHandler(self)

    def emit(self, record):
        self.on_error(record.getMessage())
