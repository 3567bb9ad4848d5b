"""Functions, roles and the identity of the caller: everything except running functions."""

from common import *

identity = sts.get_caller_identity()
assert identity["Account"] == "123456789012" and ":user/" in identity["Arn"], identity

# Roles.
arn = role()
assert arn == "arn:aws:iam::123456789012:role/worker"
refused("EntityAlreadyExists", iam.create_role, RoleName="worker", AssumeRolePolicyDocument=json.dumps(TRUST))
refused("MalformedPolicyDocument", iam.create_role, RoleName="x", AssumeRolePolicyDocument="{")
refused("NoSuchEntity", iam.get_role, RoleName="other")
policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "a<b>&\"c"}]}
iam.put_role_policy(RoleName="worker", PolicyName="own", PolicyDocument=json.dumps(policy))
assert iam.get_role_policy(RoleName="worker", PolicyName="own")["PolicyDocument"] == policy
assert iam.list_role_policies(RoleName="worker")["PolicyNames"] == ["own"]
assert iam.list_attached_role_policies(RoleName="worker")["AttachedPolicies"] == []
assert iam.list_instance_profiles_for_role(RoleName="worker")["InstanceProfiles"] == []
iam.tag_role(RoleName="worker", Tags=[{"Key": "k", "Value": "<v>"}])
assert iam.list_role_tags(RoleName="worker")["Tags"] == [{"Key": "k", "Value": "<v>"}]
found = iam.get_role(RoleName="worker")["Role"]
assert found["AssumeRolePolicyDocument"] == TRUST and found["Arn"] == arn and found["Tags"][0]["Key"] == "k", found
refused("DeleteConflict", iam.delete_role, RoleName="worker")
unknown = refused("InvalidAction", iam.list_users)
assert "ListUsers" in unknown["Error"]["Message"]

# A function, from a zip in the request.
code = zipped()
new = dict(FunctionName="f", Runtime="provided.al2023", Handler="h", Role=arn, Code={"ZipFile": code})
wrong_role = refused("InvalidParameterValueException", lambda_.create_function, **{**new, "Role": arn + "x"})
assert wrong_role["Error"]["Message"] == "The role defined for the function cannot be assumed by Lambda."
iam.update_assume_role_policy(RoleName="worker", PolicyDocument=json.dumps({"Statement": []}))
refused("InvalidParameterValueException", lambda_.create_function, **new)
iam.update_assume_role_policy(RoleName="worker", PolicyDocument=json.dumps(TRUST))
for setting in [{"MemorySize": 127}, {"MemorySize": 10_241}, {"Timeout": 0}, {"Timeout": 901}]:
    name, value = next(iter(setting.items()))
    try:
        refused("ValidationException", lambda_.create_function, **new, **setting)
    except Exception as e:
        # boto3 checks some of the limits itself.
        assert "ParamValidation" in type(e).__name__, (setting, e)
refused("InvalidParameterValueException", lambda_.create_function, **{**new, "Runtime": "python3.12"})
refused("InvalidParameterValueException", lambda_.create_function, **{**new, "Code": {"ZipFile": b"no zip"}})
refused("InvalidParameterValueException", lambda_.create_function, **new, Environment={"Variables": {"AWS_REGION": "x"}})
refused("InvalidParameterValueException", lambda_.create_function, **new, Environment={"Variables": {"LONG": "x" * 5000}})
refused("InvalidParameterValueException", lambda_.create_function, **new, Layers=["arn:aws:lambda:us-east-1:1:layer:l:1"])
refused("RequestEntityTooLargeException", lambda_.create_function, **{**new, "Code": {"ZipFile": bytes((50 << 20) + 1)}})
made = lambda_.create_function(**new, Tags={"a": "b"}, Environment={"Variables": {"KEY": "v"}})
assert made["State"] == "Pending" and made["FunctionArn"].endswith(":function:f"), made
refused("ResourceConflictException", lambda_.create_function, **new)
refused("ResourceConflictException", lambda_.invoke, FunctionName="f")
active("f")
import base64, hashlib
sha = lambda data: base64.b64encode(hashlib.sha256(data).digest()).decode()
got = lambda_.get_function(FunctionName="123456789012:function:f")
assert got["Configuration"]["CodeSha256"] == sha(code) and got["Configuration"]["CodeSize"] == len(code), got
assert got["Tags"] == {"a": "b"} and got["Configuration"]["Environment"]["Variables"] == {"KEY": "v"}
assert (got["Configuration"]["MemorySize"], got["Configuration"]["Timeout"]) == (128, 3)
refused("ResourceNotFoundException", lambda_.get_function, FunctionName="g")
refused("ResourceNotFoundException", lambda_.get_function_configuration, FunctionName="f", Qualifier="7")

