"""``python -m remembev``, which is how torchrun starts it: ``torchrun --nproc-per-node 2 -m remembev train …``."""

from remembev.cli import main

if __name__ == "__main__":
    main()
