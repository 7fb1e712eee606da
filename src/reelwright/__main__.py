"""`python -m reelwright`, and so `torchrun -m reelwright`: the command line."""

from reelwright.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
