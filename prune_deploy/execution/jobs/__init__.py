"""A child process that exports, traces and evaluates on request."""
