"""The address of the health check: ``path("", include("masquerade_ws.contrib.django.urls"))`` adds ``/healthz``."""

from __future__ import annotations

from django.http import HttpRequest, JsonResponse
from django.urls import path
from django.views.decorators.http import require_safe

from masquerade_ws.contrib.django.lazy import lazy
from masquerade_ws.contrib.health import report

__all__ = ["urlpatterns"]


@require_safe
def _answer(request: HttpRequest) -> JsonResponse:
    body, status = report(lazy.autostart.checked())
    return JsonResponse(body, status=status, headers={"Cache-Control": "no-store"})


urlpatterns = [path("healthz", _answer, name="masquerade-ws-health")]
