"""How static files are named in production."""

from django.contrib.staticfiles.storage import ManifestStaticFilesStorage


class HashedNames(ManifestStaticFilesStorage):
    """Put a hash of the content into each file's name."""

    support_js_module_import_aggregation = True  # also where a script imports another
