"""`python -m sockrec` is the same command."""

from sockrec.cli import main

if __name__ == "__main__":
    main()
