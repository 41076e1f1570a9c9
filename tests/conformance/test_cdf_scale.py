# SPDX-License-Identifier: MIT
"""Many functions and many calls through the genuine Python SDK: lists, pages, chunks."""

import http.client
import sqlite3
import time
import unittest
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import settings
from cdf_support import FOLDER, client, ready
from gateway import Gateway

FUNCTIONS = 1000
CALLS = 10_000
DOOMED = 5000
THREADS = 4


class Scale(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.host = Gateway(settings.build).start()
        cls.addClassCleanup(cls.host.stop)
        cls.cdf = client(cls.host)
        cls.first = ready(cls.cdf.functions.create(name="first", folder=FOLDER, external_id="first"))

    def test_a_thousand_functions(self):
        def create(number):
            return self.cdf.functions.create(
                name=f"f{number}", file_id=self.first.file_id, external_id=f"many-{number}", owner="many"
            ).id

        with ThreadPoolExecutor(THREADS) as pool:
            ids = list(pool.map(create, range(FUNCTIONS)))
        listed = self.cdf.functions.list(external_id_prefix="many-", limit=-1)
        self.assertEqual({function.id for function in listed}, set(ids))
        self.assertEqual(len(self.cdf.functions.list(owner="many")), 25)
        self.assertEqual(len(self.cdf.functions.list(owner="many", limit=999)), 999)
        self.assertEqual(len(list(self.cdf.functions(owner="many"))), FUNCTIONS)
        found = self.cdf.functions.retrieve_multiple(ids=ids)  # a hundred requests of ten
        self.assertEqual([function.id for function in found], ids)
        self.cdf.functions.delete(id=ids)
        self.assertEqual(len(self.cdf.functions.list(owner="many", limit=-1)), 0)

    def submit(self, function, count):
        address = self.host.url.removeprefix("http://")
        headers = {"Authorization": f"Bearer {self.host.token}", "Content-Type": "application/json"}

        def part(first):
            connection = http.client.HTTPConnection(address)
            for number in range(first, count, THREADS):
                connection.request("POST", f"/v1/functions/{function}/call", body=b'{"n":%d}' % number, headers=headers)
                reply = connection.getresponse()
                reply.read()
                assert reply.status == 200, reply.status
            connection.close()

        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(part, range(THREADS)))

    def test_ten_thousand_calls(self):
        before = len(self.first.list_calls(limit=None))
        self.submit("first", CALLS)
        calls = self.first.list_calls(limit=None)  # ten pages of a thousand
        self.assertEqual(len(calls) - before, CALLS)
        self.assertEqual(len(set(calls.as_ids())), len(calls))
        self.assertEqual(calls.as_ids(), sorted(calls.as_ids(), reverse=True))
        self.assertEqual(self.first.list_calls(limit=2500).as_ids(), calls.as_ids()[:2500])
        self.assertEqual(len(self.first.list_calls(status="Failed", limit=None)), 0)

    def rows(self, function_id):
        with closing(sqlite3.connect(f"file:{self.host.data}/perilune.db?mode=ro", uri=True)) as store:
            return store.execute("SELECT count(*) FROM calls WHERE function_id = ?", (function_id,)).fetchone()[0]

    def test_a_function_with_many_calls_is_deleted_while_others_are_called(self):
        function = ready(self.cdf.functions.create(name="doomed", file_id=self.first.file_id, external_id="doomed"))
        self.submit("doomed", DOOMED)
        one = function.list_calls(limit=1)[0]
        self.cdf.functions.delete(id=function.id)
        self.assertIsNone(self.cdf.functions.retrieve(id=function.id))
        self.assertIsNone(self.cdf.functions.calls.retrieve(one.id, function_id=function.id))
        again = ready(self.cdf.functions.create(name="doomed", file_id=self.first.file_id, external_id="doomed"))
        self.assertEqual(len(again.list_calls()), 0)
        deadline = time.monotonic() + 60
        while self.rows(function.id):
            self.assertLess(time.monotonic(), deadline, "its calls are still stored")
            self.assertEqual(again.call(data={"day": "monday"}).status, "Completed")
        self.assertGreater(len(again.list_calls(limit=-1)), 0)


if __name__ == "__main__":
    unittest.main()
