"""Code that the scripts share: clients, a role, and functions that do what their events request."""

import io
import json
import os
import sys
import time
import zipfile

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

ONCE = Config(retries={"total_max_attempts": 1}, max_pool_connections=64, read_timeout=60, s3={"addressing_style": "path"})
aws = lambda name: boto3.client(name, config=ONCE)
iam, sts, s3, logs, lambda_ = aws("iam"), aws("sts"), aws("s3"), aws("logs"), aws("lambda")

TRUST = {"Version": "2012-10-17", "Statement": [
    {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}]}

HERE = os.path.dirname(os.path.abspath(__file__))


def refused(code, call, **arguments):
    """Asserts that a call is refused with this code, and returns the answer."""
    try:
        call(**arguments)
    except ClientError as e:
        assert e.response["Error"]["Code"] == code, e.response
        return e.response
    raise AssertionError(f"{code} was expected")


def role(name="worker"):
    return iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(TRUST))["Role"]["Arn"]


def zipped(bootstrap=None, **files):
    """Returns a zip with the bootstrap of this folder, which this Python runs."""
    if bootstrap is None:
        source = open(os.path.join(HERE, "bootstrap.py")).read()
        bootstrap = f"#!{sys.executable} -SE\n{source}"
    to = io.BytesIO()
    with zipfile.ZipFile(to, "w") as archive:
        for name, text in {"bootstrap": bootstrap, **files}.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = 0o100755 << 16
            archive.writestr(info, text)
    return to.getvalue()


def function(name, role_arn, code=None, **settings):
    """Creates a function and waits until it is active."""
    defaults = dict(Runtime="provided.al2023", Handler="bootstrap", MemorySize=256, Timeout=20)
    lambda_.create_function(FunctionName=name, Role=role_arn, Code={"ZipFile": code or zipped()}, **{**defaults, **settings})
    active(name)
    return name


# The waiters of boto3 poll at most once per second. The test of the AWS CLI uses that of the CLI.
def active(name):
    until(lambda: lambda_.get_function_configuration(FunctionName=name)["State"] == "Active", name)


def updated(name):
    done = lambda: lambda_.get_function_configuration(FunctionName=name)["LastUpdateStatus"] == "Successful"
    until(done, name)


def invoke(name, what=None, **more):
    answer = lambda_.invoke(FunctionName=name, Payload=json.dumps(what if what is not None else {}), **more)
    text = answer["Payload"].read()
    return json.loads(text) if text else None, answer


def until(condition, what, seconds=60):
    """Waits until `condition` returns a true value, and returns it."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError(f"waited {seconds} s for {what}")
