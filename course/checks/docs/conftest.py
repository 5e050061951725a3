"""Fixtures that the tests of the book share. Imported into two files, each would start twice."""

from course.checks.browser.conftest import browser as browser
from course.checks.docs.provoke import daphne as daphne
from course.checks.docs.provoke import heading as heading
from course.checks.docs.provoke import other as other
from course.checks.docs.provoke import site as site
from course.checks.docs.provoke import uvicorn as uvicorn
