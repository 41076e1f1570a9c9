# SPDX-License-Identifier: MIT
"""Schedules of the genuine Python SDK against the host's Functions door, and what handlers do with their client."""

import json
import tempfile
import time
import unittest
import urllib.request
import warnings
from pathlib import Path

import settings
from cdf_support import client, ready
from cognite.client.credentials import OAuthClientCredentials
from cognite.client.data_classes import ClientCredentials, FunctionScheduleWrite, TimestampRange
from cognite.client.data_classes.functions import FunctionSchedule, FunctionSchedulesList
from cognite.client.exceptions import CogniteAPIError, CogniteNotFoundError
from gateway import Gateway

HANDLER = """-- SPDX-License-Identifier: MIT
return {
  handle = function(ctx)
    local data = ctx.data
    if data.names then
      local names = {}
      for fn in ctx.client.functions:each {} do names[#names + 1] = fn.name end
      return names
    elseif data.call then
      local fn = assert(ctx.client.functions:retrieve { external_id = data.call })
      local call = assert(fn:call { data = { from = ctx.call.id } })
      return { status = call.status, response = call:get_response(), log = call:get_logs():to_text() }
    elseif data.schedule then
      local made = assert(ctx.client.functions.schedules:create { name = "by a handler",
        cron_expression = data.schedule, function_id = ctx.call.function_id, data = { deep = { 1, 2 } } })
      return { id = made.id, when = made.when }
    end
    print("scheduled", ctx.call.schedule_id ~= nil)
    return { data = data, schedule_id = ctx.call.schedule_id, scheduled_time = ctx.call.scheduled_time }
  end,
}
"""


