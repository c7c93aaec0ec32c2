"""The verifier itself: a made-up account that is right has no problem, and each kind of wrong one is found."""

import json
import os
import shutil
import sqlite3
import tempfile
import unittest
from types import SimpleNamespace

import numbered
from verifier import Account

NUMBERS = range(1, 700)  # some of them fail once, two are rejected, one uses its attempts up
LATER, REJECTED, EXHAUSTED = 7, 3, 5


class Verifier(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="weir-", dir="/tmp")
        self.addCleanup(shutil.rmtree, self.dir)
        self.ids = {number: f"ID{number}" for number in NUMBERS}
        self.rows, self.letters, self.handled = [], [], []
        for number in NUMBERS:
            fate = numbered.fate(number)
            attempts = {"later": 2, "attempts": 10}.get(fate, 1)
            self.handled += [(number, attempt, numbered.outcome(number, attempt)) for attempt in range(1, attempts + 1)]
            if fate in ("done", "later"):
                self.rows.append({"id": self.ids[number], "group": "g", "attempt": attempts, "result": numbered.result(number)})
            else:
                self.letters.append([self.ids[number], "g", 1, fate, attempts, '[{"attempt":1}]', numbered.payload(number)])

    def account(self):
        with open(os.path.join(self.dir, "sink"), "w") as file:
            file.writelines(json.dumps(row) + "\n" for row in self.rows)
        with open(os.path.join(self.dir, "handled"), "w") as file:
            file.writelines("%d %d %s\n" % entry for entry in self.handled)
        path = os.path.join(self.dir, "letters")
        if os.path.exists(path):
            os.unlink(path)
        with sqlite3.connect(path) as database:
            database.execute('CREATE TABLE dead_letters (id, "group", death, reason, attempts, history, payload)')
            database.executemany("INSERT INTO dead_letters VALUES (?, ?, ?, ?, ?, ?, ?)", self.letters)
        sender = SimpleNamespace(confirmed=lambda: {str(number): id for number, id in self.ids.items()})
        account = Account([sender], ("g",), os.path.join(self.dir, "sink"), path,
                          lambda group: os.path.join(self.dir, "handled"), ordered=("g",))
        return account, account.account()

    def kinds(self):
        return self.account()[1]["problems"]

    def row(self, number):
        (row,) = [row for row in self.rows if row["id"] == self.ids[number]]
        return row

    def test_all_is_well(self):
        account, summary = self.account()
        self.assertEqual((account.problems, summary["confirmed"]), ([], len(NUMBERS)))
        self.assertEqual(summary["groups"]["g"], {"done": len(self.rows), "dead": len(self.letters), "missing": 0,
                                                  "handled more often than needed": 0, "later attempts than needed": 0})
        self.assertEqual({numbered.fate(number) for number in (LATER, REJECTED, EXHAUSTED)}, {"later", "rejected", "attempts"})

    def test_missing(self):
        self.rows.remove(self.row(10))
        del self.letters[0]
        account, summary = self.account()
        self.assertEqual((summary["problems"], summary["groups"]["g"]["missing"]), ({"missing": 2}, 2))
        self.assertIn("missing: 10 of g, ID10", account.problems)

    def test_twice_at_the_sink(self):
        self.rows.append(self.row(10))
        account, summary = self.account()
        self.assertEqual((summary["problems"], summary["sink duplicates written"]), ({"twice at the sink": 1}, 1))

    def test_twice_at_the_collector(self):
        self.letters.append([*self.letters[0][:2], 2, *self.letters[0][3:]])
        self.assertEqual(self.kinds(), {"twice at the collector": 1})

    def test_done_and_dead(self):
        self.rows.append({"id": self.ids[REJECTED], "group": "g", "attempt": 1, "result": numbered.result(REJECTED)})
        self.assertEqual(self.kinds(), {"done and dead": 1, "done, but has to fail": 1})

    def test_dead_without_cause(self):
        self.rows.remove(self.row(10))
        self.letters.append([self.ids[10], "g", 1, "attempts", 10, '[{"attempt":1}]', numbered.payload(10)])
        self.assertEqual(self.kinds(), {"dead without cause": 1})

    def test_dead_without_history(self):
        self.letters[0][5] = "[]"
        self.assertEqual(self.kinds(), {"dead without cause": 1})

    def test_wrong_content(self):
        self.row(10)["result"] = numbered.result(11)
        self.letters[0][6] = b"something else"
        self.assertEqual(self.kinds(), {"wrong result": 1, "wrong payload": 1})

    def test_never_confirmed(self):
        self.rows.append({**self.row(10), "id": "ID0"})
        self.letters.append(["ID00", *self.letters[0][1:]])
        self.assertEqual(self.kinds(), {"at the sink, never confirmed": 1, "at the collector, never confirmed": 1})

    def test_one_id_for_two(self):
        self.ids[11] = self.ids[10]
        self.assertIn("one id for two messages", self.kinds())

    def test_out_of_order(self):
        first, second = (10, 1, "done"), (10 + numbered.KEYS, 1, "done")
        self.handled.remove(second)
        self.handled.insert(self.handled.index(first), second)
        self.assertEqual(self.kinds(), {"out of order": 1})

    def test_handled_again_is_counted(self):
        self.handled += [(10, 1, "done"), (LATER, 2, "done")]
        self.row(10)["attempt"] = 2
        counts = self.account()[1]["groups"]["g"]
        self.assertEqual((counts["handled more often than needed"], counts["later attempts than needed"]), (2, 1))


unittest.main(verbosity=2)
