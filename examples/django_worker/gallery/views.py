"""The views."""

import uuid

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST, require_safe

from gallery.models import Notification
from masquerade_ws import ImageGenerationError, WaitTimeoutError
from masquerade_ws.contrib.django import client


@require_safe
def home(request: HttpRequest) -> HttpResponse:
    """Say what there is here."""
    return render(request, "gallery/home.html", {"host": request.get_host()})


@csrf_exempt  # called by programs, which have no CSRF token; what a browser sends is refused
@require_POST
def make_image(request: HttpRequest) -> HttpResponse:
    """Start a job and answer when it is done."""
    if "Origin" in request.headers:  # a browser, which lets the pages of any site post a form
        return JsonResponse({"error": "web pages cannot start jobs here"}, status=403)
    prompt = request.POST.get("prompt", "").strip()
    if not prompt:
        return JsonResponse({"error": "a prompt is missing: send the form field prompt"}, status=400)

    def start() -> str:
        job_id = str(uuid.uuid4())
        client.emit("image.generate", {"job_id": job_id, "prompt": prompt})
        return job_id

    try:
        event = client.run_image_job(start, timeout=settings.IMAGE_TIMEOUT)
    except WaitTimeoutError:
        return JsonResponse({"error": "the image was not finished in time"}, status=504)
    except ImageGenerationError as error:
        return JsonResponse({"error": str(error), "retry_allowed": error.retry_allowed}, status=502)
    except ConnectionError:
        return JsonResponse({"error": "the image service cannot be reached"}, status=503)
    return JsonResponse({"prompt": prompt, **event.payload})


@require_safe
def list_notifications(request: HttpRequest) -> HttpResponse:
    """Show the latest notifications that have been stored."""
    notifications = Notification.objects.order_by("-timestamp", "-pk")[:100]
    return render(request, "gallery/notifications.html", {"notifications": notifications})
