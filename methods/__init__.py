"""The methods, one short file each. They import ltbench's public names and one another, nothing else of ltbench."""
