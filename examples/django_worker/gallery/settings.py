"""The settings; what differs between installations comes from the environment."""

import os
from pathlib import Path

from django.utils.crypto import get_random_string

BASE_DIR = Path(__file__).resolve().parent.parent

SECRET_KEY = os.environ.get("SECRET_KEY") or get_random_string(50)  # nothing that it signs outlives a process
DEBUG = os.environ.get("DEBUG") == "1"
ALLOWED_HOSTS = ["localhost", "127.0.0.1"]

INSTALLED_APPS = ["masquerade_ws.contrib.django", "gallery"]
MIDDLEWARE = ["django.middleware.security.SecurityMiddleware", "django.middleware.common.CommonMiddleware"]
ROOT_URLCONF = "gallery.urls"
WSGI_APPLICATION = "gallery.wsgi.application"
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}]

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("DATABASE", BASE_DIR / "db.sqlite3"),
        "OPTIONS": {"timeout": 20},  # seconds; several processes write
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
TIME_ZONE = "UTC"
LOGGING = {  # otherwise errors of views and receivers are seen nowhere unless DEBUG is on
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["console"], "level": "WARNING"},
    "loggers": {"django": {"handlers": []}},  # it passes on what it logs
}

MASQUERADE_WS = {
    "URL": os.environ.get("MASQUERADE_URL", "ws://localhost:34076/ws"),
    "GET_TOKEN": "gallery.tokens.get_token",
    "RECONNECT_JITTER": 0.5,  # the processes do not reconnect all at once
    "LISTENERS": os.environ.get("LISTENERS", "all"),  # "listen": in the process of masquerade_listen alone
}
IMAGE_TIMEOUT = float(os.environ.get("IMAGE_TIMEOUT", "60"))  # seconds that a view waits for its image
