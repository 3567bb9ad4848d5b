//! The location of an existing or planned deployment: account, region and name.

use std::path::Path;

use anyhow::{Context, Result, bail};
use wren::deployment::Deployment;

use super::name::{self, Name};
use super::policy;
use super::report::Report;
use crate::aws::Aws;

#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) aws: Aws,
    pub(crate) account: String,
    pub(crate) name: Name,
    /// Whether changes are only reported and not made.
    pub(crate) dry_run: bool,
    pub(crate) report: Report,
}

impl Site {
    /// Returns the location of a recorded deployment, after checking that the credentials belong to its account and
    /// that the region is the same.
    pub(crate) fn recorded(aws: Aws, account: String, record: &Deployment, report: Report) -> Result<Self> {
        if aws.region != record.region {
            bail!(
                "the deployment {} is in {}, but the region is set to {}; set AWS_REGION={}",
                record.name,
                record.region,
                aws.region,
                record.region
            );
        }
        if account != record.account {
            bail!(
                "the deployment {} is in account {}, but the credentials are for account {account}; use other \
                 credentials, for example with AWS_PROFILE, or run `cargo wren deploy` to deploy to this account too",
                record.name,
                record.account
            );
        }
        let name = Name::given(&record.name).context("the deployment's record is damaged; run `cargo wren deploy`")?;
        Ok(Self { aws, account, name, dry_run: false, report })
    }

    pub(crate) fn bucket(&self) -> String {
        name::bucket(&self.account, &self.aws.region)
    }

    /// Returns the URL of the deployment's store.
    pub(crate) fn store(&self) -> String {
        format!("s3://{}/{}", self.bucket(), self.name)
    }

    pub(crate) fn role(&self) -> String {
        self.name.role(&self.aws.region)
    }

    pub(crate) fn role_arn(&self) -> String {
        format!("arn:{}:iam::{}:role/{}", policy::partition(&self.aws.region), self.account, self.role())
    }
}

/// Loads the deployment's record from a folder.
///
/// # Errors
///
/// Fails if there is no record.
pub(crate) fn record(directory: &Path) -> Result<Deployment> {
    Deployment::load(directory)?.with_context(|| {
        format!(
            "nothing is deployed from here: {} does not exist; run `cargo wren deploy`",
            Deployment::path(directory, Deployment::endpoint_of_environment().as_deref()).display()
        )
    })
}
