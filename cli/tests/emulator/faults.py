"""Injected faults: a fifth of the calls is refused, of the events duplicated, and of the instances lost."""

from collections import Counter

from common import *

PART = 0.2
f = function("f", role())
lambda_.put_function_event_invoke_config(FunctionName=f, MaximumRetryAttempts=0)
folder = os.environ["FAULTS_FOLDER"]
outcomes = Counter()
for _ in range(150):
    try:
        body, answer = invoke(f, {"sleep": 0.01})
        outcomes["lost" if "FunctionError" in answer else "done"] += 1
        if "FunctionError" in answer:
            assert body["errorType"] == "Runtime.ExitError" and body["errorMessage"].endswith("signal: killed"), body
    except ClientError as e:
        assert e.response["Error"]["Code"] == "TooManyRequestsException", e.response
        outcomes["throttled"] += 1
assert 12 <= outcomes["throttled"] <= 50 and 10 <= outcomes["lost"] <= 45 and outcomes["done"] > 60, outcomes

sent = []
for n in range(150):
    try:
        invoke(f, {"touch": os.path.join(folder, str(n))}, InvocationType="Event")
        sent.append(n)
    except ClientError as e:
        assert e.response["Error"]["Code"] == "TooManyRequestsException", e.response
assert 100 <= len(sent) <= 140, len(sent)


def settled():
    before = sizes()
    time.sleep(3)
    return before == sizes() and before


sizes = lambda: {int(name): os.path.getsize(os.path.join(folder, name)) for name in os.listdir(folder)}
found = until(settled, "the events to end")
assert set(found) <= set(sent), "refused events must not run"
times = Counter(found.get(n, 0) for n in sent)
assert times[1] > 60 and times[2] >= 8 and times[0] >= 3 and set(times) <= {0, 1, 2}, times

# S3 refuses requests as well.
statuses = Counter()
for _ in range(100):
    try:
        s3.list_buckets()
        statuses[200] += 1
    except ClientError as e:
        assert e.response["Error"]["Code"] == "SlowDown", e.response
        statuses[e.response["ResponseMetadata"]["HTTPStatusCode"]] += 1
assert 8 <= statuses[503] <= 35, statuses
