#!/usr/bin/env python3
"""Tests of the oracles: the known answer, hand-made cases, and that a wrong output is noticed."""

import argparse
import json
import pathlib
import random
import subprocess
import sys
import tempfile
import unittest

import fraud
import gen_dirty
import stream

HERE = pathlib.Path(__file__).resolve().parent
DATA = HERE.parent.parent / "jobs" / "data"
HEADER = "customer_id,date,cds,dollars\n"


def expected(text, lateness=0):
    """The oracle's rows for a file with this text behind its header."""
    with tempfile.TemporaryDirectory() as directory:
        path = pathlib.Path(directory) / "in.csv"
        path.write_text(HEADER + text, encoding="utf-8", newline="")
        return fraud.expected(argparse.Namespace(input=path, max_lateness=lateness))


def run(program, *arguments):
    """Runs one of the programs; its exit code and output."""
    done = subprocess.run(
        [sys.executable, HERE / program, *map(str, arguments)],
        capture_output=True, text=True, errors="replace",
    )
    return done.returncode, done.stdout + done.stderr


class KnownAnswer(unittest.TestCase):
    def test_the_real_purchases_give_88_alerts(self):
        out = fraud.expected(argparse.Namespace(input=DATA / "cdnow.csv", max_lateness=0))
        rows = [json.loads(text) for text in out["alerts"]]
        self.assertEqual(len(rows), 88)
        self.assertEqual(sum(row["velocity"] for row in rows), 43)
        self.assertEqual(sum(row["amount"] for row in rows), 45)
        self.assertEqual(out["late"] + out["dead-letter"], [])
        self.assertIn(
            '{"user":19339,"ts":858816131000,"amount_cents":19990,"velocity":true,"amount":false,'
            '"tx_count_1h":6,"n_30d":26,"sum_30d_cents":317297}', out["alerts"])
        known = (DATA / "cdnow-alerts.jsonl").read_text().splitlines()
        self.assertEqual(out["alerts"], known)


class Hourly(unittest.TestCase):
    DAY1, DAY2 = 852076800000, 852163200000

    def rows(self, lateness):
        out = expected("1,1997-01-01,1,1\n1,1997-01-02,1,2\n1,1997-01-01,1,4\n"
                       "1,1997-01-02,1,8\n1,1997-01-01,1,16\n", lateness)
        hourly = [json.loads(text) for text in out["hourly"]]
        shown = [(row["window_start"], row["count"], row["sum_cents"]) for row in hourly]
        return shown, [json.loads(text) for text in out["late"]]

    def test_without_lateness_a_window_fires_once_and_the_rest_is_late(self):
        hourly, late = self.rows(0)
        self.assertEqual(hourly, [(self.DAY1, 1, 100), (self.DAY2, 2, 1000)])
        self.assertEqual([row["ts"] for row in late], [self.DAY1 + 1000, self.DAY1 + 2000])
        # 1 ms below the largest time before the purchase.
        self.assertEqual([row["watermark"] for row in late], [self.DAY2 - 1, self.DAY2 + 999])

    def test_with_lateness_a_window_fires_again_for_each_purchase(self):
        hourly, late = self.rows(86_400_000)
        self.assertEqual(hourly, [(self.DAY1, 1, 100), (self.DAY1, 2, 500), (self.DAY1, 3, 2100),
                                  (self.DAY2, 2, 1000)])
        self.assertEqual(late, [])

    def test_the_end_of_the_lateness_is_exact(self):
        last = 23 * 3_600_000
        # The watermark is DAY2 - 1, the hour's last millisecond DAY1 + 3,599,999.
        text = "1,1997-01-02,1,1\n1,1997-01-01,1,1\n"
        self.assertEqual(len(expected(text, last)["late"]), 1)
        self.assertEqual(len(expected(text, last + 1)["late"]), 0)


class Lines(unittest.TestCase):
    ROW = [b"12", b"1997-01-05", b"3", b"29.99"]

    def test_every_malformed_kind_is_refused(self):
        for name, make in gen_dirty.MALFORMED.items():
            with self.subTest(name), self.assertRaises(fraud.Malformed):
                fraud.parse(make(self.ROW))

    def test_every_odd_kind_is_accepted(self):
        for name, make in gen_dirty.ODD.items():
            line = make(self.ROW).removesuffix(b"\r")
            with self.subTest(name):
                self.assertTrue(not line or len(fraud.parse(line)) == 3)

    def test_a_refused_row_takes_no_second_of_its_date(self):
        out = expected("1,1997-01-01,1,1\n1,1997-01-01,1,x\n\n1,1997-01-01,1,99\n")
        self.assertEqual(json.loads(out["alerts"][0])["ts"], 852076801000)
        self.assertEqual([dead["line"] for dead in out["dead-letter"]], [3])

    def test_the_same_seed_gives_the_same_file(self):
        self.assertEqual(run("gen_dirty.py", "--seed", 3), run("gen_dirty.py", "--seed", 3))
        self.assertNotEqual(run("gen_dirty.py", "--seed", 3), run("gen_dirty.py", "--seed", 4))


