//! The bucket, which all deployments of an account and region share, and the program in it.

use std::error::Error as StdError;

use anyhow::{Context, Result, bail};
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{
    AbortIncompleteMultipartUpload, BucketLifecycleConfiguration, BucketLocationConstraint, CreateBucketConfiguration,
    ExpirationStatus, LifecycleExpiration, LifecycleRule, LifecycleRuleFilter, PublicAccessBlockConfiguration,
    ServerSideEncryption, ServerSideEncryptionByDefault, ServerSideEncryptionConfiguration, ServerSideEncryptionRule,
    Tag, Tagging,
};
use wren::deployment::Deployment;

use super::package::Package;
use super::report::Change;
use super::{Site, TAG};
use crate::aws::{ErrorCode, ExplainError};

/// Creates or updates the bucket: private, encrypted, and with an expiry rule for the deployment.
pub(crate) async fn ensure(site: &Site, keep_days: i32) -> Result<()> {
    let bucket = site.bucket();
    site.report.doing(format!("looking at the bucket {bucket}"));
    let exists = exists(site).await?;
    if !exists && site.dry_run {
        site.report.step("bucket", &bucket, Change::Create, format!("objects expire after {keep_days} days"));
        return Ok(());
    }
    if !exists {
        create(site).await?;
    }
    let aspects = [
        ("public access block", blocks_public_access(site).await?),
        ("encryption", encrypts(site).await?),
        ("tag", tagged(site).await?),
        ("expiry", expires(site, keep_days).await?),
    ];
    let named = |wanted| {
        let of = aspects.iter().filter(move |(_, aspect)| *aspect == wanted).map(|(name, _)| *name);
        of.collect::<Vec<_>>().join(", ")
    };
    let missing = named(Aspect::Absent);
    let updated = named(Aspect::Differs);
    match (exists, updated.is_empty()) {
        (false, _) => site.report.step("bucket", &bucket, Change::Create, ""),
        (true, false) => site.report.step("bucket", &bucket, Change::Update, updated),
        (true, true) => site.report.step("bucket", &bucket, Change::Keep, ""),
    }
    if !missing.is_empty() {
        site.report.note(&format!("           the emulator does not support these bucket settings: {missing}"));
    }
    Ok(())
}

/// Returns whether the bucket exists.
///
/// # Errors
///
/// Fails if the bucket belongs to another account.
pub(crate) async fn exists(site: &Site) -> Result<bool> {
    let bucket = site.bucket();
    let head = site.aws.s3.head_bucket().bucket(&bucket).expected_bucket_owner(&site.account).send().await;
    match head {
        Ok(_) => Ok(true),
        Err(error) if error.is(&["404", "NotFound", "NoSuchBucket"]) => Ok(false),
        Err(error) if error.is(&["403", "Forbidden", "AccessDenied"]) => bail!(
            "cannot use the bucket {bucket}: it belongs to another account, or the credentials lack the permission \
             s3:ListBucket for it; add the permission, or use another region"
        ),
        Err(error) if error.is(&["301", "PermanentRedirect"]) => {
            bail!("the bucket {bucket} is not in the region that its name contains; delete it, or use another region")
        }
        Err(error) => Err(error).explained(&format!("looking for the bucket {bucket}")),
    }
}

async fn create(site: &Site) -> Result<()> {
    let bucket = site.bucket();
    site.report.doing(format!("creating the bucket {bucket}"));
    let mut create = site.aws.s3.create_bucket().bucket(&bucket);
    // S3 accepts no location constraint for its first region.
    if site.aws.region != "us-east-1" {
        let region = BucketLocationConstraint::from(site.aws.region.as_str());
        let configuration = CreateBucketConfiguration::builder().location_constraint(region).build();
        create = create.create_bucket_configuration(configuration);
    }
    match create.send().await {
        Err(error) if error.is(&["BucketAlreadyOwnedByYou"]) => Ok(()),
        answer => answer.map(drop).explained(&format!("creating the bucket {bucket}")),
    }
}

/// The state of one setting of the bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Aspect {
    Right,
    /// It was wrong, and has been corrected unless this is a dry run.
    Differs,
    /// The emulator does not support it.
    Absent,
}

/// Returns the value of a setting; `Ok(None)` if it is not set, and `Err(Absent)` if the emulator does not support it.
fn setting<T, E>(
    answer: std::result::Result<T, SdkError<E, HttpResponse>>,
    unset: &str,
    doing: &str,
) -> Result<std::result::Result<Option<T>, Aspect>>
where
    E: ProvideErrorMetadata + StdError + 'static,
{
    let emulated = Deployment::endpoint_of_environment().is_some();
    match answer {
        Ok(found) => Ok(Ok(Some(found))),
        Err(error) if error.is(&[unset]) => Ok(Ok(None)),
        Err(error) if emulated && error.is(&["NotImplemented", "501", "MethodNotAllowed"]) => Ok(Err(Aspect::Absent)),
        Err(error) => Err(error).explained(doing),
    }
}

