"""Small networks and files that tests share."""
