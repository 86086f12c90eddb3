"""The command line: one thin module per command, loaded lazily. The only home of click, printing and exit codes."""
