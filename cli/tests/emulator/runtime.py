"""A function that is built on the `lambda_runtime` crate."""

from common import *

bootstrap = f"#!/bin/sh\nexec {os.environ['WORKER']} worker --exact --ignored --nocapture\n"
f = function("f", role(), zipped(bootstrap))
for size in [1, 1000, 5 << 20]:
    payload = {"text": "x" * size}
    body, answer = invoke(f, payload)
    expected = {"id": answer["ResponseMetadata"]["RequestId"], "memory": 256, "payload": payload}
    assert body == expected, str(body)[:1000]
body, answer = invoke(f, {"do": "fail"})
assert answer["FunctionError"] == "Unhandled" and body["errorMessage"] == "as requested", body
body, answer = invoke(f, {"do": "abort"})
assert body["errorType"] == "Runtime.ExitError" and "signal: aborted" in body["errorMessage"], body
