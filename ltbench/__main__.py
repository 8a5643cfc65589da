"""python -m ltbench."""

from .cli import main

if __name__ == "__main__":
    main()
