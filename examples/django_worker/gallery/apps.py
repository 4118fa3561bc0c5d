"""The app."""

from django.apps import AppConfig


class GalleryConfig(AppConfig):
    name = "gallery"

    def ready(self) -> None:
        from gallery import receivers  # noqa: F401, PLC0415 - connects them, which needs the models
