//! Settings of functions: their configuration, events, concurrency, tags.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use time::OffsetDateTime;
use wren::limits;

use super::super::Answer;
use super::super::answer::{Failure, empty, json as answer};
use super::{Lambda, arn, input};

/// The configuration of a function.
#[derive(Debug, Clone, Default)]
pub(super) struct Settings {
    runtime: String,
    pub(super) role: String,
    pub(super) handler: String,
    description: String,
    /// In seconds.
    pub(super) timeout: u32,
    /// In MB.
    pub(super) memory: u32,
    /// Size of `/tmp` in MB; not enforced.
    ephemeral: u32,
    pub(super) variables: BTreeMap<String, String>,
    pub(super) architecture: String,
    log_group: Option<String>,
}

/// The configuration in a request.
#[derive(Debug, Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct ConfigRequest {
    runtime: Option<String>,
    role: Option<String>,
    handler: Option<String>,
    description: Option<String>,
    timeout: Option<u32>,
    memory_size: Option<u32>,
    ephemeral_storage: Option<Ephemeral>,
    environment: Option<Environment>,
    architectures: Option<Vec<String>>,
    logging_config: Option<Logging>,
    package_type: Option<String>,
    pub(super) revision_id: Option<String>,
    // These have no effect here.
    #[serde(rename = "Publish")]
    _publish: Value,
    #[serde(rename = "TracingConfig")]
    _tracing: Value,
    #[serde(rename = "FunctionName")]
    _name: Value,
    /// Settings that the emulator does not support.
    #[serde(flatten)]
    others: BTreeMap<String, Value>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Ephemeral {
    size: u32,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Environment {
    #[serde(default)]
    variables: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Logging {
    log_group: Option<String>,
}

impl ConfigRequest {
    /// Returns the settings of a new function.
    pub(super) fn create(self) -> Result<Settings, Failure> {
        if self.role.is_none() || self.runtime.is_none() || self.handler.is_none() {
            return Err(Failure::parameter("a function needs a Role, a Runtime and a Handler"));
        }
        let architecture = "x86_64".to_owned();
        let start =
            Settings { timeout: 3, memory: limits::MIN_MEMORY_MB, ephemeral: 512, architecture, ..Settings::default() };
        self.change(&start)
    }

    /// Returns `from` with the requested changes.
    pub(super) fn change(self, from: &Settings) -> Result<Settings, Failure> {
        if let Some(name) = self.others.keys().next() {
            return Err(Failure::parameter(format!("the emulator does not support the setting `{name}`")));
        }
        if self.package_type.is_some_and(|kind| kind != "Zip") {
            return Err(Failure::parameter("the emulator supports only functions of the package type Zip"));
        }
        let mut to = from.clone();
        let set = |to: &mut String, text: Option<String>| text.map(|text| *to = text);
        set(&mut to.runtime, self.runtime);
        set(&mut to.role, self.role);
        set(&mut to.handler, self.handler);
        set(&mut to.description, self.description);
        to.timeout = self.timeout.unwrap_or(to.timeout);
        to.memory = self.memory_size.unwrap_or(to.memory);
        to.ephemeral = self.ephemeral_storage.map_or(to.ephemeral, |storage| storage.size);
        to.log_group = self.logging_config.map_or(to.log_group, |logging| logging.log_group);
        if let Some(environment) = self.environment {
            to.variables = environment.variables;
        }
        to.set_architecture(self.architectures.as_deref())?;
        to.check()?;
        Ok(to)
    }
}

impl Settings {
    pub(super) fn log_group(&self, name: &str) -> String {
        self.log_group.clone().unwrap_or_else(|| format!("/aws/lambda/{name}"))
    }

    pub(super) fn set_architecture(&mut self, wish: Option<&[String]>) -> Result<(), Failure> {
        match wish {
            None => Ok(()),
            Some([one]) if ["x86_64", "arm64"].contains(&one.as_str()) => {
                self.architecture.clone_from(one);
                Ok(())
            }
            Some(other) => Err(Failure::parameter(format!("unknown architecture {other:?}; expected x86_64 or arm64"))),
        }
    }

    fn check(&self) -> Result<(), Failure> {
        if !["provided.al2023", "provided.al2"].contains(&self.runtime.as_str()) {
            let message = format!(
                "the emulator does not support the runtime {}; use provided.al2023 or provided.al2",
                self.runtime
            );
            return Err(Failure::parameter(message));
        }
        within("memorySize", self.memory, limits::MIN_MEMORY_MB, limits::MAX_MEMORY_MB)?;
        within("timeout", self.timeout, 1, limits::MAX_TIMEOUT_S)?;
        within("ephemeralStorage.size", self.ephemeral, limits::TMP_MB, 10_240)?;
        self.check_variables()
    }

    fn check_variables(&self) -> Result<(), Failure> {
        let refused = "Lambda was unable to configure your environment variables because the environment variables you \
                       have provided";
        let reserved: Vec<_> =
            self.variables.keys().filter(|name| RESERVED.contains(&name.as_str())).cloned().collect();
        if !reserved.is_empty() {
            return Err(Failure::parameter(format!(
                "{refused} contains reserved keys that are currently not supported for modification. Reserved keys \
                 used in this request: {}",
                reserved.join(", ")
            )));
        }
        let word = |name: &str| {
            name.len() > 1
                && name.starts_with(|c: char| c.is_ascii_alphabetic())
                && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        };
        if let Some(name) = self.variables.keys().find(|name| !word(name)) {
            return Err(Failure::parameter(format!("`{name}` is not a valid environment variable name on Lambda")));
        }
        if self.variables.values().any(|value| value.contains('\0')) {
            return Err(Failure::parameter("an environment variable contains a null byte"));
        }
        if self.variables.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() > 4 << 10 {
            return Err(Failure::parameter(format!("{refused} exceeded the 4KB limit.")));
        }
        Ok(())
    }

    pub(super) fn describe(&self, name: &str) -> Value {
        let mut value = json!({
            "Runtime": self.runtime,
            "Role": self.role,
            "Handler": self.handler,
            "Description": self.description,
            "Timeout": self.timeout,
            "MemorySize": self.memory,
            "Architectures": [self.architecture],
            "EphemeralStorage": {"Size": self.ephemeral},
            "LoggingConfig": {"LogFormat": "Text", "LogGroup": self.log_group(name)},
            "TracingConfig": {"Mode": "PassThrough"},
            "SnapStart": {"ApplyOn": "None", "OptimizationStatus": "Off"},
        });
        if !self.variables.is_empty() {
            value["Environment"] = json!({"Variables": self.variables});
        }
        value
    }
}

/// Variables that Lambda reserves and that a configuration must not set.
const RESERVED: [&str; 18] = [
    "_HANDLER",
    "_X_AMZN_TRACE_ID",
    "AWS_DEFAULT_REGION",
    "AWS_REGION",
    "AWS_EXECUTION_ENV",
    "AWS_LAMBDA_FUNCTION_NAME",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
    "AWS_LAMBDA_FUNCTION_VERSION",
    "AWS_LAMBDA_INITIALIZATION_TYPE",
    "AWS_LAMBDA_LOG_GROUP_NAME",
    "AWS_LAMBDA_LOG_STREAM_NAME",
    "AWS_ACCESS_KEY",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_LAMBDA_RUNTIME_API",
    "LAMBDA_TASK_ROOT",
    "LAMBDA_RUNTIME_DIR",
];

fn within(name: &str, value: u32, least: u32, most: u32) -> Result<(), Failure> {
    let (bound, word) = match value {
        value if value < least => (least, "greater"),
        value if value > most => (most, "less"),
        _ => return Ok(()),
    };
    let message = format!(
        "1 validation error detected: Value '{value}' at '{name}' failed to satisfy constraint: Member must have value \
         {word} than or equal to {bound}"
    );
    Err(Failure::new(400, "ValidationException", message))
}

/// Handling of events that fail or are too old.
#[derive(Debug, Clone, Deserialize, Serialize, Default)]
#[serde(rename_all = "PascalCase")]
pub(super) struct EventConfig {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) maximum_retry_attempts: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) maximum_event_age_in_seconds: Option<u32>,
    /// Returned, but not used.
    #[serde(default)]
    destination_config: Value,
    #[serde(skip_deserializing)]
    last_modified: f64,
}

