"""The addresses of the views."""

from django.urls import path

from gallery import views

urlpatterns = [
    path("images", views.make_image),
    path("notifications", views.list_notifications),
]
