"""Settings for development on one machine. It has no database and no users."""

# Everyone can read this key, so it is for development only.
SECRET_KEY = "django-insecure-everyone-can-read-this-so-it-is-for-development-only"
DEBUG = True
ALLOWED_HOSTS = ["127.0.0.1", "localhost", "[::1]"]

INSTALLED_APPS = [
    "daphne",  # before staticfiles: its `runserver` answers sockets too
    "django.contrib.staticfiles",
    "live",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
    }
]
ROOT_URLCONF = "live.urls"
ASGI_APPLICATION = "config.asgi.application"
CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}

USE_TZ = True
STATIC_URL = "static/"
