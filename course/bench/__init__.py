"""`make bench`: step 5 beside the tutorial pattern and beside the limit of Python."""
