# A minimal custom runtime that does what the event requests.
import os, sys, time, json, http.client

api = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
BASE = "/2018-06-01/runtime/"
calls = 0


def ask(method, path, body=None):
    api.request(method, BASE + path, body)
    answer = api.getresponse()
    return answer, answer.read()


def do(event, headers):
    if "print" in event:
        print(event["print"], flush=True)
    if "stderr" in event:
        print(event["stderr"], file=sys.stderr, flush=True)
    if "child" in event:
        # In its own process group, like the children of a worker.
        if os.fork() == 0:
            os.setpgid(0, 0)
            do(event["child"], headers)
            os._exit(0)
        os.wait()
    if "sleep" in event:
        time.sleep(event["sleep"])
    if "touch" in event:
        with open(event["touch"], "a") as file:
            file.write("x")
    if "allocate" in event:
        do.kept = b"x" * (event["allocate"] << 20)
        time.sleep(60)
    if "exit" in event:
        os._exit(event["exit"])
    if "raise" in event:
        raise ValueError(event["raise"])
    if "size" in event:
        return "x" * event["size"]
    if "environment" in event:
        return dict(os.environ)
    if "headers" in event:
        return dict(headers)
    return {"pid": os.getpid(), "calls": calls, "cwd": os.getcwd(), "event": event}


if "FAIL_INIT" in os.environ:
    ask("POST", "init/error", json.dumps({"errorType": "Init.No", "errorMessage": "not today"}))
    sys.exit(3)

while True:
    answer, body = ask("GET", "invocation/next")
    request_id = answer.headers["Lambda-Runtime-Aws-Request-Id"]
    calls += 1
    try:
        result = json.dumps(do(json.loads(body), answer.headers)).encode()
        # In pieces, so that the emulator has to read chunks.
        pieces = (result[at:at + 65536] for at in range(0, len(result), 65536))
        api.request("POST", f"{BASE}invocation/{request_id}/response", pieces, encode_chunked=True,
                    headers={"Transfer-Encoding": "chunked"})
        api.getresponse().read()
    except ValueError as e:
        ask("POST", f"invocation/{request_id}/error", json.dumps({"errorType": "ValueError", "errorMessage": str(e)}))
