#!/usr/bin/env python3
"""Computes what the job `fraud` must write, for a CSV file of purchases or a generated stream.

    fraud.py FILE.csv [--max-lateness 2d] [--only alerts]
    fraud.py --generate 100000 --users 1000 [--only hourly]

Prints `KIND ROW` lines, or with --only the rows of that kind as the job writes them.
"""

import argparse
import datetime
import re
import sys

import stream

KINDS = ("alerts", "hourly", "late", "dead-letter")
HEADER = ["customer_id", "date", "cds", "dollars"]
HOUR = 3_600_000
DAY = 24 * HOUR
TEXT_MAX = 1024


class Malformed(Exception):
    """A line that is no row."""


def fields_of(text):
    """Splits a line at commas outside double quotes."""
    fields = []
    while True:
        match = re.match(r'"((?:[^"]|"")*)"(?=,|\Z)|([^",][^,]*)?(?=,|\Z)', text)
        if not match:
            raise Malformed("bad quotes")
        fields.append(match[1] if match[1] is not None else match[2] or "")
        text = text[match.end():]
        if not text:
            return fields
        text = text[1:]


def whole(text, name):
    """An unsigned 64-bit number."""
    # The bound on digits comes first: Python refuses to convert thousands of them.
    if not re.fullmatch(r"0*[0-9]{1,20}", text) or int(text[-20:]) >= 2**64:
        raise Malformed(f"{name} {text!r}")
    return int(text[-20:])


