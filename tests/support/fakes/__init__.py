"""Stand-ins for hardware, clocks and faulty runtimes."""
