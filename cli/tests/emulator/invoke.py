"""Running functions: modes, limits, failures, logs."""

import base64
from concurrent.futures import ThreadPoolExecutor

from common import *

arn = role()
f = function("f", arn, Environment={"Variables": {"OWN": "yes"}})

# One call, then another in the same process.
first, answer = invoke(f, {"print": "hello", "stderr": "uh", "n": 1}, LogType="Tail")
assert "FunctionError" not in answer and answer["ExecutedVersion"] == "$LATEST", answer
assert first["event"]["n"] == 1 and first["calls"] == 1, first
request = answer["ResponseMetadata"]["RequestId"]
tail = base64.b64decode(answer["LogResult"]).decode()
for text in ["INIT_START", f"START RequestId: {request} Version: $LATEST\n", "hello\n", "uh\n",
             f"END RequestId: {request}\n", f"REPORT RequestId: {request}\tDuration: ", "\tInit Duration: "]:
    assert text in tail, tail
assert tail.index("START R") < tail.index("hello") < tail.index("uh") < tail.index("END") < tail.index("REPORT"), tail
second, answer = invoke(f, LogType="Tail")
assert second["pid"] == first["pid"] and second["calls"] == 2, (first, second)
assert "Init" not in base64.b64decode(answer["LogResult"]).decode()
assert invoke(f, InvocationType="DryRun")[1]["StatusCode"] == 204

# Its environment is that of Lambda.
environment, _ = invoke(f, {"environment": 1})
ours = {"PATH", "LANG", "TZ", "LAMBDA_TASK_ROOT", "LAMBDA_RUNTIME_DIR", "AWS_LAMBDA_FUNCTION_NAME",
        "AWS_LAMBDA_FUNCTION_VERSION", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "AWS_LAMBDA_LOG_GROUP_NAME",
        "AWS_LAMBDA_LOG_STREAM_NAME", "AWS_LAMBDA_INITIALIZATION_TYPE", "AWS_EXECUTION_ENV", "_HANDLER",
        "AWS_LAMBDA_RUNTIME_API", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY",
        "AWS_ENDPOINT_URL", "TMPDIR", "OWN"}
# Python itself sets this one.
assert set(environment) - {"LC_CTYPE"} == ours, set(environment) ^ ours
assert environment["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"] == "256" and environment["OWN"] == "yes"
assert first["cwd"] == environment["LAMBDA_TASK_ROOT"] and os.path.isdir(environment["TMPDIR"])
sent = time.time()
headers, _ = invoke(f, {"headers": 1})
headers = {name.lower(): value for name, value in headers.items()}
assert headers["lambda-runtime-invoked-function-arn"].endswith(":function:f"), headers
deadline = int(headers["lambda-runtime-deadline-ms"]) / 1000
# Twenty seconds after the function was started; the deadline is in whole milliseconds.
assert sent + 19.998 <= deadline <= time.time() + 20 and headers["lambda-runtime-trace-id"].startswith("Root=1-"), headers

# Failures inside the function.
body, answer = invoke(f, {"raise": "no"})
assert answer["FunctionError"] == "Unhandled" and body == {"errorType": "ValueError", "errorMessage": "no"}, body
body, answer = invoke(f, {"exit": 7}, LogType="Tail")
request = answer["ResponseMetadata"]["RequestId"]
assert answer["StatusCode"] == 200 and answer["FunctionError"] == "Unhandled"
assert body == {"errorType": "Runtime.ExitError",
                "errorMessage": f"RequestId: {request} Error: Runtime exited with error: exit status 7"}, body
assert "Status: error\tError Type: Runtime.ExitError" in base64.b64decode(answer["LogResult"]).decode()
body, _ = invoke(f, {"size": 6 << 20})
assert len(body) == 6 << 20
body, answer = invoke(f, {"size": (6 << 20) + 100})
assert body["errorType"] == "Function.ResponseSizeTooLarge" and answer["FunctionError"], body
assert invoke(f)[0]["calls"] == 3, "the same process continues after a response that was too large"

# Requests that are refused before the function runs.
refused("InvalidRequestContentException", lambda_.invoke, FunctionName=f, Payload=b"{")
refused("RequestTooLargeException", lambda_.invoke, FunctionName=f, Payload=b'"%s"' % (b"x" * (6 << 20)))
event = dict(FunctionName=f, InvocationType="Event")
refused("RequestTooLargeException", lambda_.invoke, Payload=b'"%s"' % (b"x" * (1 << 20)), **event)

# A timeout ends the process and its children.
lambda_.update_function_configuration(FunctionName=f, Timeout=1)
updated(f)
child_started = time.monotonic()
alive = os.path.join(environment["LAMBDA_TASK_ROOT"], "alive")
body, answer = invoke(f, {"child": {"sleep": 10, "touch": alive}})
assert body == {"errorType": "Sandbox.Timedout", "errorMessage":
                f"RequestId: {answer['ResponseMetadata']['RequestId']} Error: Task timed out after 1.00 seconds"}, body
assert answer["FunctionError"] == "Unhandled" and 1 <= time.monotonic() - child_started < 10

# So does too much memory, including that of a child.
g = function("g", arn, MemorySize=128)
for event in [{"allocate": 200}, {"child": {"allocate": 200}}]:
    body, answer = invoke(g, event, LogType="Tail")
    assert body["errorType"] == "Runtime.ExitError" and body["errorMessage"].endswith("signal: killed"), body
    assert "Memory Size: 128 MB\tMax Memory Used: 128 MB" in base64.b64decode(answer["LogResult"]).decode()
