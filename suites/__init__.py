"""The suites that come with ltbench."""
