#!/usr/bin/env python3
"""Writes a seeded CSV of purchases with malformed lines and disorder to the standard output.

    gen_dirty.py --seed 7 --rows 20000 --max-lateness 2d > dirty.csv

Dates go forward over the file. Of the well-formed rows a share carries an older date: half of them
within the lateness that is named, half beyond it (up to 40 days, so that some days are no longer
kept). The first malformed lines show every kind once, in seeded order; so do the odd ones, which
look strange and are accepted. The same arguments give the same bytes.
"""

import argparse
import datetime
import random
import sys

import stream

DAY_MS = 86_400_000
HEADER = b"customer_id,date,cds,dollars"

# Each makes a line that must be refused of the values of a good row.
MALFORMED = {
    "blanks only": lambda r: b"   ",
    "one column": lambda r: r[0],
    "three columns": lambda r: b",".join(r[:3]),
    "five columns": lambda r: b",".join(r) + b",1",
    "trailing comma": lambda r: b",".join(r) + b",",
    "semicolons": lambda r: b";".join(r),
    "tabs": lambda r: b"\t".join(r),
    "header again": lambda r: HEADER,
    "comment": lambda r: b"# nothing was sold",
    "byte order mark": lambda r: "\ufeff".encode() + b",".join(r),
    "lone carriage return": lambda r: b",".join(r) + b"\r" + b",".join(r),
    "quote not closed": lambda r: b'"' + b",".join(r),
    "text behind a quote": lambda r: b'"' + r[0] + b'"x,' + b",".join(r[1:]),
    "doubled quotes": lambda r: b'"""' + r[0] + b'""",' + b",".join(r[1:]),
    "quoted comma": lambda r: b'"' + r[0] + b"," + r[1] + b'",' + b",".join(r[2:]),
    "quote in the middle": lambda r: b",".join([r[0][:1] + b'"' + r[0][1:], *r[1:]]),
    "not UTF-8": lambda r: b",".join([r[0], r[1], r[2], b"\xff\xfe\xc3"]),
    "NUL": lambda r: b",".join([r[0], r[1], r[2], b"1\x00"]),
    "characters that JSON escapes": lambda r: b'\\"\t\x01\x1f/\xe2\x80\xa8\xf0\x9f\x92\xb8',
    "long": lambda r: b"9" * 6000 + b"," + b",".join(r[1:]),
    "long, cut inside a character": lambda r: b"x" + "é".encode() * 2000,
    "long, digits": lambda r: b",".join([r[0], r[1], r[2], b"1" * 5000]),
    "no user": lambda r: b",".join([b"", *r[1:]]),
    "negative user": lambda r: b",".join([b"-" + r[0], *r[1:]]),
    "signed user": lambda r: b",".join([b"+" + r[0], *r[1:]]),
    "user with a point": lambda r: b",".join([r[0] + b".0", *r[1:]]),
    "user in words": lambda r: b",".join([b"anonymous", *r[1:]]),
    "user too large": lambda r: b",".join([b"18446744073709551616", *r[1:]]),
    "user in other digits": lambda r: b",".join(["٣".encode(), *r[1:]]),
    "user with an underscore": lambda r: b",".join([b"1_0", *r[1:]]),
    "blank before the user": lambda r: b" " + b",".join(r),
    "no date": lambda r: b",".join([r[0], b"", *r[2:]]),
    "30 February": lambda r: b",".join([r[0], r[1][:4] + b"-02-30", *r[2:]]),
    "29 February of 1997": lambda r: b",".join([r[0], b"1997-02-29", *r[2:]]),
    "month 13": lambda r: b",".join([r[0], b"1997-13-01", *r[2:]]),
    "day 0": lambda r: b",".join([r[0], b"1997-01-00", *r[2:]]),
    "year 0": lambda r: b",".join([r[0], b"0000-01-01", *r[2:]]),
    "short date": lambda r: b",".join([r[0], b"1997-1-1", *r[2:]]),
    "date without dashes": lambda r: b",".join([r[0], r[1].replace(b"-", b""), *r[2:]]),
    "American date": lambda r: b",".join([r[0], b"01/31/1997", *r[2:]]),
    "date with a time": lambda r: b",".join([r[0], r[1] + b"T00:00:00", *r[2:]]),
    "no cds": lambda r: b",".join([r[0], r[1], b"", r[3]]),
    "half a cd": lambda r: b",".join([r[0], r[1], b"1.5", r[3]]),
    "negative cds": lambda r: b",".join([r[0], r[1], b"-1", r[3]]),
    "no dollars": lambda r: b",".join([*r[:3], b""]),
    "negative dollars": lambda r: b",".join([*r[:3], b"-" + r[3]]),
    "negative zero": lambda r: b",".join([*r[:3], b"-0.00"]),
    "signed dollars": lambda r: b",".join([*r[:3], b"+" + r[3]]),
    "three places": lambda r: b",".join([*r[:3], b"1.005"]),
    "three places that are zero": lambda r: b",".join([*r[:3], b"1.000"]),
    "exponent": lambda r: b",".join([*r[:3], b"1e2"]),
    "no number": lambda r: b",".join([*r[:3], b"NaN"]),
    "infinity": lambda r: b",".join([*r[:3], b"inf"]),
    "currency": lambda r: b",".join([*r[:3], b"$" + r[3]]),
    "no digit before the point": lambda r: b",".join([*r[:3], b".50"]),
    "no digit behind the point": lambda r: b",".join([*r[:3], b"5."]),
    "two points": lambda r: b",".join([*r[:3], b"1.2.3"]),
    "decimal comma, quoted": lambda r: b",".join([*r[:3], b'"1,50"']),
    "dollars too large": lambda r: b",".join([*r[:3], b"92233720368547758.08"]),
    "blank behind the dollars": lambda r: b",".join(r) + b" ",
}

