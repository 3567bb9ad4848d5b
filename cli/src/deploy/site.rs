//! Where a deployment is, or will be: account, region, name.

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
    /// Nothing is changed; what would be is reported.
    pub(crate) dry_run: bool,
    pub(crate) report: Report,
}

impl Site {
    /// Where a recorded deployment is. The credentials must be of its account, and the region its own.
    pub(crate) fn recorded(aws: Aws, account: String, record: &Deployment, report: Report) -> Result<Self> {
        if aws.region != record.region {
            bail!(
                "the deployment {} is in {}, and the region is set to {}; set AWS_REGION={}",
                record.name,
                record.region,
                aws.region,
                record.region
            );
        }
        if account != record.account {
            bail!(
                "the deployment {} is in account {}, and the credentials are of {account}; use others, as by \
                 AWS_PROFILE, or run `cargo wren deploy` to have it in this account too",
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

    /// The store's URL.
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

/// The record in a folder; an error where there is none.
pub(crate) fn record(directory: &Path) -> Result<Deployment> {
    Deployment::load(directory)?.with_context(|| {
        format!(
            "nothing is deployed from here: there is no {}; run `cargo wren deploy`",
            Deployment::path(directory, Deployment::endpoint_of_environment().as_deref()).display()
        )
    })
}
