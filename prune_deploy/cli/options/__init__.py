"""Options that commands share, and the specs that they make."""
