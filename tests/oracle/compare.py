#!/usr/bin/env python3
"""Compares a directory that the job `fraud` wrote with the oracle's rows.

    compare.py --input FILE.csv [--max-lateness 2d] DIR
    compare.py --generate 100000 --users 1000 DIR

Rows of alerts/, hourly/ and late/ are compared as text (key order included) as multisets and in
order per user; those of dead-letter/ by line and text. Exit code 0: equal, 1: different, 2: usage.
"""

import argparse
import json
import pathlib
import re
import sys

import fraud
import stream


def written(directory):
    """The rows of a kind, without blanks between tokens (they hold no strings)."""
    return [re.sub(r"\s", "", line) for _, _, line in stream.part_lines(directory)]


def same_text(wanted, found):
    """A text may be cut in bytes before or after it is made valid: a few bytes may differ."""
    wanted, found = wanted.rstrip("\r"), found.rstrip("\r")
    if len(wanted.encode()) < fraud.TEXT_MAX - 8:
        return found == wanted
    found_bytes = found.encode()
    if abs(len(found_bytes) - fraud.TEXT_MAX) > 8:
        return False
    return found_bytes[: fraud.TEXT_MAX - 16] == wanted.encode()[: fraud.TEXT_MAX - 16]


def compare_dead_letters(expected, directory, name):
    """Differences between dead letters, which are known by their lines."""
    found, by_line = [], {}
    for path, number, line in stream.part_lines(directory):
        at = f"dead-letter: {path.name}:{number}"
        try:
            fields = json.loads(line)
        except ValueError as error:
            found.append(f"{at} is no JSON: {error}")
            continue
        if list(fields) != ["file", "line", "error", "text"]:
            found.append(f"{at} has the keys {list(fields)}")
            continue
        if name and pathlib.Path(fields["file"]).name != name:
            found.append(f"{at} names the file {fields['file']!r}")
        if not fields["error"]:
            found.append(f"{at} has no error text")
        if fields["line"] in by_line:
            found.append(f"{at} repeats line {fields['line']}")
        by_line[fields["line"]] = fields
    for wanted in expected:
        fields = by_line.pop(wanted["line"], None)
        if fields is None:
            found.append(f"dead-letter: line {wanted['line']} is missing: {wanted['text'][:80]!r}")
        elif not same_text(wanted["text"], fields["text"]):
            found.append(f"dead-letter: line {wanted['line']} has the text {fields['text'][:80]!r}")
            found.append(f"  expected {wanted['text'][:80]!r}")
    for line, fields in by_line.items():
        found.append(f"dead-letter: line {line} is well-formed: {fields['text'][:80]!r}")
        found.append(f"  error {fields['error']!r}")
    return found


def leftovers(directory):
    """Files that are neither a finished part nor in a known place."""
    for path in sorted(directory.rglob("*")):
        if path.is_file():
            is_part = re.fullmatch(r"part-.*\.jsonl", path.name)
            if not is_part or path.parent.name not in fraud.KINDS:
                yield f"{path.relative_to(directory)}: not a finished part of a known output"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--input", metavar="FILE.csv")
    fraud.add_arguments(parser)
    parser.add_argument("directory", type=pathlib.Path, metavar="DIR")
    parser.add_argument("--shown", type=int, default=40, help="differences printed per output")
    arguments = parser.parse_args()
    if (arguments.input is None) == (arguments.generate is None):
        parser.error("give either --input FILE.csv or --generate N")
    if not arguments.directory.is_dir():
        parser.error(f"{arguments.directory} is no directory")
    expected = fraud.expected(arguments)
    found = list(leftovers(arguments.directory))
    for kind in ("alerts", "hourly", "late"):
        actual = written(arguments.directory / kind)
        found += stream.differences(kind, expected[kind], actual)
    name = arguments.input and pathlib.Path(arguments.input).name
    dead = compare_dead_letters(
        expected["dead-letter"], arguments.directory / "dead-letter", name
    )
    found += dead[: arguments.shown]
    if len(dead) > arguments.shown:
        found.append(f"dead-letter: and {len(dead) - arguments.shown} more differences")
    print("\n".join(found) if found else "equal: " + ", ".join(
        f"{len(expected[kind])} {kind}" for kind in fraud.KINDS
    ))
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
