"""Prints everything that a deployment may leave in its account, as JSON."""

import json
import boto3

s3, iam, lam, logs = (boto3.client(name) for name in ("s3", "iam", "lambda", "logs"))


def or_none(read):
    try:
        return read()
    except Exception:  # it does not exist
        return None


def bucket(name):
    return {
        "keys": [o["Key"] for o in s3.list_objects_v2(Bucket=name).get("Contents", [])],
        "access": or_none(lambda: s3.get_public_access_block(Bucket=name)["PublicAccessBlockConfiguration"]),
        "encryption": or_none(lambda: s3.get_bucket_encryption(Bucket=name)["ServerSideEncryptionConfiguration"]),
        "rules": or_none(lambda: s3.get_bucket_lifecycle_configuration(Bucket=name)["Rules"]) or [],
        "tags": or_none(lambda: s3.get_bucket_tagging(Bucket=name)["TagSet"]) or [],
        "location": s3.get_bucket_location(Bucket=name)["LocationConstraint"],
    }


def role(found):
    name = found["RoleName"]
    policies = iam.list_role_policies(RoleName=name)["PolicyNames"]
    return {
        "trust": found["AssumeRolePolicyDocument"],
        "policies": {p: iam.get_role_policy(RoleName=name, PolicyName=p)["PolicyDocument"] for p in policies},
        "attached": iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"],
        "tags": iam.list_role_tags(RoleName=name)["Tags"],
    }


def function(found):
    name = found["FunctionName"]
    return {
        "found": {k: v for k, v in found.items() if k in (
            "Runtime", "Handler", "Role", "MemorySize", "Timeout", "CodeSha256", "Architectures", "Environment",
            "LastModified", "RevisionId")},
        "tags": lam.list_tags(Resource=found["FunctionArn"])["Tags"],
        "retries": or_none(lambda: lam.get_function_event_invoke_config(FunctionName=name)["MaximumRetryAttempts"]),
    }


print(json.dumps({
    "buckets": {b["Name"]: bucket(b["Name"]) for b in s3.list_buckets()["Buckets"]},
    "roles": {r["RoleName"]: role(r) for r in iam.list_roles()["Roles"]},
    "functions": {f["FunctionName"]: function(f) for f in lam.list_functions()["Functions"]},
    "groups": {g["logGroupName"]: g.get("retentionInDays") for g in logs.describe_log_groups()["logGroups"]},
}, default=str))
