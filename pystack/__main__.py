"""``python -m pystack``: the command ``pystack``."""

from pystack.cli import main

if __name__ == "__main__":
    main()
