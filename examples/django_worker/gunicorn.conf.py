"""The configuration of gunicorn, which finds this file when it is started in this folder."""

wsgi_app = "gallery.wsgi"
workers = 4
threads = 8
timeout = 90  # seconds; longer than a view waits
