"""How gunicorn serves the project; started in this folder, it finds this file by itself."""

wsgi_app = "gallery.wsgi"
workers = 4
threads = 8
timeout = 90  # seconds; more than a view waits
