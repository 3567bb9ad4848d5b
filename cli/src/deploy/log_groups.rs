//! The CloudWatch log groups of the deployment's functions.

use anyhow::Result;

use super::report::Change;
use super::{Site, TAG, name};
use crate::aws::{ErrorCode, ExplainError, if_there};

const ABSENT: [&str; 1] = ["ResourceNotFoundException"];

/// Number of days for which log lines are kept.
pub(crate) const RETENTION_DAYS: i32 = 14;

/// Creates or updates the log group of a function. Lambda would create one that keeps lines forever.
pub(crate) async fn ensure(site: &Site, lambda: &str) -> Result<()> {
    let group = name::log_group(lambda);
    site.report.doing(format!("looking at the log group {group}"));
    let describe = site.aws.logs.describe_log_groups().log_group_name_prefix(&group).send().await;
    let described = describe.explained("looking for log groups")?;
    let found = described.log_groups().iter().find(|found| found.log_group_name() == Some(&group));
    let retention = found.and_then(|found| found.retention_in_days());
    if found.is_some() && retention == Some(RETENTION_DAYS) {
        site.report.step("log group", &group, Change::Keep, "");
        return Ok(());
    }
    if !site.dry_run {
        let create = site.aws.logs.create_log_group().log_group_name(&group).tags(TAG, site.name.as_str());
        match create.send().await {
            Err(error) if error.is(&["ResourceAlreadyExistsException"]) => {}
            created => drop(created.explained(&format!("creating the log group {group}"))?),
        }
        let put = site.aws.logs.put_retention_policy().log_group_name(&group).retention_in_days(RETENTION_DAYS);
        put.send().await.explained("setting the retention of log lines")?;
    }
    let change = if found.is_some() { Change::Update } else { Change::Create };
    site.report.step("log group", &group, change, format!("lines are kept for {RETENTION_DAYS} days"));
    Ok(())
}

/// Returns the log groups of all functions that the deployment has or had.
pub(crate) async fn all(site: &Site) -> Result<Vec<String>> {
    let prefix = name::log_group(&format!("wren-{}-", site.name));
    let mut pages = site.aws.logs.describe_log_groups().log_group_name_prefix(prefix).into_paginator().send();
    let mut groups = Vec::new();
    while let Some(page) = pages.next().await {
        let page = page.explained("listing log groups")?;
        groups.extend(page.log_groups().iter().filter_map(|group| group.log_group_name().map(str::to_owned)));
    }
    let lambda = |group: &str| group.strip_prefix(&name::log_group("")).map(str::to_owned);
    groups.retain(|group| lambda(group).is_some_and(|lambda| site.name.has_lambda(&lambda)));
    Ok(groups)
}

pub(crate) async fn remove(site: &Site, group: &str) -> Result<()> {
    let deleted = site.aws.logs.delete_log_group().log_group_name(group).send().await;
    if_there(deleted, &ABSENT, &format!("deleting the log group {group}")).map(drop)
}
