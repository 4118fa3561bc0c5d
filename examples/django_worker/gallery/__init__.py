"""A Django project whose one app makes images and keeps the service's notifications.

::

    masquerade-ws serve                                  # the gateway, in a terminal of its own
    python manage.py migrate
    gunicorn                                             # 4 processes, 8 threads each: see gunicorn.conf.py
    curl -d prompt='a harbour' localhost:8000/images     # answers when the image is there
    curl localhost:8000/notifications
    python manage.py masquerade_listen                   # receives notifications with no web server at all
"""
