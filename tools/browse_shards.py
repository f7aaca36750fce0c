"""Write a page to look through shards with: images with their label maps, filtered by class, source, change, score."""

import argparse
from pathlib import Path

from endings import plain_ending

from augment.storage import open_folder

EXAMPLE = """
example: two hundred images from all over the shards, and what a filter thought of them

  python tools/browse_shards.py runs/shards --decisions runs/filtered --out gallery.html

Open gallery.html in a browser: it is one file and loads nothing. What is filtered and opened stands in its address
(gallery.html#class=car,sign&keep=dropped&sort=-score), to go back to and to pass on.
"""


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("shards", metavar="DIR", help="folder of the shards, or its URL (s3://…)")
    add("--out", type=Path, required=True, metavar="FILE", help="the page, such as gallery.html")
    spread_help = "at most, at equal distances over shards and label maps (default: %(default)s)"
    add("--images", type=int, default=200, help=spread_help)
    width_help = "in pixels; wider images are reduced to it, so that the page does not grow too large "
    add("--width", type=int, default=384, help=width_help + "(default: %(default)s)")
    add("--decisions", metavar="DIR", help="folder, or URL, of a filter's decisions.jsonl: adds scores and reasons")
    arguments = parser.parse_args()
    for name in ("images", "width"):
        if getattr(arguments, name) < 1:
            parser.error(f"--{name} is at least 1, not {getattr(arguments, name)}")
    if arguments.out.suffix.lower() not in (".html", ".htm"):
        parser.error(f"--out {arguments.out} is to be a file called *.html")
    return arguments


def run(arguments: argparse.Namespace) -> None:
    from augment.report.browse import write_gallery  # needs [report], and is not needed for --help

    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    gallery = write_gallery(
        open_folder(arguments.shards),
        arguments.out,
        images=arguments.images,
        width=arguments.width,
        decisions=None if arguments.decisions is None else open_folder(arguments.decisions),
        progress=True,
    )
    print(f"{gallery.shown:,} of {gallery.total:,} images, {gallery.size / 1e6:.1f} MB")
    if gallery.scored is not None and gallery.scored < gallery.shown:
        print(f"without a decision: {gallery.shown - gallery.scored:,} of them")
    print(f"look at them: {arguments.out}")


def main() -> None:
    arguments = parse_arguments()
    with plain_ending():
        run(arguments)


if __name__ == "__main__":
    main()