async fn blocks_public_access(site: &Site) -> Result<Aspect> {
    let (s3, bucket) = (&site.aws.s3, site.bucket());
    let found = s3.get_public_access_block().bucket(&bucket).send().await;
    let doing = "reading the bucket's public access block";
    let found = match setting(found, "NoSuchPublicAccessBlockConfiguration", doing)? {
        Ok(found) => found.and_then(|found| found.public_access_block_configuration),
        Err(absent) => return Ok(absent),
    };
    let wanted = PublicAccessBlockConfiguration::builder()
        .block_public_acls(true)
        .ignore_public_acls(true)
        .block_public_policy(true)
        .restrict_public_buckets(true)
        .build();
    if found.as_ref() == Some(&wanted) {
        return Ok(Aspect::Right);
    }
    if !site.dry_run {
        let put = s3.put_public_access_block().bucket(&bucket).public_access_block_configuration(wanted);
        put.send().await.explained("making the bucket private")?;
    }
    Ok(Aspect::Differs)
}

/// Returns whether public access is blocked, for `doctor`; `None` if the emulator does not support the setting.
/// Corrects the setting, unless this is a dry run.
pub(crate) async fn is_private(site: &Site) -> Result<Option<bool>> {
    let aspect = blocks_public_access(site).await?;
    Ok((aspect != Aspect::Absent).then_some(aspect == Aspect::Right))
}

async fn encrypts(site: &Site) -> Result<Aspect> {
    let (s3, bucket) = (&site.aws.s3, site.bucket());
    let found = s3.get_bucket_encryption().bucket(&bucket).send().await;
    let doing = "reading the bucket's encryption";
    let found = match setting(found, "ServerSideEncryptionConfigurationNotFoundError", doing)? {
        Ok(found) => found.and_then(|found| found.server_side_encryption_configuration),
        Err(absent) => return Ok(absent),
    };
    // Any other encryption is the user's choice, for example with keys of their own.
    if found.is_some_and(|found| found.rules().iter().any(|r| r.apply_server_side_encryption_by_default().is_some())) {
        return Ok(Aspect::Right);
    }
    if !site.dry_run {
        let by_default =
            ServerSideEncryptionByDefault::builder().sse_algorithm(ServerSideEncryption::Aes256).build()?;
        let rule = ServerSideEncryptionRule::builder().apply_server_side_encryption_by_default(by_default).build();
        let wanted = ServerSideEncryptionConfiguration::builder().rules(rule).build()?;
        let put = s3.put_bucket_encryption().bucket(&bucket).server_side_encryption_configuration(wanted);
        put.send().await.explained("encrypting the bucket")?;
    }
    Ok(Aspect::Differs)
}

async fn tags(site: &Site) -> Result<std::result::Result<Vec<Tag>, Aspect>> {
    let found = site.aws.s3.get_bucket_tagging().bucket(site.bucket()).send().await;
    let found = setting(found, "NoSuchTagSet", "reading the bucket's tags")?;
    Ok(found.map(|found| found.map_or_else(Vec::new, |found| found.tag_set)))
}

async fn tagged(site: &Site) -> Result<Aspect> {
    let mut tags = match tags(site).await? {
        Ok(tags) => tags,
        Err(absent) => return Ok(absent),
    };
    if tags.iter().any(|tag| tag.key == TAG) {
        return Ok(Aspect::Right);
    }
    if !site.dry_run {
        // All deployments share the bucket, so the value of the tag is not the name of one.
        tags.push(Tag::builder().key(TAG).value("all").build()?);
        let tagging = Tagging::builder().set_tag_set(Some(tags)).build()?;
        let put = site.aws.s3.put_bucket_tagging().bucket(site.bucket()).tagging(tagging);
        put.send().await.explained("tagging the bucket")?;
    }
    Ok(Aspect::Differs)
}

/// Returns whether wren created the bucket. On an emulator without tags, it assumes that wren did.
pub(crate) async fn is_tagged(site: &Site) -> Result<bool> {
    Ok(tags(site).await?.map_or(true, |tags| tags.iter().any(|tag| tag.key == TAG)))
}

