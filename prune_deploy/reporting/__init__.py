"""Records to text and figures. Reads records and samples only, so an old run renders without a GPU or a runtime."""
