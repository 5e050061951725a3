"""Settings from the environment. Without any variable, for development.

DJANGO_DEBUG                 off in production, where the next two must be set
DJANGO_SECRET_KEY            the key that signs sessions and tokens
DJANGO_ALLOWED_HOSTS         the site's host names, separated by commas
DJANGO_CSRF_TRUSTED_ORIGINS  origins whose forms are accepted: https://chat.example
DATABASE_URL                 postgres://user:password@host/name; default: SQLite
REDIS_URL                    redis://host:6379; several share the rooms among them
CHAT_MESSAGE_RATE            messages a second that one person may send: 10
CHAT_MESSAGE_BURST           and at once, after a pause: 20

Lists are separated by commas. Without REDIS_URL there can be one process only.
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
    sqlite = f"sqlite:///{BASE_DIR / 'db.sqlite3'}"
    DATABASES = {"default": env.dj_db_url("DATABASE_URL", sqlite)}
    REDIS_URLS = env.list("REDIS_URL", [])
    CHAT_MESSAGE_RATE = env.float(
        "CHAT_MESSAGE_RATE", 10, validate=validate.Range(min=0.1)
    )
    CHAT_MESSAGE_BURST = env.int(
        "CHAT_MESSAGE_BURST", 20, validate=validate.Range(min=1)
    )
except EnvError as error:
    # SystemExit prints one sentence, and no traceback.
    raise SystemExit(f"Cannot start: {error}") from None

if DEBUG:
    # Everyone can read this key, so it is for development only.
    SECRET_KEY = SECRET_KEY or "django-insecure-everyone-can-read-this"
    ALLOWED_HOSTS = ALLOWED_HOSTS or ["127.0.0.1", "localhost", "[::1]"]
elif not SECRET_KEY:
    raise SystemExit("Cannot start: with DJANGO_DEBUG off, set DJANGO_SECRET_KEY.")
elif not ALLOWED_HOSTS:
    raise SystemExit("Cannot start: with DJANGO_DEBUG off, set DJANGO_ALLOWED_HOSTS.")

INSTALLED_APPS = [
    # Daphne brings a `runserver` that answers sockets too. It must come before
    # staticfiles, which has a `runserver` of its own. Without Daphne, sockets get a
    # 404.
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

database = DATABASES["default"]
if database["ENGINE"] == "django.db.backends.postgresql":
    # Test a pooled connection before use: after a restart of PostgreSQL, all are
    # broken.
    database["CONN_HEALTH_CHECKS"] = True
    options = {
        # When PostgreSQL does not answer, fail after seconds instead of minutes.
        "connect_timeout": 3,
        "tcp_user_timeout": 3000,  # milliseconds, for data that is not acknowledged
        # The query was acknowledged, and then the network broke: probe after 3
        # seconds.
        "keepalives_idle": 3,
        "keepalives_interval": 1,
        "keepalives_count": 3,
        # PostgreSQL ends the transaction of a frozen worker, which would keep its
        # locks. A query waits 5 seconds for a lock: a server that stops waits for 8.
        "options": "-c idle_in_transaction_session_timeout=4s -c lock_timeout=5s",
        # Threads take a connection from the pool and give it back.
        "pool": {
            "min_size": 1,
            # PostgreSQL allows 100 connections by default: four processes like this.
            "max_size": 20,
            "timeout": 1.5,  # seconds to wait for a connection; /readyz waits for two
            "reconnect_timeout": 3,  # seconds of rarer and rarer attempts
        },
    }
    # The query string of DATABASE_URL has the last word.
    database["OPTIONS"] = options | database.get("OPTIONS", {})
elif database["ENGINE"] == "django.db.backends.sqlite3":
    options = {
        # With WAL, readers do not wait for writers. With NORMAL, a commit does not
        # wait for the disk.
        "init_command": "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL",
        # Take the write lock when a transaction begins. Later, another writer may have
        # it, and SQLite fails at once.
        "transaction_mode": "IMMEDIATE",
    }
    database["OPTIONS"] = options | database.get("OPTIONS", {})
# Checks passwords as Django does, but a few at a time, and counts the wrong ones.
AUTHENTICATION_BACKENDS = ["chat.limits.PasswordBackend"]
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
# `manage.py collectstatic` puts the files here, and nginx serves them.
STATIC_ROOT = BASE_DIR / "staticfiles"
if not DEBUG:
    # Only `runserver` needs Daphne's app. With it, each process loads Twisted: half of
    # its start, and a third of its memory.
    INSTALLED_APPS.remove("daphne")
    # A hash of the content in each name: browsers may keep a file for ever, and ask
    # for another name when it has changed.
    STORAGES = {
        "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
        "staticfiles": {"BACKEND": "config.static.HashedNames"},
    }

# How consumers reach each other. This layer lives in the memory of one process, which
# is enough for `runserver`. With two server processes, people in one room but on
# different processes would not hear each other.
CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}

# By default, a cache in memory drops entries when it has more than 300. A flood would
# end the tokens of others.
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.locmem.LocMemCache",
        "OPTIONS": {"MAX_ENTRIES": 100_000},
    }
}

# With Redis, several processes share the rooms and the tokens.
if REDIS_URLS:
    # A Redis that is gone or frozen is an error after two seconds.
    timeouts = {"socket_connect_timeout": 2, "socket_timeout": 2}
    CHANNEL_LAYERS = {
        "default": {
            # The Pub/Sub layer. The core layer drops messages when a room is busy, and
            # idle sockets die after five seconds unless its socket_timeout is None.
            "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
            "CONFIG": {
                "hosts": [{"address": url, **timeouts} for url in REDIS_URLS],
                # Two sites may use one Redis server. Pub/Sub ignores the database
                # number in the address, so each site needs a prefix of its own.
                "prefix": hashlib.sha256(SECRET_KEY.encode()).hexdigest()[:8],
            },
        }
    }
    CACHES = {
        "default": {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            "LOCATION": REDIS_URLS[0],
            "OPTIONS": timeouts,
        }
    }

# A page may load and run our own files only. If an attacker gets a script into a page,
# the browser does not run it.
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'self'"],
        "base-uri": ["'none'"],
        "form-action": ["'self'"],
        "frame-ancestors": ["'none'"],
        "object-src": ["'none'"],
    }
}

# A production site uses https, unless all its trusted origins begin with http: (to try
# it on one machine). Browsers would not send secure cookies to such a site.
origins = CSRF_TRUSTED_ORIGINS
plain_http = origins and all(url.startswith("http:") for url in origins)
if not DEBUG and not plain_http:
    # nginx tells how the browser came. It must set this header itself, or a client
    # could.
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SECURE_SSL_REDIRECT = True
    # Health checks ask the process directly, without https.
    SECURE_REDIRECT_EXEMPT = ["^healthz$", "^readyz$"]
    SESSION_COOKIE_SECURE = True
    CSRF_COOKIE_SECURE = True
    # Browsers use https for a month, even if a link says http. The owner of a domain
    # decides about subdomains and for ever; so we silence the two checks that ask for
    # it.
    SECURE_HSTS_SECONDS = 30 * 24 * 60 * 60
    SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]

# Everything goes to the terminal. In production a service manager collects it from
# there.
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {"format": "{asctime} {levelname} {name}: {message}", "style": "{"}
    },
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": "WARNING"},
    "loggers": {
        # nginx logs each connection. One more line takes a tenth of a join's time.
        "chat": {"level": "INFO" if DEBUG else "WARNING"},
        # Replace Django's own handlers. Otherwise development logs each error twice.
        "django": {"level": "INFO"},
        # Anybody can send any host name. Django answers 400; it is not our error.
        "django.security.DisallowedHost": {"level": "CRITICAL"},
        # At level INFO, uvicorn logs the address of each socket, with the token in it.
        "uvicorn": {"level": "WARNING", "propagate": True},
    },
}
