"""The addresses of the views."""

from django.urls import include, path

from gallery import views

urlpatterns = [
    path("", views.home),
    path("images", views.make_image),
    path("notifications", views.list_notifications),
    path("", include("masquerade_ws.contrib.django.urls")),  # /healthz
]
