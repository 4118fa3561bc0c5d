"""A Django project with one app, which makes images and stores the notifications of the service.

::

    masquerade-ws serve --notify 10                      # the gateway, in a terminal of its own
    python manage.py migrate
    gunicorn                                             # 4 processes, 8 threads each: see gunicorn.conf.py
    curl -d prompt='a harbour' localhost:8000/images     # answers once the image is made
    curl localhost:8000/notifications
    LISTENERS=listen python manage.py masquerade_listen  # receives notifications without a web server
"""
