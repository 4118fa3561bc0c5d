"""What happens when an event arrives, on a thread of the client."""

from django.dispatch import receiver

from gallery.models import Notification
from masquerade_ws import SystemNotificationEvent
from masquerade_ws.contrib.django import event_received


@receiver(event_received, sender="system.notification")
def save_notification(event: SystemNotificationEvent, **kwargs: object) -> None:
    notification = Notification(
        timestamp=event.timestamp, severity=event.payload["severity"], message=event.payload["message"]
    )
    Notification.objects.bulk_create([notification], ignore_conflicts=True)  # another process may have been faster
