//! Creates, changes, describes and deletes functions.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::macros::format_description;

use super::super::Answer;
use super::super::answer::{Failure, empty, json as answer, new_id};
use super::code::{self, Code};
use super::settings::{ConfigRequest, EventConfig, Settings};
use super::{Lambda, arn, input, valid_name};

/// Time for which a new function is `Pending`, so that clients which do not wait for it fail.
const PENDING: Duration = Duration::from_millis(500);

/// Duration of an update. Meanwhile, the previous version of the function answers.
const UPDATING: Duration = Duration::from_millis(500);

/// A function, with the settings that do not belong to its versions.
pub(super) struct Function {
    created: Instant,
    changed: Instant,
    /// The version that answers while an update is in progress.
    previous: Arc<Version>,
    latest: Arc<Version>,
    pub(super) tags: BTreeMap<String, String>,
    pub(super) events: Option<EventConfig>,
}

/// Code and settings of a function at a point in time.
pub(super) struct Version {
    pub(super) name: String,
    pub(super) code: Code,
    pub(super) settings: Settings,
    modified: OffsetDateTime,
    pub(super) revision: String,
}

/// The source of a function's code in a request.
#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Source {
    zip_file: Option<String>,
    s3_bucket: Option<String>,
    s3_key: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Create {
    function_name: String,
    code: Source,
    #[serde(default)]
    tags: BTreeMap<String, String>,
    #[serde(flatten)]
    config: ConfigRequest,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct UpdateCode {
    #[serde(flatten)]
    source: Source,
    architectures: Option<Vec<String>>,
    revision_id: Option<String>,
    #[serde(default)]
    dry_run: bool,
}

impl Version {
    fn new(name: &str, code: Code, settings: Settings) -> Arc<Self> {
        let (modified, revision) = (OffsetDateTime::now_utc(), new_id());
        Arc::new(Self { name: name.to_owned(), code, settings, modified, revision })
    }
}

impl Function {
    fn pending(&self) -> bool {
        self.created.elapsed() < PENDING
    }

    fn updating(&self) -> bool {
        !Arc::ptr_eq(&self.previous, &self.latest) && self.changed.elapsed() < UPDATING
    }

    /// Returns the version that answers invocations now.
    pub(super) fn serving(&self) -> Result<Arc<Version>, Failure> {
        if self.pending() {
            return Err(conflict("The function is currently in the following state: Pending"));
        }
        Ok(if self.updating() { self.previous.clone() } else { self.latest.clone() })
    }

    /// Returns the version to change, or an error if the function cannot be changed now.
    fn changeable(&self, revision: Option<&str>) -> Result<Arc<Version>, Failure> {
        if self.pending() {
            return Err(conflict("The function is currently in the following state: Pending"));
        }
        if self.updating() {
            let message = format!("An update is in progress for resource: {}", arn(&self.latest.name));
            return Err(conflict(&message));
        }
        if revision.is_some_and(|revision| revision != self.latest.revision) {
            let message = "The Revision Id provided does not match the latest Revision Id. Call the \
                           GetFunction/GetAlias API to retrieve the latest Revision Id";
            return Err(Failure::new(412, "PreconditionFailedException", message));
        }
        Ok(self.latest.clone())
    }

    fn change(&mut self, version: Arc<Version>) {
        self.previous = std::mem::replace(&mut self.latest, version);
        self.changed = Instant::now();
    }

    fn describe(&self) -> Value {
        let Version { name, code, settings, modified, revision } = &*self.latest;
        let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]+0000");
        let mut value = settings.describe(name);
        let own = json!({
            "FunctionName": name,
            "FunctionArn": arn(name),
            "CodeSize": code.size,
            "CodeSha256": code.sha256,
            "LastModified": modified.format(&format).unwrap_or_default(),
            "Version": "$LATEST",
            "RevisionId": revision,
            "PackageType": "Zip",
        });
        merge(&mut value, own);
        let state = if self.pending() {
            json!({"State": "Pending", "StateReason": "The function is being created.", "StateReasonCode": "Creating",
                   "LastUpdateStatus": "InProgress", "LastUpdateStatusReason": "The function is being created.",
                   "LastUpdateStatusReasonCode": "Creating"})
        } else if self.updating() {
            json!({"State": "Active", "LastUpdateStatus": "InProgress",
                   "LastUpdateStatusReason": "The function is being updated.",
                   "LastUpdateStatusReasonCode": "Updating"})
        } else {
            json!({"State": "Active", "LastUpdateStatus": "Successful"})
        };
        merge(&mut value, state);
        value
    }
}

impl Lambda {
    pub(super) async fn create(&self, body: &[u8]) -> Result<Answer, Failure> {
        let Create { function_name: name, code, tags, config } = input(body)?;
        valid_name(&name)?;
        let settings = config.create()?;
        self.assumable(&settings)?;
        if self.functions().contains_key(&name) {
            return Err(exists(&name));
        }
        let code = self.unpacked(code).await?;
        let version = Version::new(&name, code, settings);
        let now = Instant::now();
        let function =
            Function { created: now, changed: now, previous: version.clone(), latest: version, tags, events: None };
        let mut functions = self.functions();
        if functions.contains_key(&name) {
            return Err(exists(&name));
        }
        let described = function.describe();
        functions.insert(name, function);
        Ok(answer(201, &described))
    }

