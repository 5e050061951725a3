"""Settings for all tests of the course, however pytest was started."""

from course.core.processes import forget_git

# Git sets variables in hooks and in `git rebase -x`. With these, a test's git commands would
# write to the reader's own repository.
forget_git()
