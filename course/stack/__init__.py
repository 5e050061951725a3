"""`make stack`: run step 5 as in production on this machine, and delete everything at the end.

Real Redis (or Valkey), PostgreSQL, workers and nginx run on 127.0.0.1, each in its own process.
"""
