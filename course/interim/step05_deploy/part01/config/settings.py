"""Settings from the environment. Without any variable, for development.

DJANGO_DEBUG                 off in production, where the next two must be set
DJANGO_SECRET_KEY            the key that signs sessions and tokens
DJANGO_ALLOWED_HOSTS         the site's host names, separated by commas
DJANGO_CSRF_TRUSTED_ORIGINS  origins whose forms are accepted: https://chat.example
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

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": BASE_DIR / "db.sqlite3",
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
    SECURE_SSL_REDIRECT = True
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
    },
}
