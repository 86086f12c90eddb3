"""A child process that exports, traces and evaluates when it is asked."""
