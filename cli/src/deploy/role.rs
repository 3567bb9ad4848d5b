//! The IAM role under which the functions run.

use anyhow::{Result, bail};
use aws_sdk_iam::types::{Role, Tag};

use super::report::Change;
use super::{Site, TAG, policy};
use crate::aws::{ExplainError, if_there};

const ABSENT: [&str; 1] = ["NoSuchEntity"];

/// Creates or updates the role and its only policy.
pub(crate) async fn ensure(site: &Site) -> Result<()> {
    let role = site.role();
    site.report.doing(format!("looking at the role {role}"));
    let trust = policy::trust();
    let permissions = policy::permissions(&site.name, &site.account, &site.aws.region);
    let found = site.aws.iam.get_role().role_name(&role).send().await;
    let found = if_there(found, &ABSENT, &format!("looking for the role {role}"))?.and_then(|found| found.role);
    let mut updated = Vec::new();
    if let Some(found) = &found {
        if !is_own(site, found) {
            bail!(
                "the role {role} exists, but deploy did not create it: it does not have the tag {TAG}={}; choose \
                 another --name for the deployment, or delete that role",
                site.name
            );
        }
        if !policy::is_same(found.assume_role_policy_document(), &trust) {
            updated.push("trust");
            if !site.dry_run {
                let update = site.aws.iam.update_assume_role_policy().role_name(&role);
                update
                    .policy_document(trust.to_string())
                    .send()
                    .await
                    .explained("allowing Lambda to assume the role")?;
            }
        }
    } else if !site.dry_run {
        let create = site.aws.iam.create_role().role_name(&role).assume_role_policy_document(trust.to_string());
        let create = create.description(format!("Role of the functions in the wren deployment {}", site.name));
        let tag = Tag::builder().key(TAG).value(site.name.as_str()).build()?;
        create.tags(tag).send().await.explained(&format!("creating the role {role}"))?;
    }
    if found.is_none() || !has_policy(site, &permissions).await? {
        updated.push("policy");
        if !site.dry_run {
            let put = site.aws.iam.put_role_policy().role_name(&role).policy_name(policy::POLICY);
            put.policy_document(permissions.to_string())
                .send()
                .await
                .explained("setting the permissions of the role")?;
        }
    }
    let change = match (&found, updated.is_empty()) {
        (None, _) => Change::Create,
        (_, true) => Change::Keep,
        (_, false) => Change::Update,
    };
    let detail = if change == Change::Update { updated.join(", ") } else { String::new() };
    site.report.step("role", &role, change, detail);
    Ok(())
}

fn is_own(site: &Site, role: &Role) -> bool {
    role.tags().iter().any(|tag| tag.key() == TAG && tag.value() == site.name.as_str())
}

async fn has_policy(site: &Site, wanted: &serde_json::Value) -> Result<bool> {
    let found = site.aws.iam.get_role_policy().role_name(site.role()).policy_name(policy::POLICY).send().await;
    let found = if_there(found, &ABSENT, "reading the permissions of the role")?;
    Ok(found.is_some_and(|found| policy::is_same(Some(found.policy_document()), wanted)))
}

/// The state of the role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RoleState {
    Absent,
    /// Its permissions are not those that deploy sets.
    Differs,
    Right,
    /// It does not have the deployment's tag.
    Foreign,
}

/// Returns the state of the role without changing anything.
pub(crate) async fn look(site: &Site) -> Result<RoleState> {
    let role = site.role();
    let found = site.aws.iam.get_role().role_name(&role).send().await;
    let Some(found) = if_there(found, &ABSENT, &format!("looking for the role {role}"))?.and_then(|found| found.role)
    else {
        return Ok(RoleState::Absent);
    };
    if !is_own(site, &found) {
        return Ok(RoleState::Foreign);
    }
    let permissions = policy::permissions(&site.name, &site.account, &site.aws.region);
    let trusted = policy::is_same(found.assume_role_policy_document(), &policy::trust());
    Ok(if trusted && has_policy(site, &permissions).await? { RoleState::Right } else { RoleState::Differs })
}

/// Deletes the role and its policy.
pub(crate) async fn remove(site: &Site) -> Result<()> {
    let role = site.role();
    let policy = site.aws.iam.delete_role_policy().role_name(&role).policy_name(policy::POLICY).send().await;
    if_there(policy, &ABSENT, "deleting the policy of the role")?;
    let deleted = site.aws.iam.delete_role().role_name(&role).send().await;
    if_there(deleted, &ABSENT, &format!("deleting the role {role}")).map(drop)
}
