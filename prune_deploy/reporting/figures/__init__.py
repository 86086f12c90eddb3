"""From records to numbers, rows and sentences."""
