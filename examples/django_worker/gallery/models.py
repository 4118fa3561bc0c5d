"""What is stored."""

from django.db import models


class Notification(models.Model):
    """A notification of the image service."""

    timestamp = models.CharField(max_length=40)
    severity = models.CharField(max_length=20)
    message = models.TextField()

    class Meta:
        constraints = (  # each process receives it, and one stores it
            models.UniqueConstraint(fields=["timestamp", "severity", "message"], name="one_row_a_notification"),
        )

    def __str__(self) -> str:
        return f"{self.timestamp} {self.severity}: {self.message}"