class Comparison(unittest.TestCase):
    """A directory that is right passes; after any one change it does not."""

    def setUp(self):
        self.place = tempfile.TemporaryDirectory()
        self.addCleanup(self.place.cleanup)
        self.root = pathlib.Path(self.place.name)
        self.csv, self.out = self.root / "in.csv", self.root / "out"
        text = subprocess.run(
            [sys.executable, HERE / "gen_dirty.py", "--rows", "3000", "--users", "20"],
            capture_output=True, check=True).stdout
        self.csv.write_bytes(text)
        rows = fraud.expected(argparse.Namespace(input=self.csv, max_lateness=86_400_000))
        rows["dead-letter"] = [stream.row(**fields) for fields in rows["dead-letter"]]
        for kind in fraud.KINDS:
            self.assertGreater(len(rows[kind]), 20, kind)
            (self.out / kind).mkdir(parents=True)
            # Two parts, split by user where rows have one.
            for part in (0, 1):
                lines = [row for row in rows[kind] if hash_of(row) % 2 == part]
                (self.out / kind / f"part-0-{part}.jsonl").write_text(
                    "".join(line + "\n" for line in lines))

    def check(self):
        return run("compare.py", "--input", self.csv, "--max-lateness", "1d", self.out)

    def test_the_right_rows_are_equal(self):
        code, text = self.check()
        self.assertEqual(code, 0, text)

    def change(self, kind, edit):
        path = self.out / kind / "part-0-0.jsonl"
        lines = path.read_text().splitlines()
        edit(lines)
        path.write_text("".join(line + "\n" for line in lines))
        code, text = self.check()
        self.assertEqual(code, 1, text)
        self.assertIn(kind, text)

    def test_a_missing_row_is_noticed(self):
        for kind in fraud.KINDS:
            with self.subTest(kind):
                self.change(kind, lambda lines: lines.pop(5))

    def test_a_row_twice_is_noticed(self):
        for kind in fraud.KINDS:
            with self.subTest(kind):
                self.change(kind, lambda lines: lines.append(lines[7]))

    def test_another_order_of_a_users_rows_is_noticed(self):
        for kind in ("alerts", "hourly", "late"):
            with self.subTest(kind):
                def swap(lines):
                    user = json.loads(lines[0])["user"]
                    at = [i for i, line in enumerate(lines) if json.loads(line)["user"] == user]
                    lines[at[0]], lines[at[-1]] = lines[at[-1]], lines[at[0]]
                self.change(kind, swap)

    def test_another_order_of_keys_is_noticed(self):
        for kind in fraud.KINDS:
            with self.subTest(kind):
                def turn(lines):
                    lines[3] = json.dumps(dict(reversed(json.loads(lines[3]).items())))
                self.change(kind, turn)

    def test_another_figure_is_noticed(self):
        self.change("alerts", lambda lines: lines.__setitem__(
            0, lines[0].replace('"n_30d":', '"n_30d":1')))

    def test_a_part_that_was_not_finished_is_noticed(self):
        (self.out / "alerts" / ".part-0-2.jsonl.open").write_text("")
        code, text = self.check()
        self.assertEqual(code, 1, text)


class FixedSize(unittest.TestCase):
    """The checks of `fraud-p`."""

    def setUp(self):
        self.place = tempfile.TemporaryDirectory()
        self.addCleanup(self.place.cleanup)
        self.out = pathlib.Path(self.place.name)
        self.rows = run("fraud_p.py", "--generate", 5000, "--users", 300)[1].splitlines()

    def check(self, rows, *arguments):
        (self.out / "part-0-0.jsonl").write_text("".join(row + "\n" for row in rows))
        return run("fraud_p.py", "--generate", 5000, "--users", 300, "--check", self.out,
                   *arguments)[0]

    def test_the_first_rows_are_these(self):
        # The first number of splitmix64 with seed 42.
        self.assertEqual(stream.mix((42 + stream.GAMMA) & stream.MASK), 13679457532755275413)
        self.assertTrue(self.rows[0].startswith('{"user":222,"ts":1699999200000,'), self.rows[0])

    def test_the_right_rows_are_equal_in_any_order_of_users(self):
        rows = sorted(self.rows, key=lambda row: json.loads(row)["user"])
        self.assertEqual(self.check(rows), 0)
        self.assertEqual(self.check(rows, "--assign", "user"), 0)

    def test_any_order_passes_where_order_is_free_and_fails_where_it_is_not(self):
        rows = self.rows[:]
        random.Random(1).shuffle(rows)
        self.assertEqual(self.check(rows), 0)
        self.assertEqual(self.check(rows, "--assign", "user"), 1)

    def test_a_wrong_count_or_amount_or_a_missing_row_is_noticed(self):
        for key in ("tx_count_1h", "amount"):
            row = json.loads(self.rows[40])
            row[key] += 1
            self.assertEqual(self.check(self.rows[:40] + [stream.row(**row)] + self.rows[41:]), 1)
        self.assertEqual(self.check(self.rows[1:]), 1)


def hash_of(row):
    """The part that a row of the test's output goes to: by user, or by line."""
    fields = json.loads(row)
    return fields["user"] if "user" in fields else fields["line"]


if __name__ == "__main__":
    unittest.main()
