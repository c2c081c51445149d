#!/usr/bin/env python3
"""Computes what the job `fraud-p` must write, or checks a directory that it wrote.

    fraud_p.py --generate 100000 --assign user                  prints the rows, in order of events
    fraud_p.py --generate 100000 --assign user --check DIR      every field, in order per user
    fraud_p.py --generate 100000 --check DIR                    what holds in any order:

(a) the multiset of (user, ts, amount), and (b) per user and UTC hour the counts are 1 .. n, each
once; (b) only as long as all events lie in one hour. Use --splits 1 for every field of a stream
that one split emits. Exit code 0: equal, 1: different, 2: usage.
"""

import argparse
import pathlib
import re
import sys

import stream

HOUR = 3_600_000
ROW = re.compile(
    r'\{"user":(\d+),"ts":(\d+),"amount":(\d+),"tx_count_1h":(\d+),"fraud":(true|false)\}'
)


class Profile:
    """The state of one user."""

    def __init__(self):
        self.hour_start = self.count = self.total = self.tx_total = 0
        self.average = 0.0

    def judge(self, ts, amount):
        hour = ts - ts % HOUR
        if hour > self.hour_start:
            self.hour_start, self.count, self.total = hour, 0, 0
        self.count += 1
        self.total += amount
        fraud = self.count > 5 or (self.tx_total > 0 and float(amount) > self.average * 10.0)
        if self.tx_total == 0:
            self.average = float(amount)
        else:
            self.average = self.average + (float(amount) - self.average) * 0.05
        self.tx_total += 1
        return self.count, fraud


def rows(events):
    """The rows of all events, in their order."""
    profiles = {}
    for user, ts, amount in events:
        profile = profiles.get(user)
        if profile is None:
            profile = profiles[user] = Profile()
        count, fraud = profile.judge(ts, amount)
        flag = "true" if fraud else "false"
        yield (
            f'{{"user":{user},"ts":{ts},"amount":{amount},"tx_count_1h":{count},"fraud":{flag}}}'
        )


def written(directory):
    """The rows of a directory, without blanks between tokens."""
    return [re.sub(r"\s", "", line) for _, _, line in stream.part_lines(directory)]


def check_any_order(events, directory):
    """Differences in what holds in any order."""
    found, missing, counts = [], {}, {}
    last = stream.T0
    for event in events:
        missing[event] = missing.get(event, 0) + 1
        last = event[1]
    for text in written(directory):
        match = ROW.fullmatch(text)
        if not match:
            found.append(f"malformed row: {text}")
            continue
        user, ts, amount, count = (int(match[i]) for i in range(1, 5))
        event = (user, ts, amount)
        missing[event] = missing.get(event, 0) - 1
        counts.setdefault((user, ts // HOUR), []).append(count)
    found += [
        f"(a) {'missing' if n > 0 else 'unexpected'} {abs(n)} x {event}"
        for event, n in missing.items() if n
    ]
    if last // HOUR > stream.T0 // HOUR:
        print("(b) not checked: the events lie in more than one hour", file=sys.stderr)
        return found
    for (user, hour), seen in counts.items():
        if sorted(seen) != list(range(1, len(seen) + 1)):
            found.append(f"(b) user {user}, hour {hour * HOUR}: counts {sorted(seen)[:20]}")
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--generate", type=int, required=True, metavar="N")
    stream.add_stream_arguments(parser)
    parser.add_argument("--assign", choices=("index", "user"), default="index")
    parser.add_argument("--splits", type=int, help="1: every field holds with --assign index too")
    parser.add_argument("--check", type=pathlib.Path, metavar="DIR")
    parser.add_argument("--shown", type=int, default=40, help="differences printed")
    arguments = parser.parse_args()
    events = stream.events(arguments.generate, arguments.users, arguments.seed, arguments.skew)
    if arguments.check is None:
        sys.stdout.writelines(text + "\n" for text in rows(events))
        return
    if not arguments.check.is_dir():
        parser.error(f"{arguments.check} is no directory")
    if arguments.assign == "user" or arguments.splits == 1:
        found = stream.differences("fraud-p", list(rows(events)), written(arguments.check))
    else:
        found = check_any_order(events, arguments.check)
    print("\n".join(found[: arguments.shown]) if found else f"equal: {arguments.generate} rows")
    if len(found) > arguments.shown:
        print(f"and {len(found) - arguments.shown} more differences")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