    pub(super) fn get(&self, name: &str) -> Result<Answer, Failure> {
        let reserved = self.fleet.reserved(name);
        self.with(name, |function| {
            let location = format!("file://{}", function.latest.code.folder.display());
            let mut value = json!({
                "Configuration": function.describe(),
                "Code": {"RepositoryType": "S3", "Location": location},
            });
            if !function.tags.is_empty() {
                value["Tags"] = json!(function.tags);
            }
            if let Some(reserved) = reserved {
                value["Concurrency"] = json!({"ReservedConcurrentExecutions": reserved});
            }
            Ok(answer(200, &value))
        })
    }

    pub(super) fn configuration(&self, name: &str) -> Result<Answer, Failure> {
        self.with(name, |function| Ok(answer(200, &function.describe())))
    }

    pub(super) fn list(&self, query: &str) -> Result<Answer, Failure> {
        let limit = super::parameter(query, "MaxItems").and_then(|limit| limit.parse().ok()).unwrap_or(50);
        let after = super::parameter(query, "Marker").unwrap_or_default();
        let functions = self.functions();
        let mut rest =
            functions.range::<str, _>((std::ops::Bound::Excluded(after.as_str()), std::ops::Bound::Unbounded));
        let page: Vec<_> = rest.by_ref().take(limit).collect();
        let described: Vec<_> = page.iter().map(|(_, function)| function.describe()).collect();
        let mut value = json!({"Functions": described});
        if let (Some((last, _)), true) = (page.last(), rest.next().is_some()) {
            value["NextMarker"] = json!(last);
        }
        Ok(answer(200, &value))
    }

    pub(super) fn delete(&self, name: &str) -> Result<Answer, Failure> {
        self.functions().remove(name).ok_or_else(|| super::no_function(name))?;
        self.events.forget(name);
        self.fleet.forget(name);
        Ok(empty(204))
    }

    pub(super) fn configure(&self, name: &str, body: &[u8]) -> Result<Answer, Failure> {
        let config: ConfigRequest = input(body)?;
        let described = self.with(name, |function| {
            let current = function.changeable(config.revision_id.as_deref())?;
            let settings = config.change(&current.settings)?;
            self.assumable(&settings)?;
            function.change(Version::new(name, current.code.clone(), settings));
            Ok(function.describe())
        })?;
        self.retire_later(name);
        Ok(answer(200, &described))
    }

    pub(super) async fn update_code(&self, name: &str, body: &[u8]) -> Result<Answer, Failure> {
        let UpdateCode { source, architectures, revision_id, dry_run } = input(body)?;
        self.with(name, |function| function.changeable(revision_id.as_deref()).map(drop))?;
        let code = self.unpacked(source).await?;
        let described = self.with(name, |function| {
            let current = function.changeable(revision_id.as_deref())?;
            let mut settings = current.settings.clone();
            settings.set_architecture(architectures.as_deref())?;
            if !dry_run {
                function.change(Version::new(name, code, settings));
            }
            Ok(function.describe())
        })?;
        self.retire_later(name);
        Ok(answer(200, &described))
    }

    /// Ends the idle instances of earlier versions once these no longer answer.
    fn retire_later(&self, name: &str) {
        let latest = self.with(name, |function| Ok(function.latest.revision.clone()));
        let (fleet, name) = (self.fleet.clone(), name.to_owned());
        tokio::spawn(async move {
            tokio::time::sleep(UPDATING).await;
            fleet.retire(&name, latest.ok().as_deref());
        });
    }

    fn assumable(&self, settings: &Settings) -> Result<(), Failure> {
        if self.place.identity.assumable(&settings.role) {
            return Ok(());
        }
        Err(Failure::parameter("The role defined for the function cannot be assumed by Lambda."))
    }

    /// Reads code from its source and unpacks it on a thread that may block.
    async fn unpacked(&self, source: Source) -> Result<Code, Failure> {
        let zip = match source {
            Source { zip_file: Some(text), s3_bucket: None, s3_key: None } => code::decode(&text)?.into(),
            Source { zip_file: None, s3_bucket: Some(bucket), s3_key: Some(key) } => {
                self.place.objects.read(&bucket, &key).await.map_err(|(code, message)| {
                    Failure::parameter(format!(
                        "Error occurred while GetObject. S3 Error Code: {code}. S3 Error Message: {message}"
                    ))
                })?
            }
            _ => return Err(Failure::parameter("Please provide a source for function code.")),
        };
        let parent = self.place.folder.join("code");
        let unpacked = tokio::task::spawn_blocking(move || code::unpack(&zip, &parent)).await;
        unpacked.map_err(|e| Failure::new(500, "ServiceException", e.to_string()))?
    }
}

fn exists(name: &str) -> Failure {
    Failure::new(409, "ResourceConflictException", format!("Function already exist: {name}"))
}

fn conflict(why: &str) -> Failure {
    let message = format!("The operation cannot be performed at this time. {why}");
    Failure::new(409, "ResourceConflictException", message)
}

fn merge(value: &mut Value, more: Value) {
    if let (Value::Object(value), Value::Object(more)) = (value, more) {
        value.extend(more);
    }
}
