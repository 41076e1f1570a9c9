# SPDX-License-Identifier: MIT
"""Many functions and many calls through the genuine Python SDK: lists, pages, chunks."""

import http.client
import unittest
from concurrent.futures import ThreadPoolExecutor

import settings
from cdf_support import FOLDER, client, ready
from gateway import Gateway

FUNCTIONS = 1000
CALLS = 10_000
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

    def test_ten_thousand_calls(self):
        address = self.host.url.removeprefix("http://")
        headers = {"Authorization": f"Bearer {self.host.token}", "Content-Type": "application/json"}

        def submit(part):
            connection = http.client.HTTPConnection(address)
            for number in range(part, CALLS, THREADS):
                connection.request("POST", "/v1/functions/first/call", body=b'{"n":%d}' % number, headers=headers)
                reply = connection.getresponse()
                reply.read()
                assert reply.status == 200, reply.status
            connection.close()

        before = len(self.first.list_calls(limit=None))
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(submit, range(THREADS)))
        calls = self.first.list_calls(limit=None)  # ten pages of a thousand
        self.assertEqual(len(calls) - before, CALLS)
        self.assertEqual(len(set(calls.as_ids())), len(calls))
        self.assertEqual(calls.as_ids(), sorted(calls.as_ids(), reverse=True))
        self.assertEqual(self.first.list_calls(limit=2500).as_ids(), calls.as_ids()[:2500])
        self.assertEqual(len(self.first.list_calls(status="Failed", limit=None)), 0)


if __name__ == "__main__":
    unittest.main()
