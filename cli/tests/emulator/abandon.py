"""Exits while one process is idle and another runs a call; prints their IDs."""

from common import *

arn = role()
print(invoke(function("idle", arn))[0]["pid"])
busy = function("busy", arn)
print(invoke(busy)[0]["pid"], flush=True)
invoke(busy, {"child": {"sleep": 60}}, InvocationType="Event")
time.sleep(0.3)
sys.exit(7)
