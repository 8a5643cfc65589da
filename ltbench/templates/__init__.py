"""The page that `ltbench report` fills."""