class Schedules(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.host = Gateway(settings.build, "--sandboxes", "2").start()
        cls.addClassCleanup(cls.stop_host)
        cls.cdf = client(cls.host)
        cls.api = cls.cdf.functions.schedules
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "handler.py").write_text("def handle(client, data):\n    return 1\n", encoding="utf-8")
            Path(folder, "handler.lua").write_text(HANDLER, encoding="utf-8")
            cls.function = ready(cls.cdf.functions.create(name="ticks", folder=folder, external_id="ticks-ø"))
        assert cls.function.status == "Ready", cls.function.error

    @classmethod
    def stop_host(cls):
        code = cls.host.stop()
        assert code == 0, f"the host ended with {code}"

    def make(self, name="nightly", cron="0 3 * * *", **more):
        schedule = self.api.create(name=name, cron_expression=cron, function_id=self.function.id, **more)
        self.addCleanup(self.drop, schedule.id)
        return schedule

    def drop(self, schedule_id):
        if self.api.retrieve(schedule_id) is not None:
            self.api.delete(schedule_id)

    def session(self, session_id):
        return self.cdf.iam.sessions.retrieve(session_id)

    def test_create_with_own_credentials(self):
        schedule = self.make(description="dø", data={"k": [1, None], "n": 9007199254740993})
        self.assertIsInstance(schedule, FunctionSchedule)
        self.assertEqual((schedule.name, schedule.description), ("nightly", "dø"))
        self.assertEqual((schedule.cron_expression, schedule.when), ("0 3 * * *", "At 03:00 AM"))
        self.assertEqual(schedule.function_id, self.function.id)
        self.assertGreater(schedule.created_time, 1_700_000_000_000)
        session = self.session(schedule.session_id)
        self.assertEqual((session.type, session.status), ("TOKEN_EXCHANGE", "ACTIVE"))
        self.assertIn("2099", str(session))
        self.assertEqual(schedule.get_input_data(), {"k": [1, None], "n": 9007199254740993})
        self.assertEqual(self.api.get_input_data(schedule.id), {"k": [1, None], "n": 9007199254740993})

    def test_create_with_given_credentials(self):
        for given in (
            ClientCredentials("robot", self.host.token),
            {"client_id": "robot", "client_secret": self.host.token},
        ):
            session = self.session(self.make(client_credentials=given).session_id)
            self.assertEqual((session.type, session.client_id), ("CLIENT_CREDENTIALS", "robot"))
        with self.assertRaises(CogniteAPIError):
            self.make(client_credentials=ClientCredentials("robot", "wrong"))

    def test_create_as_an_oauth_client(self):
        credentials = OAuthClientCredentials(
            token_url=f"{self.host.url}/oauth2/token", client_id="app", client_secret=self.host.token, scopes=None
        )
        cdf = client(self.host, credentials)
        schedule = cdf.functions.schedules.create("oauth", "0 3 * * *", function_id=self.function.id)
        self.addCleanup(self.drop, schedule.id)
        self.assertEqual(self.session(schedule.session_id).client_id, "app")

    def test_create_from_a_written_object_and_its_nonce(self):
        session = self.cdf.iam.sessions.create()
        write = FunctionScheduleWrite(
            name="written", cron_expression="*/5 * * * MON-FRI", function_id=self.function.id, nonce=session.nonce
        )
        schedule = self.api.create(write)
        self.addCleanup(self.drop, schedule.id)
        self.assertEqual(schedule.session_id, session.id)
        self.assertIsNone(schedule.get_input_data())
        with self.assertRaises(CogniteAPIError) as caught:
            self.api.create(write)  # the nonce is used
        self.assertEqual(caught.exception.code, 400)
        self.assertIn("nonce", caught.exception.message)
        self.api.delete(schedule.id)
        self.assertEqual(self.session(session.id).status, "REVOKED")

    def test_create_by_external_id(self):
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            schedule = self.api.create("external", "0 3 * * *", function_external_id="ticks-ø")
        self.addCleanup(self.drop, schedule.id)
        self.assertTrue(any(issubclass(one.category, UserWarning) for one in seen))
        self.assertEqual(schedule.function_id, self.function.id)

    def test_create_is_refused(self):
        for cron in ("61 3 * * *", "* * * * * *", "@daily", "nonsense", ""):
            with self.subTest(cron=cron), self.assertRaises(CogniteAPIError) as caught:
                self.make(cron=cron)
            self.assertEqual(caught.exception.code, 400)
            self.assertIn("cronExpression", caught.exception.message)
        for name in ("", "n" * 141):
            with self.assertRaises(CogniteAPIError):
                self.make(name=name)
        with self.assertRaises(CogniteAPIError):
            self.make(description="d" * 501)
        with self.assertRaises(CogniteNotFoundError) as missing:
            self.api.create("x", "0 3 * * *", function_id=4242)
        self.assertEqual(missing.exception.missing, [{"id": 4242}])
        for ids in ({}, {"function_id": self.function.id, "function_external_id": "ticks-ø"}):
            with self.assertRaises(ValueError):
                self.api.create("x", "0 3 * * *", **ids)

    def test_list_with_every_filter(self):
        one, two = self.make("one", "0 3 * * *"), self.make("two", "5 4 * * *")
        names = lambda **filters: [schedule.name for schedule in self.api.list(**filters)]
        self.assertEqual(names(), ["two", "one"])
        self.assertEqual(names(name="one"), ["one"])
        self.assertEqual(names(cron_expression="5 4 * * *"), ["two"])
        self.assertEqual(names(function_id=self.function.id, limit=-1), ["two", "one"])
        self.assertEqual(names(function_id=4242, limit=None), [])
        self.assertEqual(names(function_external_id="ticks-ø", name="two"), ["two"])
        self.assertEqual(names(function_external_id="nope"), [])
        created = TimestampRange(min=one.created_time, max=one.created_time)
        self.assertIn("one", names(created_time=created))
        self.assertEqual(names(created_time={"min": two.created_time + 1}), [])
        self.assertEqual(names(limit=1), ["two"])
        with self.assertRaises(ValueError):
            self.api.list(function_id=1, function_external_id="x")
        with self.assertRaises(CogniteAPIError):
            self.api.list(limit=0)
        of_function = self.function.list_schedules()
        self.assertIsInstance(of_function, FunctionSchedulesList)
        self.assertEqual(of_function.as_ids(), [two.id, one.id])
        self.assertEqual(of_function.get(id=one.id).name, "one")
        self.assertEqual(of_function[:1].as_ids(), [two.id])

    def test_iteration(self):
        made = {self.make(f"s{number}").id for number in range(30)}
        self.assertEqual({schedule.id for schedule in self.api()}, made)
        self.assertEqual(len(self.api.list()), 25)
        chunks = list(self.api(chunk_size=7, name="s1"))
        self.assertEqual([len(chunk) for chunk in chunks], [1])
        self.assertEqual(sum(len(chunk) for chunk in self.api(chunk_size=7, limit=29)), 29)

    def test_retrieve(self):
        one, two = self.make("one"), self.make("two")
        found = self.api.retrieve(one.id)
        self.assertEqual(found.dump(), one.dump())
        self.assertIsNone(self.api.retrieve(123))
        self.assertEqual(self.api.retrieve([two.id, one.id]).as_ids(), [two.id, one.id])
        with self.assertRaises(CogniteNotFoundError) as caught:
            self.api.retrieve([one.id, 123])
        self.assertEqual(caught.exception.missing, [{"id": 123}])
        self.assertEqual(self.api.retrieve([one.id, 123], ignore_unknown_ids=True).as_ids(), [one.id])
        with self.assertRaises(CogniteAPIError) as caught:
            self.api.retrieve([one.id, one.id])
        self.assertEqual(caught.exception.code, 400)
        self.assertIn("more than once", caught.exception.message)

    def test_as_write(self):
        schedule = self.make("again", "5 4 * * *", description="d", data={"a": 1.0})
        written = schedule.as_write()
        self.assertIsInstance(written, FunctionScheduleWrite)
        self.assertEqual((written.name, written.cron_expression, written.data), ("again", "5 4 * * *", {"a": 1.0}))
        second = self.api.create(written)
        self.addCleanup(self.drop, second.id)
        self.assertEqual(second.get_input_data(), {"a": 1.0})
        self.assertNotEqual(second.session_id, schedule.session_id)
        self.assertEqual([one.name for one in self.api.retrieve([schedule.id, second.id]).as_write()], ["again"] * 2)
        self.assertIn('"cron_expression": "5 4 * * *"', str(schedule))

    def test_delete(self):
        schedule = self.make()
        self.assertIsNone(self.api.delete(schedule.id))
        self.assertIsNone(self.api.retrieve(schedule.id))
        self.assertEqual(self.session(schedule.session_id).status, "REVOKED")
        with self.assertRaises(CogniteNotFoundError):
            self.api.delete(schedule.id)
        with self.assertRaises(CogniteAPIError):
            self.api.get_input_data(schedule.id)

    def test_a_deleted_function_takes_its_schedules_along(self):
        function = ready(self.cdf.functions.create(name="gone", file_id=self.function.file_id))
        made = [self.api.create(f"s{number}", "0 3 * * *", function_id=function.id) for number in range(3)]
        self.cdf.functions.delete(id=function.id)
        self.assertEqual(self.api.list(function_id=function.id), [])
        self.assertIsNone(self.api.retrieve(made[0].id))
        sessions = self.cdf.iam.sessions.retrieve([schedule.session_id for schedule in made])
        self.assertEqual({session.status for session in sessions}, {"REVOKED"})

    def native(self, method, path, body=None):
        """The host's own door: its cron has seconds, so that nobody waits a minute."""
        request = urllib.request.Request(
            f"{self.host.url}{path}",
            data=None if body is None else json.dumps(body).encode(),
            method=method,
            headers={"Authorization": f"Bearer {self.host.token}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request) as reply:
            return json.load(reply)

    def test_ticks(self):
        fields = {"function": str(self.function.id), "cron": "* * * * * *", "data": {"rows": [1, 2]}}
        schedule_id = self.native("PUT", "/v1/schedules/each-second", fields)["id"]
        deadline = time.monotonic() + 30
        while len(self.function.list_calls(schedule_id=schedule_id, status="Completed")) < 2:
            self.assertLess(time.monotonic(), deadline, "no tick became a call")
            time.sleep(0.02)
        self.assertEqual(self.api.retrieve(schedule_id).name, "each-second")
        self.native("DELETE", "/v1/schedules/each-second")
        calls = self.function.list_calls(schedule_id=schedule_id, status="Completed")
        for call in calls:
            self.assertEqual((call.schedule_id, call.scheduled_time % 1000), (schedule_id, 0))
            response = self.function.retrieve_call(call.id).get_response()
            expected = {"data": {"rows": [1, 2]}, "schedule_id": schedule_id, "scheduled_time": call.scheduled_time}
            self.assertEqual(response, expected)
            self.assertEqual(call.get_logs().to_text(), "scheduled true")
        self.assertEqual(len({call.scheduled_time for call in calls}), len(calls))
        unscheduled = self.function.call(data={})
        self.assertIsNone(unscheduled.schedule_id)
        self.assertEqual(unscheduled.get_response(), {"data": {}})

    def test_the_client_of_a_handler(self):
        self.assertIn("ticks", self.function.call(data={"names": True}).get_response())
        inner = self.function.call(data={"call": "ticks-ø"}).get_response()
        self.assertEqual((inner["status"], inner["log"]), ("Completed", "scheduled false"))
        self.assertIn("from", inner["response"]["data"])
        made = self.function.call(data={"schedule": "0 7 * * MON"}).get_response()
        self.addCleanup(self.drop, made["id"])
        schedule = self.api.retrieve(made["id"])
        self.assertEqual((schedule.name, schedule.when), ("by a handler", made["when"]))
        self.assertEqual(schedule.get_input_data(), {"deep": [1, 2]})
        failed = self.function.call(data={"schedule": "61 * * * *"})
        self.assertEqual(failed.status, "Failed")
        self.assertIn("cronExpression", failed.error["message"])


if __name__ == "__main__":
    unittest.main()
