# Makes the requests of a deployment with the AWS CLI.
set -euo pipefail
export AWS_PAGER= AWS_DEFAULT_OUTPUT=text
here=$(mktemp -d); trap 'rm -rf "$here"' EXIT; cd "$here"
expect() { [[ "$1" == *"$2"* ]] || { echo "expected $2 in: $1" >&2; exit 1; }; }
fails() { local output; if output=$("${@:2}" 2>&1); then echo "$* did not fail" >&2; exit 1; fi; expect "$output" "$1"; }

b=a-bucket-of-ours
aws s3api create-bucket --bucket $b --create-bucket-configuration LocationConstraint=eu-west-1 >made
aws s3api head-bucket --bucket $b >/dev/null
fails 404 aws s3api head-bucket --bucket another-bucket
expect "$(aws s3api list-buckets --query 'Buckets[].Name')" $b
fails ServerSideEncryptionConfigurationNotFoundError aws s3api get-bucket-encryption --bucket $b
aws s3api put-bucket-encryption --bucket $b --server-side-encryption-configuration \
  '{"Rules":[{"ApplyServerSideEncryptionByDefault":{"SSEAlgorithm":"AES256"}}]}'
expect "$(aws s3api get-bucket-encryption --bucket $b)" AES256
aws s3api put-bucket-lifecycle-configuration --bucket $b --lifecycle-configuration \
  '{"Rules":[{"ID":"jobs","Status":"Enabled","Filter":{"Prefix":"jobs/"},"Expiration":{"Days":7}}]}' >/dev/null
expect "$(aws s3api get-bucket-lifecycle-configuration --bucket $b)" jobs/
aws s3api put-public-access-block --bucket $b --public-access-block-configuration \
  BlockPublicAcls=true,IgnorePublicAcls=true,BlockPublicPolicy=true,RestrictPublicBuckets=true
expect "$(aws s3api get-public-access-block --bucket $b)" True
aws s3api put-bucket-tagging --bucket $b --tagging 'TagSet=[{Key=wren,Value=yes}]'
expect "$(aws s3api get-bucket-tagging --bucket $b)" wren
fails NoSuchBucketPolicy aws s3api get-bucket-policy --bucket $b
aws s3api put-bucket-policy --bucket $b --policy '{"Version":"2012-10-17","Statement":[]}'
expect "$(aws s3api get-bucket-policy --bucket $b)" 2012-10-17
aws s3api get-bucket-location --bucket $b >/dev/null

seq 100000 >numbers
aws s3 cp --only-show-errors numbers s3://$b/x/numbers
aws s3 cp --only-show-errors s3://$b/x/numbers back
cmp numbers back
aws s3api put-object --bucket $b --key x/other --body made >/dev/null
expect "$(aws s3api list-objects-v2 --bucket $b --prefix x/ --query 'Contents[].Key')" "x/numbers	x/other"
fails PreconditionFailed aws s3api put-object --bucket $b --key x/other --body made --if-none-match '*'
fails BucketNotEmpty aws s3api delete-bucket --bucket $b
aws s3api delete-objects --bucket $b --delete 'Objects=[{Key=x/numbers},{Key=x/other}]' >/dev/null
expect "$(aws s3api list-objects-v2 --bucket $b --query Contents)" None

cat >trust <<'T'
{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":["lambda.amazonaws.com"]},"Action":"sts:AssumeRole"}]}
T
role=$(aws iam create-role --role-name r --assume-role-policy-document file://trust --query Role.Arn)
expect "$(aws sts get-caller-identity --query Account)" 123456789012
cp "$BOOTSTRAP_ZIP" f.zip
aws lambda create-function --function-name f --runtime provided.al2023 --handler h --role "$role" --zip-file fileb://f.zip >/dev/null
aws lambda wait function-active-v2 --function-name f
aws lambda invoke --function-name f --payload '{"print":"from the CLI"}' answer >/dev/null
expect "$(cat answer)" '"calls": 1'
expect "$(aws logs filter-log-events --log-group-name /aws/lambda/f --filter-pattern CLI)" "from the CLI"
aws lambda delete-function --function-name f
aws iam delete-role --role-name r
aws s3api delete-bucket --bucket $b
fails NoSuchBucket aws s3api list-objects-v2 --bucket $b
fails NoSuchEntity aws iam get-role --role-name r
