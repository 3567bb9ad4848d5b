"""Many calls at once, within the account's limit of 20."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from common import *

f = function("f", role())
folder = invoke(f)[0]["cwd"]
mark = os.path.join(folder, "mark")
CALLS = 1500

with ThreadPoolExecutor(40) as pool:
    # All 40 requests arrive while the first calls run, also on a busy machine.
    def attempt(_):
        try:
            return invoke(f, {"sleep": 10})[0]["pid"]
        except ClientError as e:
            return e.response["Reason"]
    results = Counter(pool.map(attempt, range(40)))
    assert results.pop("ConcurrentInvocationLimitExceeded") == 20, results
    assert len(results) == 20 and set(results.values()) == {1}, results

    send = lambda _: invoke(f, {"touch": mark}, InvocationType="Event")[1]["StatusCode"]
    assert set(pool.map(send, range(CALLS))) == {202}
until(lambda: os.path.exists(mark) and os.path.getsize(mark) == CALLS, "the last event", 120)
counted = logs.describe_log_streams(logGroupName="/aws/lambda/f")["logStreams"]
assert len(counted) == 20, "as many processes as the limit allows, each reused"
