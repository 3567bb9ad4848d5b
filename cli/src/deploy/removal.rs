//! Finds the resources of a deployment in AWS by names and tags, and removes them.

use std::path::PathBuf;

use anyhow::{Result, bail};
use aws_sdk_s3::types::{Delete, ObjectIdentifier};
use serde::Serialize;

use super::report::Change;
use super::{Site, bucket, counted, functions, log_groups, role};
use crate::aws::{ErrorCode, ExplainError, if_there};

const NO_BUCKET: [&str; 3] = ["NoSuchBucket", "404", "NotFound"];

/// Maximum number of objects that one request deletes (DeleteObjects).
const BATCH: usize = 1_000;

/// The existing resources of a deployment.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Resources {
    pub(crate) functions: Vec<String>,
    pub(crate) log_groups: Vec<String>,
    pub(crate) role: Option<String>,
    /// Number of objects below its prefix.
    pub(crate) objects: usize,
    /// Whether the bucket's lifecycle has its rule.
    pub(crate) rule: bool,
    /// The bucket, if wren created it and it holds nothing else.
    pub(crate) bucket: Option<String>,
    pub(crate) record: Option<PathBuf>,
}

impl Resources {
    /// Returns one line per resource.
    pub(crate) fn lines(&self, site: &Site) -> Vec<String> {
        let functions = self.functions.iter().map(|name| format!("function {name}"));
        let groups = self.log_groups.iter().map(|name| format!("log group {name}"));
        let role = self.role.iter().map(|name| format!("role {name}"));
        let (bucket, prefix) = (site.bucket(), site.name.prefix());
        let objects =
            (self.objects > 0).then(|| format!("{} below s3://{bucket}/{prefix}", counted(self.objects, "object")));
        let rule = self.rule.then(|| format!("lifecycle rule {} of the bucket {bucket}", site.name.rule()));
        let whole = self.bucket.iter().map(|name| format!("bucket {name}, which holds nothing else"));
        let record = self.record.iter().map(|path| format!("record {}", path.display()));
        functions.chain(groups).chain(role).chain(objects).chain(rule).chain(whole).chain(record).collect()
    }
}

/// Finds the deployment's resources without changing anything.
pub(crate) async fn find(site: &Site, record: Option<PathBuf>) -> Result<Resources> {
    site.report.doing("looking for the deployment's resources");
    let mut found = Resources {
        functions: functions::tagged(site).await?,
        log_groups: log_groups::all(site).await?,
        role: match role::look(site).await? {
            role::RoleState::Right | role::RoleState::Differs => Some(site.role()),
            role::RoleState::Absent | role::RoleState::Foreign => None,
        },
        record,
        ..Resources::default()
    };
    if bucket::exists(site).await? {
        found.objects = keys(site).await?.len();
        found.rule = bucket::has_rule(site).await?;
        if bucket::is_tagged(site).await? && !has_others(site).await? {
            found.bucket = Some(site.bucket());
        }
    }
    Ok(found)
}

async fn keys(site: &Site) -> Result<Vec<String>> {
    let list = site.aws.s3.list_objects_v2().bucket(site.bucket()).prefix(site.name.prefix());
    let mut pages = list.into_paginator().send();
    let mut keys = Vec::new();
    while let Some(page) = pages.next().await {
        let page = page.explained("listing the deployment's objects")?;
        keys.extend(page.contents().iter().filter_map(|object| object.key().map(str::to_owned)));
    }
    Ok(keys)
}