fits, answer = invoke(g, LogType="Tail")
used = base64.b64decode(answer["LogResult"]).decode().split("Max Memory Used: ")[1].split()[0]
assert fits["calls"] == 1 and 4 <= int(used) <= 60, used

# Programs that cannot start.
body, _ = invoke(function("none", arn, zipped("#!/no/such/program\n")))
assert body["errorType"] == "Runtime.InvalidEntrypoint", body
machine = os.uname().machine
other = "arm64" if machine == "x86_64" else "x86_64"
body, _ = invoke(function("other", arn, Architectures=[other]))
assert body["errorType"] == "Runtime.InvalidEntrypoint" and "exec format error" in body["errorMessage"], body
body, answer = invoke(function("init", arn, Environment={"Variables": {"FAIL_INIT": "1"}}))
assert body == {"errorType": "Init.No", "errorMessage": "not today"} and answer["FunctionError"], body

# Events: accepted at once, run later, retried.
h = function("h", arn)
mark = os.path.join(invoke(h)[0]["cwd"], "mark")
written = lambda: os.path.getsize(mark) if os.path.exists(mark) else 0
body, answer = invoke(h, {"touch": mark}, InvocationType="Event")
assert (body, answer["StatusCode"]) == (None, 202)
until(lambda: written() == 1, "the event")
lambda_.put_function_event_invoke_config(FunctionName=h, MaximumRetryAttempts=1)
invoke(h, {"touch": mark, "raise": "again"}, InvocationType="Event")
until(lambda: written() == 3, "the retry")

# Limits: a call over the limit is refused with the name of the limit; events wait.
lambda_.put_function_concurrency(FunctionName=h, ReservedConcurrentExecutions=2)
with ThreadPoolExecutor(8) as pool:
    def attempt(_):
        try:
            return invoke(h, {"sleep": 10})[0]["pid"]
        except ClientError as e:
            assert e.response["Error"]["Code"] == "TooManyRequestsException", e.response
            assert e.response["ResponseMetadata"]["HTTPStatusCode"] == 429
            return e.response["Reason"]
    results = list(pool.map(attempt, range(5)))
    pids = {result for result in results if isinstance(result, int)}
    assert len(pids) == 2, results
    assert results.count("ReservedFunctionConcurrentInvocationLimitExceeded") == 3, results
    for _ in range(6):
        invoke(h, {"sleep": 0.2, "touch": mark}, InvocationType="Event")
    until(lambda: written() == 9, "the waiting events")
closed = function("closed", arn)
lambda_.put_function_concurrency(FunctionName=closed, ReservedConcurrentExecutions=0)
refused("TooManyRequestsException", lambda_.invoke, FunctionName=closed)

# New code replaces the old code, including that of idle processes.
before, _ = invoke(h)
lambda_.update_function_code(FunctionName=h, ZipFile=zipped(more="1"))
assert invoke(h)[0]["pid"] == before["pid"], "the old code answers while the update is in progress"
updated(h)
after, _ = invoke(h)
assert after["pid"] != before["pid"] and after["cwd"] != before["cwd"], (before, after)
until(lambda: not os.path.exists(f"/proc/{before['pid']}"), "the end of the old process")

# The logs of all calls above.
group = "/aws/lambda/f"
assert [g["logGroupName"] for g in logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"]] == [group]
refused("ResourceAlreadyExistsException", logs.create_log_group, logGroupName=group)
logs.put_retention_policy(logGroupName=group, retentionInDays=7)
assert logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"][0]["retentionInDays"] == 7
streams = logs.describe_log_streams(logGroupName=group, orderBy="LastEventTime", descending=True)["logStreams"]
assert len(streams) >= 3 and "[$LATEST]" in streams[0]["logStreamName"], streams
messages = lambda **how: [e["message"] for e in logs.filter_log_events(logGroupName=group, **how)["events"]]
assert messages(filterPattern='"hello"') == ["hello\n"]
assert len(messages(filterPattern="REPORT Init")) == len(streams)
assert messages(filterPattern="hello uh") == [] and len(messages(filterPattern="?hello ?uh")) == 2
assert len(messages(filterPattern='"Task timed out after 1.00 seconds"')) == 1
assert messages(startTime=int(time.time() * 1000) + 60_000) == []
refused("InvalidParameterException", logs.filter_log_events, logGroupName=group, filterPattern="{ $.a = 1 }")
whole = messages()
pages = logs.get_paginator("filter_log_events").paginate(logGroupName=group, PaginationConfig={"PageSize": 7})
pages = [[e["message"] for e in page["events"]] for page in pages]
assert sum(pages, []) == whole and len(pages[0]) == 7
stream = environment["AWS_LAMBDA_LOG_STREAM_NAME"]
read = lambda **how: logs.get_log_events(logGroupName=group, logStreamName=stream, **how)
head = read(limit=2, startFromHead=True)
rest = read(nextToken=head["nextForwardToken"])
assert "INIT_START" in head["events"][0]["message"] and rest["events"][-1]["message"] == read(limit=1)["events"][0]["message"]
end = read(nextToken=rest["nextForwardToken"])
assert end["events"] == [] and end["nextForwardToken"] == rest["nextForwardToken"]
logs.delete_log_group(logGroupName=group)
refused("ResourceNotFoundException", logs.filter_log_events, logGroupName=group)
unknown = refused("UnknownOperationException", logs.describe_queries)
assert "DescribeQueries" in unknown["Error"]["Message"]

time.sleep(max(0, child_started + 12 - time.monotonic()))
assert not os.path.exists(alive), "a child of the call that timed out has continued"
