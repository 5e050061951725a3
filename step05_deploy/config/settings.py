"""Settings from the environment: for production, and with no variable set, for development.

DJANGO_DEBUG                 on by default; off in production, where the next two must be set
DJANGO_SECRET_KEY            what signs sessions and tokens
DJANGO_ALLOWED_HOSTS         the site's host names, separated by commas
DJANGO_CSRF_TRUSTED_ORIGINS  origins whose forms are accepted, such as https://chat.example
DATABASE_URL                 postgres://user:password@host/name; without it, SQLite in a file
REDIS_URL                    redis://host:6379; without it, everything stays in one process
CHAT_MESSAGE_RATE            messages a second that one connection may send: 10
CHAT_MESSAGE_BURST           … and at once, after a pause: 20

Several Redis servers, separated by commas, share the rooms among them. In production the site is
taken to be served by https, unless all trusted origins begin with http:// (to try it at home).
"""

import hashlib
from pathlib import Path

from environs import Env, EnvError, validate

BASE_DIR = Path(__file__).resolve().parent.parent

env = Env()
try:
    DEBUG = env.bool("DJANGO_DEBUG", True)
    SECRET_KEY = env.str("DJANGO_SECRET_KEY", "")
    ALLOWED_HOSTS = env.list("DJANGO_ALLOWED_HOSTS", [])
    CSRF_TRUSTED_ORIGINS = env.list("DJANGO_CSRF_TRUSTED_ORIGINS", [])
    DATABASES = {"default": env.dj_db_url("DATABASE_URL", f"sqlite:///{BASE_DIR / 'db.sqlite3'}")}
    REDIS_URLS = env.list("REDIS_URL", [])
    CHAT_MESSAGE_RATE = env.float("CHAT_MESSAGE_RATE", 10, validate=validate.Range(min=0.1))
    CHAT_MESSAGE_BURST = env.int("CHAT_MESSAGE_BURST", 20, validate=validate.Range(min=1))
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
    "csp.middleware.CSPMiddleware",
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

# A thread that needs the database takes a connection, and gives it back: no socket keeps one.
if DATABASES["default"]["ENGINE"] == "django.db.backends.postgresql":
    # A connection that broke, as all do when PostgreSQL restarts, is not handed out.
    DATABASES["default"]["CONN_HEALTH_CHECKS"] = True
    DATABASES["default"]["OPTIONS"] = {
        # Without PostgreSQL, work fails after some seconds (this one is in milliseconds), instead
        # of waiting for minutes.
        "connect_timeout": 3,
        "tcp_user_timeout": 3000,
        # Who stores a message has its room locked. From a worker that stops in the middle of that,
        # frozen or cut off, PostgreSQL takes the lock before clients give up (ten seconds). And
        # nobody waits for a lock for longer than a stop may take.
        "options": "-c idle_in_transaction_session_timeout=4s -c lock_timeout=5s",
        "pool": {
            "min_size": 1,
            # Half a class that signs in at once. PostgreSQL's usual hundred connections are enough
            # for four such processes; for more of them, raise its max_connections.
            "max_size": 20,
            # Seconds to wait for a connection. The checks of health wait for two.
            "timeout": 1.5,
            # The pool tries to connect ever more rarely. After this long it begins anew.
            "reconnect_timeout": 3,
        },
        **DATABASES["default"].get("OPTIONS", {}),  # from the query string of DATABASE_URL
    }
elif DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    DATABASES["default"]["OPTIONS"] = {
        # Who reads does not wait for who writes, and a commit does not wait for the disk.
        "init_command": "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL",
        # Take the lock for writing when a transaction begins: it is too late once it has read.
        "transaction_mode": "IMMEDIATE",
        **DATABASES["default"].get("OPTIONS", {}),
    }

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
    # A Redis that is gone, or frozen, is an error after two seconds.
    REDIS_PATIENCE = {"socket_connect_timeout": 2, "socket_timeout": 2}
    CHANNEL_LAYERS = {
        "default": {
            # Not channels_redis.core: it forgets messages when a room is busy, and takes silence
            # for a broken connection, unless its socket_timeout is None.
            "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
            "CONFIG": {
                "hosts": [{"address": url, **REDIS_PATIENCE} for url in REDIS_URLS],
                # Redis passes messages on whatever the number of the database in the address:
                # another site on the same servers, with rooms of the same names, would hear ours.
                "prefix": hashlib.sha256(SECRET_KEY.encode()).hexdigest()[:8],
            },
        }
    }
    CACHES = {
        "default": {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            "LOCATION": REDIS_URLS[0],
            "OPTIONS": REDIS_PATIENCE,
        }
    }

SESSION_ENGINE = "chat.sessions"

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
# Where `manage.py collectstatic` puts the files that nginx serves.
STATIC_ROOT = BASE_DIR / "staticfiles"
if not DEBUG:
    # A hash in each name, so that browsers may keep a file for good, and still get the next one.
    STORAGES = {
        "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
        "staticfiles": {"BACKEND": "config.static.HashedNames"},
    }

# What a page may load and run: our own files alone. Should somebody smuggle a script into a page
# after all, the browser does not run it.
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'self'"],
        "base-uri": ["'none'"],
        "form-action": ["'self'"],
        "frame-ancestors": ["'none'"],
        "object-src": ["'none'"],
    }
}

# With an origin of http:// only, cookies that need https would never come back.
plain_http = CSRF_TRUSTED_ORIGINS and all(url.startswith("http:") for url in CSRF_TRUSTED_ORIGINS)
if not DEBUG and not plain_http:
    # nginx says how the browser came. It must set this header itself, as deploy/nginx.conf does.
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SECURE_SSL_REDIRECT = True
    # What asks these two asks the process itself, where there is no https.
    SECURE_REDIRECT_EXEMPT = ["^healthz$", "^readyz$"]
    SESSION_COOKIE_SECURE = True
    CSRF_COOKIE_SECURE = True
    # Browsers come by https for a month, even if told otherwise. Whether that goes for all
    # subdomains, for ever, is for their owner to say: the checks that demand it are silenced.
    SECURE_HSTS_SECONDS = 30 * 24 * 60 * 60
    SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]

# Everything goes to the terminal, or in production to whatever collects it from there.
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "{asctime} {levelname} {name}: {message}", "style": "{"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": "WARNING"},
    "loggers": {
        "chat": {"level": "INFO"},
        # Without this line, an error in a view is logged in development only.
        "django": {"level": "INFO"},
        # Anybody may ask for any host; that is answered with 400, and is no error of ours.
        "django.security.DisallowedHost": {"level": "CRITICAL"},
        # As information it logs the address of each socket, with the token in it.
        "uvicorn": {"level": "WARNING", "propagate": True},
    },
}
