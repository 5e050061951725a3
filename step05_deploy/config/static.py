"""How static files are named in production."""

from django.contrib.staticfiles.storage import ManifestStaticFilesStorage


class HashedNames(ManifestStaticFilesStorage):
    """Put a hash of each file's content into its name, also where one script imports another."""

    support_js_module_import_aggregation = True
