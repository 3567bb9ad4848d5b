//! The permissions of a deployment's role, and its trust policy.

use serde_json::{Value, json};

use super::name::{self, Name};

/// The name of the role's only policy.
pub(crate) const POLICY: &str = "wren";

/// Returns the trust policy: only Lambda may assume the role.
pub(crate) fn trust() -> Value {
    json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Allow",
            "Principal": { "Service": "lambda.amazonaws.com" },
            "Action": "sts:AssumeRole",
        }],
    })
}

/// Returns the permissions of the functions: to read and write below the deployment's own prefix, and to write logs.
///
/// They include listing, because without it S3 returns 403 instead of 404 for an object that does not exist.
pub(crate) fn permissions(name: &Name, account: &str, region: &str) -> Value {
    let partition = partition(region);
    let bucket = format!("arn:{partition}:s3:::{}", name::bucket(account, region));
    let groups = format!("arn:{partition}:logs:{region}:{account}:log-group:/aws/lambda/wren-{name}-*");
    json!({
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Action": ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"],
                "Resource": format!("{bucket}/{name}/*"),
            },
            {
                "Effect": "Allow",
                "Action": "s3:ListBucket",
                "Resource": bucket,
                "Condition": { "StringLike": { "s3:prefix": format!("{name}/*") } },
            },
            {
                "Effect": "Allow",
                "Action": ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"],
                "Resource": groups,
            },
        ],
    })
}

/// Returns the AWS partition of a region, as used in ARNs.
pub(crate) fn partition(region: &str) -> &'static str {
    match region {
        _ if region.starts_with("cn-") => "aws-cn",
        _ if region.starts_with("us-gov-") => "aws-us-gov",
        _ => "aws",
    }
}

/// Returns whether a policy document from IAM, which is percent-encoded, is equivalent to `wanted`.
pub(crate) fn is_same(document: Option<&str>, wanted: &Value) -> bool {
    let decoded = document.map(percent_decoded);
    decoded.and_then(|text| serde_json::from_slice::<Value>(&text).ok()).as_ref() == Some(wanted)
}

fn percent_decoded(text: &str) -> Vec<u8> {
    let mut rest = text.as_bytes();
    let mut decoded = Vec::with_capacity(rest.len());
    while let Some((&first, after)) = rest.split_first() {
        let hex = (first == b'%').then(|| after.get(..2)).flatten();
        let byte = hex.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        decoded.push(byte.unwrap_or(first));
        rest = if byte.is_some() { &after[2..] } else { after };
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Compares the whole policy, so that no permission is added unnoticed.
    #[test]
    fn the_role_may_do_this_and_nothing_else() {
        let policy = permissions(&Name::given("sweep").unwrap(), "123456789012", "eu-central-1");
        let expected = r#"{
  "Statement": [
    {
      "Action": [
        "s3:GetObject",
        "s3:PutObject",
        "s3:DeleteObject",
        "s3:AbortMultipartUpload"
      ],
      "Effect": "Allow",
      "Resource": "arn:aws:s3:::wren-123456789012-eu-central-1/sweep/*"
    },
    {
      "Action": "s3:ListBucket",
      "Condition": {
        "StringLike": {
          "s3:prefix": "sweep/*"
        }
      },
      "Effect": "Allow",
      "Resource": "arn:aws:s3:::wren-123456789012-eu-central-1"
    },
    {
      "Action": [
        "logs:CreateLogGroup",
        "logs:CreateLogStream",
        "logs:PutLogEvents"
      ],
      "Effect": "Allow",
      "Resource": "arn:aws:logs:eu-central-1:123456789012:log-group:/aws/lambda/wren-sweep-*"
    }
  ],
  "Version": "2012-10-17"
}"#;
        assert_eq!(serde_json::to_string_pretty(&policy).unwrap(), expected);
    }

    #[test]
    fn documents_are_compared_by_content() {
        let encoded = "%7B%22Version%22%3A%20%222012-10-17%22%2C%20%22Statement%22%3A%20%5B%5D%7D";
        assert!(is_same(Some(encoded), &json!({ "Statement": [], "Version": "2012-10-17" })));
        assert!(!is_same(Some(encoded), &trust()));
        for text in ["%", "%7", "%zz", "{", "%é"] {
            assert!(!is_same(Some(text), &trust()));
        }
        assert!(!is_same(None, &trust()));
    }

    #[test]
    fn regions_have_their_partition() {
        for (region, expected) in [("us-east-1", "aws"), ("cn-north-1", "aws-cn"), ("us-gov-west-1", "aws-us-gov")] {
            assert_eq!(partition(region), expected);
        }
    }
}