async fn rules(site: &Site) -> Result<std::result::Result<Vec<LifecycleRule>, Aspect>> {
    let found = site.aws.s3.get_bucket_lifecycle_configuration().bucket(site.bucket()).send().await;
    let found = setting(found, "NoSuchLifecycleConfiguration", "reading the bucket's expiry")?;
    Ok(found.map(|found| found.and_then(|found| found.rules).unwrap_or_default()))
}

fn is_own(site: &Site, rule: &LifecycleRule) -> bool {
    rule.id() == Some(&site.name.rule())
}

async fn expires(site: &Site, keep_days: i32) -> Result<Aspect> {
    let mut rules = match rules(site).await? {
        Ok(rules) => rules,
        Err(absent) => return Ok(absent),
    };
    let own = rules.iter().find(|rule| is_own(site, rule));
    let is_right = |rule: &LifecycleRule| {
        rule.status == ExpirationStatus::Enabled
            && rule.expiration().and_then(LifecycleExpiration::days) == Some(keep_days)
            && rule.filter().and_then(LifecycleRuleFilter::prefix) == Some(&site.name.prefix())
            && rule.abort_incomplete_multipart_upload().is_some()
    };
    if own.is_some_and(is_right) {
        return Ok(Aspect::Right);
    }
    if !site.dry_run {
        let abort = AbortIncompleteMultipartUpload::builder().days_after_initiation(1).build();
        let rule = LifecycleRule::builder()
            .id(site.name.rule())
            .status(ExpirationStatus::Enabled)
            .filter(LifecycleRuleFilter::builder().prefix(site.name.prefix()).build())
            .expiration(LifecycleExpiration::builder().days(keep_days).build())
            .abort_incomplete_multipart_upload(abort)
            .build()?;
        rules.retain(|rule| !is_own(site, rule));
        rules.push(rule);
        put_rules(site, rules).await?;
    }
    Ok(Aspect::Differs)
}

/// Replaces the bucket's rules. S3 only accepts all rules at once, so `rules` must contain those of other deployments.
async fn put_rules(site: &Site, rules: Vec<LifecycleRule>) -> Result<()> {
    let configuration = BucketLifecycleConfiguration::builder().set_rules(Some(rules)).build()?;
    let put = site.aws.s3.put_bucket_lifecycle_configuration().bucket(site.bucket());
    put.lifecycle_configuration(configuration).send().await.explained("setting the bucket's expiry").map(drop)
}

/// Returns whether the bucket has the deployment's rule.
pub(crate) async fn has_rule(site: &Site) -> Result<bool> {
    Ok(rules(site).await?.is_ok_and(|rules| rules.iter().any(|rule| is_own(site, rule))))
}

/// Removes the deployment's rule from the bucket.
pub(crate) async fn remove_rule(site: &Site) -> Result<()> {
    let Ok(mut rules) = rules(site).await? else { return Ok(()) };
    let before = rules.len();
    rules.retain(|rule| !is_own(site, rule));
    match rules.len() {
        same if same == before => Ok(()),
        0 => {
            let delete = site.aws.s3.delete_bucket_lifecycle().bucket(site.bucket());
            delete.send().await.explained("removing the bucket's expiry").map(drop)
        }
        _ => put_rules(site, rules).await,
    }
}

/// Returns the key of a packed program in the bucket.
pub(crate) fn code_key(site: &Site, package: &Package) -> String {
    format!("{}code/{}.zip", site.name.prefix(), package.hex())
}

/// Uploads the program, unless the bucket already has it.
///
/// The object of an earlier upload may have expired; Lambda keeps a copy of its own. It is uploaded again in this case.
pub(crate) async fn upload(site: &Site, package: &Package) -> Result<()> {
    let (s3, bucket, key) = (&site.aws.s3, site.bucket(), code_key(site, package));
    let megabytes = format!("{:.1} MB", package.zip.len() as f64 / 1e6);
    site.report.doing(format!("uploading {megabytes}"));
    let exists = match s3.head_object().bucket(&bucket).key(&key).send().await {
        Ok(head) => head.content_length() == i64::try_from(package.zip.len()).ok(),
        // In a dry run, the bucket may not exist yet.
        Err(error) if error.is(&["404", "NotFound", "NoSuchKey", "NoSuchBucket"]) => false,
        Err(error) => return Err(error).explained(&format!("looking for the program in {bucket}")),
    };
    if exists {
        site.report.step("program", &key, Change::Keep, megabytes);
        return Ok(());
    }
    if !site.dry_run {
        let put = s3.put_object().bucket(&bucket).key(&key).body(ByteStream::from(package.zip.clone()));
        let uploaded = put.send().await.explained(&format!("uploading the program to {bucket}"));
        uploaded.context("the functions were not changed")?;
    }
    site.report.step("program", &key, Change::Create, megabytes);
    Ok(())
}