/// Returns whether the bucket holds objects of anything other than this deployment.
async fn has_others(site: &Site) -> Result<bool> {
    let prefix = site.name.prefix();
    // Keys are listed in order: other keys come either before or after all keys with the prefix.
    for after in [String::new(), format!("{prefix}\u{10ffff}")] {
        let list = site.aws.s3.list_objects_v2().bucket(site.bucket()).max_keys(1);
        let page = list.set_start_after(Some(after).filter(|after| !after.is_empty())).send().await;
        let page = page.explained("looking for other objects in the bucket")?;
        if page.contents().iter().any(|object| object.key().is_some_and(|key| !key.starts_with(&prefix))) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Removes the resources that were found. The functions come first, so that none of them runs on with only half of its
/// resources.
pub(crate) async fn remove(site: &Site, found: &Resources) -> Result<()> {
    let report = &site.report;
    for name in &found.functions {
        report.doing(format!("deleting the function {name}"));
        functions::remove(site, name).await?;
        report.step("function", name, Change::Delete, "");
    }
    for group in &found.log_groups {
        report.doing(format!("deleting the log group {group}"));
        log_groups::remove(site, group).await?;
        report.step("log group", group, Change::Delete, "");
    }
    if let Some(name) = &found.role {
        role::remove(site).await?;
        report.step("role", name, Change::Delete, "");
    }
    if found.objects > 0 {
        let count = remove_objects(site).await?;
        let below = format!("s3://{}/{}", site.bucket(), site.name.prefix());
        report.step("objects", &below, Change::Delete, counted(count, "object"));
    }
    // Deleting the bucket deletes the rule too.
    let gone = match &found.bucket {
        Some(name) => remove_bucket(site, name).await?,
        None => false,
    };
    if found.rule && !gone {
        abort_uploads(site).await?;
        bucket::remove_rule(site).await?;
        report.step("rule", &site.name.rule(), Change::Delete, "");
    }
    if let Some(path) = &found.record {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                bail!("cannot delete {}: {error}; delete it yourself", path.display())
            }
            _ => report.step("record", &path.display().to_string(), Change::Delete, ""),
        }
    }
    Ok(())
}

async fn remove_objects(site: &Site) -> Result<usize> {
    let keys = keys(site).await?;
    for (batch, done) in keys.chunks(BATCH).zip((0..).step_by(BATCH)) {
        site.report.doing(format!("deleting objects: {done} of {}", keys.len()));
        let identifier = |key: &String| ObjectIdentifier::builder().key(key).build();
        let objects = batch.iter().map(identifier).collect::<std::result::Result<Vec<_>, _>>()?;
        let delete = Delete::builder().set_objects(Some(objects)).quiet(true).build()?;
        let deleted = site.aws.s3.delete_objects().bucket(site.bucket()).delete(delete).send().await;
        let deleted = deleted.explained("deleting the deployment's objects")?;
        if let Some(error) = deleted.errors().first() {
            bail!(
                "S3 cannot delete {}: {}; run `cargo wren destroy` again",
                error.key().unwrap_or("an object"),
                error.message().unwrap_or("S3 did not report a reason")
            );
        }
    }
    Ok(keys.len())
}

/// Aborts incomplete multipart uploads. They cost as much as objects, and the rule that would abort them is about to be
/// removed.
async fn abort_uploads(site: &Site) -> Result<()> {
    let s3 = &site.aws.s3;
    let listed = s3.list_multipart_uploads().bucket(site.bucket()).prefix(site.name.prefix()).send().await;
    let absent = ["NoSuchBucket", "NotImplemented", "501"];
    let Some(listed) = if_there(listed, &absent, "listing incomplete uploads")? else { return Ok(()) };
    for upload in listed.uploads() {
        if let (Some(key), Some(id)) = (upload.key(), upload.upload_id()) {
            let abort = s3.abort_multipart_upload().bucket(site.bucket()).key(key).upload_id(id).send().await;
            if_there(abort, &["NoSuchUpload"], "aborting an incomplete upload")?;
        }
    }
    Ok(())
}

/// Deletes the bucket, unless it is in use, and returns whether it was deleted.
async fn remove_bucket(site: &Site, name: &str) -> Result<bool> {
    site.report.doing(format!("deleting the bucket {name}"));
    let deleted = site.aws.s3.delete_bucket().bucket(name).send().await;
    match deleted {
        // Another deployment has started to use the bucket in the meantime.
        Err(error) if error.is(&["BucketNotEmpty"]) => {
            site.report.step("bucket", name, Change::Keep, "it is in use");
            Ok(false)
        }
        deleted => {
            if_there(deleted, &NO_BUCKET, &format!("deleting the bucket {name}"))?;
            site.report.step("bucket", name, Change::Delete, "");
            Ok(true)
        }
    }
}