# Updates: one at a time; an old revision is refused.
changed = lambda_.update_function_configuration(FunctionName="f", MemorySize=512, Environment={"Variables": {}})
assert changed["LastUpdateStatus"] == "InProgress" and changed["MemorySize"] == 512, changed
refused("ResourceConflictException", lambda_.update_function_code, FunctionName="f", ZipFile=code)
updated("f")
refused("PreconditionFailedException", lambda_.update_function_code, FunctionName="f", ZipFile=code, RevisionId="old")
s3.create_bucket(Bucket="code-bucket")
second = zipped(extra="1")
s3.put_object(Bucket="code-bucket", Key="a/f.zip", Body=second)
refused("InvalidParameterValueException", lambda_.update_function_code, FunctionName="f", S3Bucket="code-bucket", S3Key="no")
lambda_.update_function_code(FunctionName="f", S3Bucket="code-bucket", S3Key="a/f.zip", Architectures=["arm64"])
updated("f")
now = lambda_.get_function_configuration(FunctionName=made["FunctionArn"])
assert now["CodeSha256"] == sha(second) and now["Architectures"] == ["arm64"] and now["MemorySize"] == 512, now

# Settings outside of the configuration.
refused("ResourceNotFoundException", lambda_.get_function_event_invoke_config, FunctionName="f")
lambda_.put_function_event_invoke_config(FunctionName="f", MaximumRetryAttempts=0)
lambda_.update_function_event_invoke_config(FunctionName="f", MaximumEventAgeInSeconds=60)
config = lambda_.get_function_event_invoke_config(FunctionName="f")
assert (config["MaximumRetryAttempts"], config["MaximumEventAgeInSeconds"]) == (0, 60), config
lambda_.delete_function_event_invoke_config(FunctionName="f")
refused("ResourceNotFoundException", lambda_.get_function_event_invoke_config, FunctionName="f")
account = lambda_.get_account_settings()["AccountLimit"]
assert account["ConcurrentExecutions"] == account["UnreservedConcurrentExecutions"] == 120, account
refused("InvalidParameterValueException", lambda_.put_function_concurrency, FunctionName="f", ReservedConcurrentExecutions=21)
lambda_.put_function_concurrency(FunctionName="f", ReservedConcurrentExecutions=20)
assert lambda_.get_function_concurrency(FunctionName="f")["ReservedConcurrentExecutions"] == 20
assert lambda_.get_account_settings()["AccountLimit"]["UnreservedConcurrentExecutions"] == 100
lambda_.delete_function_concurrency(FunctionName="f")
assert "ReservedConcurrentExecutions" not in lambda_.get_function_concurrency(FunctionName="f")
lambda_.tag_resource(Resource=made["FunctionArn"], Tags={"c": "d"})
lambda_.untag_resource(Resource=made["FunctionArn"], TagKeys=["a"])
assert lambda_.list_tags(Resource=made["FunctionArn"])["Tags"] == {"c": "d"}

# Lists in pages; deletion.
for name in "gh":
    lambda_.create_function(**{**new, "FunctionName": name})
pages = lambda_.get_paginator("list_functions").paginate(PaginationConfig={"PageSize": 2})
assert [[f["FunctionName"] for f in page["Functions"]] for page in pages] == [["f", "g"], ["h"]]
lambda_.delete_function(FunctionName="f")
refused("ResourceNotFoundException", lambda_.delete_function, FunctionName="f")
refused("ResourceNotFoundException", lambda_.invoke, FunctionName="f")
iam.delete_role_policy(RoleName="worker", PolicyName="own")
refused("NoSuchEntity", iam.get_role_policy, RoleName="worker", PolicyName="own")
iam.delete_role(RoleName="worker")
refused("NoSuchEntity", iam.get_role, RoleName="worker")

# Every service refuses requests that are signed with the wrong key.
stranger = dict(aws_access_key_id=os.environ["AWS_ACCESS_KEY_ID"], aws_secret_access_key="wrong", config=ONCE)
for name, call in [("lambda", "list_functions"), ("iam", "list_roles"), ("logs", "describe_log_groups")]:
    refused("InvalidSignatureException", getattr(boto3.client(name, **stranger), call))
refused("SignatureDoesNotMatch", boto3.client("s3", **stranger).list_buckets)