# Each makes a line that must be accepted (an empty one: passed over).
ODD = {
    "empty line": lambda r: b"",
    "empty line with CR": lambda r: b"\r",
    "CRLF": lambda r: b",".join(r) + b"\r",
    "all quoted": lambda r: b",".join(b'"' + value + b'"' for value in r),
    "one quoted": lambda r: b",".join([r[0], b'"' + r[1] + b'"', r[2], r[3]]),
    "leading zeros": lambda r: b",".join([b"000" + r[0], r[1], b"0" + r[2], b"00" + r[3]]),
    "free of charge": lambda r: b",".join([*r[:3], b"0.00"]),
    "zero": lambda r: b",".join([*r[:3], b"0"]),
    "whole dollars": lambda r: b",".join([*r[:3], b"7"]),
    "one place": lambda r: b",".join([*r[:3], b"7.5"]),
    "no cds": lambda r: b",".join([r[0], r[1], b"0", r[3]]),
    "largest user": lambda r: b",".join([b"18446744073709551615", *r[1:]]),
    "user 0": lambda r: b",".join([b"0", *r[1:]]),
    "largest amount": lambda r: b",".join([*r[:3], b"92233720368547758.07"]),
    "beyond 2^53 cents": lambda r: b",".join([*r[:3], b"90071992547409.93"]),
}


class Kinds:
    """Draws kinds: first each of them once, in random order, then any."""

    def __init__(self, rng, kinds):
        self.rng = rng
        self.kinds = list(kinds.items())
        self.left = self.kinds[:]
        rng.shuffle(self.left)

    def draw(self, row):
        kind = self.left.pop() if self.left else self.rng.choice(self.kinds)
        return kind[1](row)


def lines(arguments):
    """Yields the lines behind the header, without their LF."""
    rng = random.Random(arguments.seed)
    malformed, odd = Kinds(rng, MALFORMED), Kinds(rng, ODD)
    first = datetime.date.fromisoformat(arguments.start)
    within = max(1, arguments.max_lateness // DAY_MS)
    for number in range(arguments.rows):
        day = number * arguments.days // arguments.rows
        if rng.random() < arguments.disorder:
            is_beyond = rng.random() < 0.5
            day -= rng.randint(within + 1, within + 40) if is_beyond else rng.randint(1, within)
        date = first + datetime.timedelta(days=day)
        # Squares make some users frequent, so that hours and days of theirs fill up.
        user = int(arguments.users * rng.random() ** 2)
        cents = rng.randint(50, 5_000) * (rng.choice([10, 100]) if rng.random() < 0.01 else 1)
        dollars = f"{cents // 100}.{cents % 100:02}"
        row = [str(user).encode(), str(date).encode(), b"%d" % rng.randint(1, 9), dollars.encode()]
        chance = rng.random()
        if chance < arguments.malformed:
            yield malformed.draw(row)
        elif chance < arguments.malformed + arguments.odd:
            yield odd.draw(row)
        else:
            yield b",".join(row)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rows", type=int, default=20_000, help="lines behind the header")
    parser.add_argument("--users", type=int, default=500)
    parser.add_argument("--days", type=int, default=60)
    parser.add_argument("--start", default="1997-01-01", help="the first date")
    parser.add_argument("--malformed", type=float, default=0.02, help="share of lines to refuse")
    parser.add_argument("--odd", type=float, default=0.01, help="share of strange lines to accept")
    parser.add_argument("--disorder", type=float, default=0.05, help="share with an older date")
    parser.add_argument(
        "--max-lateness", type=stream.duration_ms, default=DAY_MS, metavar="DURATION",
        help="what half of the disorder stays within (whole days)",
    )
    parser.add_argument("--bom", action="store_true", help="start with a byte order mark")
    parser.add_argument("--crlf", action="store_true", help="end every line with CRLF")
    parser.add_argument("--no-last-end", action="store_true", help="the last line has no end")
    arguments = parser.parse_args()
    end = b"\r\n" if arguments.crlf else b"\n"
    all_lines = [HEADER, *lines(arguments)]
    if arguments.crlf:
        all_lines = [line.removesuffix(b"\r") for line in all_lines]
    text = end.join(all_lines) + (b"" if arguments.no_last_end else end)
    if arguments.bom:
        text = "\ufeff".encode() + text
    sys.stdout.buffer.write(text)


if __name__ == "__main__":
    main()
