"""What a user can ask for, one file each: from a request to its record."""
