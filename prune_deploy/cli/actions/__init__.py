"""What a command does once its options are parsed; same file names as in commands."""
