"""What the oracles share: the generated stream, durations, rows as text, reading of part files."""

import argparse
import json
import pathlib
import re

GAMMA = 0x9E3779B97F4A7C15
MASK = (1 << 64) - 1
T0 = 1_699_999_200_000
MS_PER_EVENT = 3600000.0 / 4000000

UNITS_MS = {"": 1, "ms": 1, "s": 1000, "m": 60_000, "min": 60_000, "h": 3_600_000, "d": 86_400_000}


def mix(z):
    """The finaliser of splitmix64."""
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def events(count, users, seed, skew):
    """Yields (user, ts, amount in cents) of the events 0 .. count - 1."""
    hot = int(skew * 2**32)
    for i in range(count):
        r0 = mix((seed + (2 * i + 1) * GAMMA) & MASK)
        r1 = mix((seed + (2 * i + 2) * GAMMA) & MASK)
        user = 0 if (r0 & 0xFFFFFFFF) < hot else ((r0 >> 32) * users) >> 32
        amount = 100 + ((r1 >> 2) & 0x3FFF)
        if (r1 >> 16) & 0x3FF == 0:
            amount *= 50
        yield user, T0 + int(i * MS_PER_EVENT), amount


def add_stream_arguments(parser):
    """Adds the arguments that describe the generated stream, named as the jobs name them."""
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--skew", type=float, default=0.0)


def duration_ms(text):
    """Parses `10s`, `5m`, `2d`, or a bare number of milliseconds."""
    match = re.fullmatch(r"([0-9]+)\s*([a-z]*)", text)
    if not match or match[2] not in UNITS_MS:
        raise argparse.ArgumentTypeError(f"{text!r} is no duration (such as 10s, 5m, 2d)")
    return int(match[1]) * UNITS_MS[match[2]]


def row(**fields):
    """One JSON object as a line of text: no blanks, keys in the order given."""
    return json.dumps(fields, separators=(",", ":"))


def natural(path):
    """A sort key that puts part-2 before part-10."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", path.name)]


def part_lines(directory):
    """Yields (path, line number, line) of all part files of a directory, which may be absent."""
    directory = pathlib.Path(directory)
    for path in sorted(directory.glob("part-*.jsonl"), key=natural):
        with open(path, encoding="utf-8", newline="\n") as file:
            for number, line in enumerate(file, 1):
                yield path, number, line.rstrip("\n")


def differences(name, expected, actual, shown=10):
    """Compares lists of row texts as multisets, then in order per user. Returns lines of text."""
    found = []
    missing, extra = {}, {}
    for text in expected:
        missing[text] = missing.get(text, 0) + 1
    for text in actual:
        if missing.get(text, 0) > 0:
            missing[text] -= 1
        else:
            extra[text] = extra.get(text, 0) + 1
    for what, rows in (("missing", missing), ("unexpected", extra)):
        rows = {text: count for text, count in rows.items() if count}
        if rows:
            total = sum(rows.values())
            sizes = f"{len(expected)} expected, {len(actual)} written"
            found.append(f"{name}: {total} rows {what} ({sizes})")
            found += [f"  {what} {count} x {text}" for text, count in list(rows.items())[:shown]]
            if len(rows) > shown:
                found.append(f"  and {len(rows) - shown} more kinds of row")
    if found:
        return found
    wanted, got = by_user(expected), by_user(actual)
    wrong = [user for user in wanted if wanted[user] != got[user]]
    if wrong:
        found.append(f"{name}: rows of {len(wrong)} users are out of order")
        for user in wrong[:shown]:
            pairs = enumerate(zip(wanted[user], got[user]))
            at = next(i for i, pair in pairs if pair[0] != pair[1])
            found.append(f"  user {user}, row {at}: expected {wanted[user][at]}")
            found.append(f"  user {user}, row {at}: found    {got[user][at]}")
    return found


def by_user(rows):
    """Groups row texts by user, in their order."""
    groups = {}
    for text in rows:
        groups.setdefault(json.loads(text)["user"], []).append(text)
    return groups