impl EventConfig {
    fn check(&self) -> Result<(), Failure> {
        within("maximumRetryAttempts", self.maximum_retry_attempts.unwrap_or(0), 0, 2)?;
        within("maximumEventAgeInSeconds", self.maximum_event_age_in_seconds.unwrap_or(60), 60, 21_600)
    }

    fn describe(&self, name: &str) -> Value {
        let mut value = json!(self);
        value["FunctionArn"] = format!("{}:$LATEST", arn(name)).into();
        if self.destination_config.is_null() {
            value["DestinationConfig"] = json!({"OnSuccess": {}, "OnFailure": {}});
        }
        value
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Reservation {
    reserved_concurrent_executions: usize,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Tags {
    tags: BTreeMap<String, String>,
}

impl Lambda {
    pub(super) fn event_config(&self, name: &str, method: &str, body: &[u8]) -> Result<Answer, Failure> {
        self.with(name, |function| {
            let missing = || {
                let message = format!("The function {}:$LATEST doesn't have an EventInvokeConfig", arn(name));
                Failure::new(404, "ResourceNotFoundException", message)
            };
            match method {
                "PUT" | "POST" => {
                    let mut config: EventConfig = input(body)?;
                    config.check()?;
                    if method == "POST" {
                        let old = function.events.as_ref().ok_or_else(missing)?;
                        config.maximum_retry_attempts = config.maximum_retry_attempts.or(old.maximum_retry_attempts);
                        let age = config.maximum_event_age_in_seconds.or(old.maximum_event_age_in_seconds);
                        config.maximum_event_age_in_seconds = age;
                    }
                    let now = OffsetDateTime::now_utc();
                    config.last_modified = now.unix_timestamp() as f64 + f64::from(now.millisecond()) / 1e3;
                    Ok(answer(200, &function.events.insert(config).describe(name)))
                }
                "DELETE" => function.events.take().map(|_| empty(204)).ok_or_else(missing),
                _ => Ok(answer(200, &function.events.as_ref().ok_or_else(missing)?.describe(name))),
            }
        })
    }

    pub(super) fn concurrency(&self, name: &str, method: &str, body: &[u8]) -> Result<Answer, Failure> {
        self.with(name, |_| Ok(()))?;
        match method {
            "PUT" => {
                let number = input::<Reservation>(body)?.reserved_concurrent_executions;
                self.fleet.reserve(name, Some(number)).map_err(|least| {
                    Failure::parameter(format!(
                        "Specified ReservedConcurrentExecutions for function decreases account's \
                         UnreservedConcurrentExecution below its minimum value of [{least}]."
                    ))
                })?;
            }
            "DELETE" => {
                let _ = self.fleet.reserve(name, None);
                return Ok(empty(204));
            }
            _ => {}
        }
        let reserved = self.fleet.reserved(name);
        Ok(answer(200, &reserved.map_or(json!({}), |n| json!({"ReservedConcurrentExecutions": n}))))
    }

    pub(super) fn tags(&self, name: &str, method: &str, query: &str, body: &[u8]) -> Result<Answer, Failure> {
        self.with(name, |function| match method {
            "POST" => {
                function.tags.extend(input::<Tags>(body)?.tags);
                Ok(empty(204))
            }
            "DELETE" => {
                let keys = form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name == "tagKeys");
                keys.for_each(|(_, key)| drop(function.tags.remove(&*key)));
                Ok(empty(204))
            }
            _ => Ok(answer(200, &json!({"Tags": function.tags}))),
        })
    }

    pub(super) fn account(&self) -> Answer {
        let (limit, unreserved) = self.fleet.limits();
        answer(
            200,
            &json!({
                "AccountLimit": {
                    "TotalCodeSize": 80_530_636_800_u64,
                    "CodeSizeUnzipped": limits::UNPACKED_CODE,
                    "CodeSizeZipped": 50 << 20,
                    "ConcurrentExecutions": limit,
                    "UnreservedConcurrentExecutions": unreserved,
                },
                "AccountUsage": {"TotalCodeSize": 0, "FunctionCount": self.functions().len()},
            }),
        )
    }
}