def parse(line):
    """(user, date, cents) of a line, which is given as bytes without its end."""
    try:
        fields = fields_of(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise Malformed("not UTF-8") from error
    if len(fields) != len(HEADER):
        raise Malformed(f"{len(fields)} columns")
    user = whole(fields[0], "customer_id")
    if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", fields[1]):
        raise Malformed(f"date {fields[1]!r}")
    try:
        date = datetime.date.fromisoformat(fields[1])
    except ValueError as error:
        raise Malformed(str(error)) from error
    whole(fields[2], "cds")
    match = re.fullmatch(r"0*([0-9]{1,20})(?:\.([0-9]{1,2}))?", fields[3])
    if not match:
        raise Malformed(f"dollars {fields[3]!r}")
    cents = int(match[1]) * 100 + int((match[2] or "0").ljust(2, "0"))
    if cents >= 2**63:
        raise Malformed(f"dollars {fields[3]!r}")
    return user, date, cents


def cut(line):
    """The text of a dead letter: at most 1 KiB, cut between two characters."""
    text = line.decode("utf-8", errors="replace").encode("utf-8")
    return text[:TEXT_MAX].decode("utf-8", errors="ignore")


def purchases(path, dead):
    """Yields (user, ts, cents) of a file in its order, and appends dead letters to `dead`."""
    epoch = datetime.date(1970, 1, 1)
    rows_of = {}
    with open(path, "rb") as file:
        lines = file.read().split(b"\n")
    lines = [line[:-1] if line.endswith(b"\r") else line for line in lines]
    if fields_of(lines[0].decode("utf-8-sig")) != HEADER:
        raise SystemExit(f"{path}: the first line is not {','.join(HEADER)}")
    for number, line in enumerate(lines[1:], 2):
        if not line:
            continue
        try:
            user, date, cents = parse(line)
        except Malformed as error:
            dead.append({"file": str(path), "line": number, "error": str(error), "text": cut(line)})
            continue
        k = rows_of.get(date, 0)
        rows_of[date] = k + 1
        yield user, (date - epoch).days * DAY + k * 1000, cents


class Rules:
    """All that is known of one user."""

    def __init__(self):
        self.hours = {}
        self.days = {}
        self.newest_day = None

    def judge(self, ts, cents, late):
        """The columns of an alert from `velocity` on."""
        day, hour = ts // DAY, ts // HOUR
        self.newest_day = day if self.newest_day is None else max(self.newest_day, day)
        first = max(day - 29, self.newest_day - 30)
        earlier = [p for d in range(first, day + 1) for p in [self.days.get(d)] if p]
        n, total = sum(p[0] for p in earlier), sum(p[1] for p in earlier)
        kept = self.days.setdefault(day, [0, 0])
        kept[0] += 1
        kept[1] += cents
        count = 0
        if not late:
            count = self.hours[hour] = self.hours.get(hour, 0) + 1
        return {
            "velocity": count > 5,
            "amount": n > 0 and cents * n > 10 * total,
            "tx_count_1h": count,
            "n_30d": n,
            "sum_30d_cents": total,
        }


class Hourly:
    """The tumbling window of one hour per user: count and sum."""

    def __init__(self):
        self.windows = {}
        self.waiting = {}

    def add(self, user, ts, cents, watermark):
        """Adds a purchase that is not late; yields a row if its window has fired before."""
        start = ts - ts % HOUR
        window = self.windows.setdefault((user, start), [0, 0])
        window[0] += 1
        window[1] += cents
        if watermark is not None and start + HOUR - 1 <= watermark:
            yield self.row(user, start)
        else:
            self.waiting.setdefault(start, {})[user] = True

    def advance(self, watermark):
        """Yields rows of the windows that fire; `None` is the end of the input."""
        due = [s for s in self.waiting if watermark is None or s + HOUR - 1 <= watermark]
        for start in sorted(due):
            for user in sorted(self.waiting.pop(start)):
                yield self.row(user, start)

    def row(self, user, start):
        count, total = self.windows[user, start]
        return stream.row(
            user=user, window_start=start, window_end=start + HOUR, count=count, sum_cents=total
        )


def judge_all(source, lateness, out):
    """Appends rows to the lists of `out`, by kind."""
    users, hourly, newest = {}, Hourly(), None
    for user, ts, cents in source:
        watermark = None if newest is None else newest - 1
        end = ts - ts % HOUR + HOUR
        late = watermark is not None and end - 1 + lateness <= watermark
        verdict = users.setdefault(user, Rules()).judge(ts, cents, late)
        if verdict["velocity"] or verdict["amount"]:
            out["alerts"].append(stream.row(user=user, ts=ts, amount_cents=cents, **verdict))
        if late:
            late_row = stream.row(user=user, ts=ts, amount_cents=cents, watermark=watermark)
            out["late"].append(late_row)
        else:
            out["hourly"] += hourly.add(user, ts, cents, watermark)
        if newest is None or ts > newest:
            newest = ts
            out["hourly"] += hourly.advance(newest - 1)
    out["hourly"] += hourly.advance(None)


def expected(arguments):
    """Rows by kind; dead letters as dictionaries."""
    out = {kind: [] for kind in KINDS}
    if arguments.input:
        source = purchases(arguments.input, out["dead-letter"])
    else:
        source = stream.events(arguments.generate, arguments.users, arguments.seed, arguments.skew)
    judge_all(source, arguments.max_lateness, out)
    return out


def add_arguments(parser):
    """Adds what describes the input, named as the job names it."""
    parser.add_argument("--generate", type=int, metavar="N")
    parser.add_argument("--max-lateness", type=stream.duration_ms, default=0, metavar="DURATION")
    stream.add_stream_arguments(parser)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("input", nargs="?", metavar="FILE.csv")
    add_arguments(parser)
    parser.add_argument("--only", choices=KINDS)
    arguments = parser.parse_args()
    if (arguments.input is None) == (arguments.generate is None):
        parser.error("give either FILE.csv or --generate N")
    out = expected(arguments)
    out["dead-letter"] = [stream.row(**fields) for fields in out["dead-letter"]]
    for kind in KINDS:
        if arguments.only in (None, kind):
            prefix = "" if arguments.only else kind + " "
            sys.stdout.writelines(f"{prefix}{text}\n" for text in out[kind])


if __name__ == "__main__":
    main()
