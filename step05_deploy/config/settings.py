"""Settings from the environment: for production, and with no variable set, for development.

DJANGO_DEBUG                 on by default; off in production, where the next two must be set
DJANGO_SECRET_KEY            what signs sessions and tokens
DJANGO_ALLOWED_HOSTS         the site's host names, separated by commas
DJANGO_CSRF_TRUSTED_ORIGINS  origins whose forms are accepted, such as https://chat.example
DATABASE_URL                 postgres://user:password@host/name; without it, SQLite in a file
REDIS_URL                    redis://host:6379; without it, everything stays in one process
CHAT_MESSAGE_RATE            messages a second that one connection may send: 10
CHAT_MESSAGE_BURST           … and at once, after a pause: 20

Several Redis servers, separated by commas, share the rooms among them.
"""

from pathlib import Path

from environs import Env, EnvError

BASE_DIR = Path(__file__).resolve().parent.parent

env = Env()
try:
    DEBUG = env.bool("DJANGO_DEBUG", True)
    SECRET_KEY = env.str("DJANGO_SECRET_KEY", "")
    ALLOWED_HOSTS = env.list("DJANGO_ALLOWED_HOSTS", [])
    CSRF_TRUSTED_ORIGINS = env.list("DJANGO_CSRF_TRUSTED_ORIGINS", [])
    DATABASES = {"default": env.dj_db_url("DATABASE_URL", f"sqlite:///{BASE_DIR / 'db.sqlite3'}")}
    REDIS_URLS = env.list("REDIS_URL", [])
    CHAT_MESSAGE_RATE = env.float("CHAT_MESSAGE_RATE", 10)
    CHAT_MESSAGE_BURST = env.int("CHAT_MESSAGE_BURST", 20)
except EnvError as error:
    # One sentence instead of a traceback, whoever reads the settings: a server or manage.py.
    raise SystemExit(f"Cannot start: {error}") from None

if DEBUG:
    # Known to everyone who reads this, so good for development only.
    SECRET_KEY = SECRET_KEY or "django-insecure-everyone-can-read-this"
    ALLOWED_HOSTS = ALLOWED_HOSTS or ["127.0.0.1", "localhost", "[::1]"]
elif not SECRET_KEY:
    raise SystemExit("Cannot start: with DJANGO_DEBUG off, DJANGO_SECRET_KEY must be set.")
elif not ALLOWED_HOSTS:
    raise SystemExit("Cannot start: with DJANGO_DEBUG off, DJANGO_ALLOWED_HOSTS must be set.")

INSTALLED_APPS = [
    # Before staticfiles: Daphne replaces `runserver` by one that answers sockets too.
    # Without this line every socket gets a 404.
    "daphne",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "chat",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

ROOT_URLCONF = "config.urls"
ASGI_APPLICATION = "config.asgi.application"

# How consumers reach each other. This layer lives in the memory of one process: enough for
# `runserver`; with two server processes, half of a room would hear nothing of the other half.
CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}

# Which tokens are used up, and how often a password was wrong. The default forgets entries when it
# has more than 300: a used token would be good again.
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.locmem.LocMemCache",
        "OPTIONS": {"MAX_ENTRIES": 100_000},
    }
}

# With Redis, several processes serve the same rooms, and know of each other's tokens.
if REDIS_URLS:
    CHANNEL_LAYERS = {
        "default": {
            # Not channels_redis.core: it forgets messages when a room is busy, and takes five
            # silent seconds for a broken connection, unless its hosts are given as
            # {"address": url, "socket_timeout": None}.
            "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
            "CONFIG": {"hosts": REDIS_URLS},
        }
    }
    CACHES = {
        "default": {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            "LOCATION": REDIS_URLS[0],
        }
    }

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in [
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    ]
]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

LOGIN_REDIRECT_URL = "index"
LOGOUT_REDIRECT_URL = "login"

USE_TZ = True
TIME_ZONE = "UTC"
STATIC_URL = "static/"

# What the consumers log is seen in the terminal that runs the server.
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "loggers": {"chat": {"handlers": ["console"], "level": "INFO"}},
}
