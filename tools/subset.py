"""A part of a data set's training images as a data set of its own, by links: to see what fewer labels would give.

    python tools/subset.py --data-root data/mine --fraction 0.25 --out runs/mine25
    python tools/train_gan.py data.root=runs/mine25 out=runs/gan25

The choice is random, and the same for the same seed; 5 % are among the 25 %. Other splits are linked whole.
"""

import argparse
from pathlib import Path

from endings import plain_ending

from augment.subset import link_subset
from dpsims.layouts import LAYOUTS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--data-root", type=Path, required=True, metavar="DIR", help="the data set")
    add("--fraction", type=float, required=True, help="of the training images, more than 0 and at most 1")
    add("--out", type=Path, required=True, metavar="DIR", help="folder to make")
    add("--seed", type=int, default=0, help="of the choice (default: %(default)s)")
    add("--split", default="train", help="the split of which a part is taken (default: %(default)s)")
    add("--layout", default="generic", choices=sorted(LAYOUTS), help="of the data set (default: %(default)s)")
    arguments = parser.parse_args()
    with plain_ending():
        chosen = link_subset(
            arguments.data_root,
            arguments.out,
            arguments.fraction,
            seed=arguments.seed,
            split=arguments.split,
            layout=arguments.layout,
        )
    print(f"{len(chosen)} images of the {arguments.split} split in {arguments.out}, and the other splits whole")


if __name__ == "__main__":
    main()
