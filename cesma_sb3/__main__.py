"""`python -m cesma_sb3` is the command `cesma`."""

from cesma_sb3.cli import main

if __name__ == "__main__":
    main()
