"""`python -m imgaudit` is `imgaudit`."""

from imgaudit.cli import main

if __name__ == "__main__":
    main()
