"""What an artifact computes, through any backend: parity with the module it came from."""
