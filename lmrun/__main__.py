"""``python -m lmrun``."""

from lmrun.cli import main

if __name__ == "__main__":
    main()
