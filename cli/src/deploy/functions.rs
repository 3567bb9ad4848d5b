//! The deployment's Lambda functions: one for each pair of memory and timeout.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use aws_sdk_lambda::config::http::HttpResponse;
use aws_sdk_lambda::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_lambda::types::{Environment, FunctionCode, FunctionConfiguration, LastUpdateStatus, Runtime, State};
use wren::deployment::{DeployedFn, LambdaFn, lambda_size};
use wren::registry::is_wrens;

use super::name::Name;
use super::report::Change;
use super::{Arch, Site, TAG, policy};
use crate::aws::{ErrorCode, ExplainError, if_there};

const ABSENT: [&str; 1] = ["ResourceNotFoundException"];

/// The name of the program in its zip file, as `provided.al2023` requires it.
const HANDLER: &str = "bootstrap";

/// Number of retries by Lambda. wren retries calls itself; retries by Lambda would run a task twice.
const RETRIES: i32 = 0;

/// How long an accepted invocation may wait for an instance, in seconds: Lambda's maximum.
const MAX_AGE_S: i32 = 21_600;

/// How long to wait until Lambda can assume a new role. This usually takes some seconds.
const ROLE_PATIENCE: Duration = Duration::from_secs(60);

/// The fix for a program that cannot be a worker.
pub(crate) const NOT_WREN: &str = "put `#[wren::main]` on the program's `main`, or call `wren::init()` at its start, \
                                   keep wren's feature `aws` enabled, and deploy again";

/// How long to wait until a function is ready. This usually takes some seconds.
const READY_PATIENCE: Duration = Duration::from_secs(180);

/// Returns the functions that the user wrote; wren's own functions if there are no others.
fn written(functions: &[DeployedFn]) -> Vec<&DeployedFn> {
    let own: Vec<_> = functions.iter().filter(|f| !is_wrens(&f.name)).collect();
    if own.is_empty() { functions.iter().collect() } else { own }
}

/// Returns the number of remote functions that the user wrote, as text for messages.
pub(crate) fn counted(functions: &[DeployedFn]) -> String {
    super::counted(written(functions).len(), "remote function")
}

/// Returns the Lambda functions that these remote functions need. wren's own remote functions run in any of them, and
/// get one of their own only if there is no other.
pub(crate) fn needed(name: &Name, functions: &[DeployedFn]) -> Vec<LambdaFn> {
    let pairs: BTreeSet<_> = written(functions).iter().map(|f| lambda_size(f.memory_mb, f.timeout)).collect();
    let lambda = |(memory_mb, timeout_s)| LambdaFn { name: name.lambda(memory_mb, timeout_s), memory_mb, timeout_s };
    pairs.into_iter().map(lambda).collect()
}

/// The program that all functions run.
#[derive(Debug)]
pub(crate) struct Program {
    /// Its key in the bucket.
    pub(crate) key: String,
    /// The SHA-256 hash of the zip file in base64, as Lambda reports it.
    pub(crate) sha256: String,
    pub(crate) arch: Arch,
}

/// Creates or updates a function that runs the program.
pub(crate) async fn ensure(site: &Site, lambda: &LambdaFn, program: &Program) -> Result<()> {
    let name = &lambda.name;
    site.report.doing(format!("looking at the function {name}"));
    let found = configuration(site, name).await?;
    if found.is_some() && !is_own(site, name).await? {
        bail!(
            "the function {name} exists, but deploy did not create it: it does not have the tag {TAG}={}; choose \
             another --name for the deployment, or delete that function",
            site.name
        );
    }
    let limits = format!("{} MB, {} s", lambda.memory_mb, lambda.timeout_s);
    let Some(found) = found else {
        if !site.dry_run {
            create(site, lambda, program).await?;
            ready(site, name).await?;
            set_retries(site, name).await?;
        }
        site.report.step("function", name, Change::Create, limits);
        return Ok(());
    };
    let mut updated = Vec::new();
    let arch_differs = !found.architectures().contains(&program.arch.lambda());
    if found.code_sha256() != Some(&program.sha256) || arch_differs {
        updated.push("program");
        if !site.dry_run {
            ready(site, name).await?;
            update_code(site, name, program).await?;
        }
    }
    if !is_configured(site, lambda, &found) {
        updated.push("configuration");
        if !site.dry_run {
            ready(site, name).await?;
            configure(site, lambda).await?;
        }
    }
    if !has_retries(site, name).await? {
        updated.push("retries");
        if !site.dry_run {
            set_retries(site, name).await?;
        }
    }
    if !site.dry_run {
        ready(site, name).await?;
    }
    let change = if updated.is_empty() { Change::Keep } else { Change::Update };
    site.report.step("function", name, change, if updated.is_empty() { limits } else { updated.join(", ") });
    Ok(())
}

/// Returns the current configuration of a function; `None` if it does not exist.
pub(crate) async fn configuration(site: &Site, name: &str) -> Result<Option<FunctionConfiguration>> {
    let found = site.aws.lambda.get_function().function_name(name).send().await;
    let found = if_there(found, &ABSENT, &format!("looking for the function {name}"))?;
    Ok(found.and_then(|found| found.configuration))
}

/// The variables that configure the export of spans, which are copied to the functions. `OTEL_EXPORTER_OTLP_HEADERS` is
/// not among them, because it can contain a secret key.
const SPANS: [&str; 6] = [
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_SERVICE_NAME",
    "OTEL_RESOURCE_ATTRIBUTES",
    "OTEL_TRACES_SAMPLER",
    "OTEL_TRACES_SAMPLER_ARG",
];

fn environment(site: &Site) -> Environment {
    let spans = SPANS.into_iter().filter_map(|name| Some((name, std::env::var(name).ok()?)));
    let environment = Environment::builder().variables("WREN_STORE", site.store());
    spans.fold(environment, |environment, (name, value)| environment.variables(name, value)).build()
}

fn is_configured(site: &Site, lambda: &LambdaFn, found: &FunctionConfiguration) -> bool {
    let variables = found.environment().and_then(|environment| environment.variables());
    found.memory_size() == i32::try_from(lambda.memory_mb).ok()
        && found.timeout() == i32::try_from(lambda.timeout_s).ok()
        && found.runtime() == Some(&Runtime::Providedal2023)
        && found.handler() == Some(HANDLER)
        && found.role() == Some(&site.role_arn())
        && variables == environment(site).variables()
}

async fn create(site: &Site, lambda: &LambdaFn, program: &Program) -> Result<()> {
    let code = FunctionCode::builder().s3_bucket(site.bucket()).s3_key(&program.key).build();
    let create = site
        .aws
        .lambda
        .create_function()
        .function_name(&lambda.name)
        .runtime(Runtime::Providedal2023)
        .handler(HANDLER)
        .role(site.role_arn())
        .architectures(program.arch.lambda())
        .memory_size(i32::try_from(lambda.memory_mb)?)
        .timeout(i32::try_from(lambda.timeout_s)?)
        .environment(environment(site))
        .description(format!("The wren deployment {}", site.name))
        .tags(TAG, site.name.as_str())
        .code(code);
    site.report.doing(format!("creating the function {}", lambda.name));
    let created = until_assumable(|| create.clone().send()).await;
    match created {
        // The SDK retried the request, although an earlier attempt had succeeded.
        Err(error) if error.is(&["ResourceConflictException"]) => Ok(()),
        Err(error) if error.message().is_some_and(|m| m.contains("MemorySize")) => {
            Err(error).explained(&format!("creating the function {}", lambda.name)).context(format!(
                "this account does not allow functions with {} MB; use less in `#[wren::remote(memory = ..)]`, or \
                 request a higher quota",
                lambda.memory_mb
            ))
        }
        created => created.map(drop).explained(&format!("creating the function {}", lambda.name)),
    }
}

/// Repeats the request while Lambda cannot assume the role, because the role is new.
async fn until_assumable<T, E, F>(mut send: impl FnMut() -> F) -> std::result::Result<T, SdkError<E, HttpResponse>>
where
    E: ProvideErrorMetadata,
    F: Future<Output = std::result::Result<T, SdkError<E, HttpResponse>>>,
{
    let started = Instant::now();
    let mut pause = Duration::from_millis(500);
    loop {
        match send().await {
            Err(error) if is_unassumable(&error) && started.elapsed() < ROLE_PATIENCE => {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(8));
            }
            answer => return answer,
        }
    }
}

fn is_unassumable<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    let message = error.message().unwrap_or_default();
    error.is(&["InvalidParameterValueException"]) && message.contains("assume")
}

async fn update_code(site: &Site, name: &str, program: &Program) -> Result<()> {
    let update = site.aws.lambda.update_function_code().function_name(name).architectures(program.arch.lambda());
    let update = update.s3_bucket(site.bucket()).s3_key(&program.key).send().await;
    update.explained(&format!("updating the program of {name}")).map(drop)
}

async fn configure(site: &Site, lambda: &LambdaFn) -> Result<()> {
    let update = site
        .aws
        .lambda
        .update_function_configuration()
        .function_name(&lambda.name)
        .runtime(Runtime::Providedal2023)
        .handler(HANDLER)
        .role(site.role_arn())
        .memory_size(i32::try_from(lambda.memory_mb)?)
        .timeout(i32::try_from(lambda.timeout_s)?)
        .environment(environment(site));
    let updated = until_assumable(|| update.clone().send()).await;
    updated.explained(&format!("configuring {}", lambda.name)).map(drop)
}

async fn has_retries(site: &Site, name: &str) -> Result<bool> {
    let found = site.aws.lambda.get_function_event_invoke_config().function_name(name).send().await;
    let found = if_there(found, &ABSENT, "reading a function's retries")?;
    Ok(found.is_some_and(|found| {
        found.maximum_retry_attempts() == Some(RETRIES) && found.maximum_event_age_in_seconds() == Some(MAX_AGE_S)
    }))
}

async fn set_retries(site: &Site, name: &str) -> Result<()> {
    let put = site.aws.lambda.put_function_event_invoke_config().function_name(name);
    let put = put.maximum_retry_attempts(RETRIES).maximum_event_age_in_seconds(MAX_AGE_S);
    put.send().await.explained(&format!("setting the retries of {name}")).map(drop)
}

/// Waits until the function may be changed and called.
async fn ready(site: &Site, name: &str) -> Result<()> {
    let started = Instant::now();
    let mut pause = Duration::from_millis(100);
    loop {
        let found = site.aws.lambda.get_function_configuration().function_name(name).send().await;
        let found = found.explained(&format!("looking at the function {name}"))?;
        let reason =
            || found.last_update_status_reason().or(found.state_reason()).unwrap_or("Lambda did not report a reason");
        let failed = found.last_update_status() == Some(&LastUpdateStatus::Failed);
        if failed || found.state() == Some(&State::Failed) {
            bail!("Lambda failed to create or update {name}: {}; run `cargo wren deploy` again", reason());
        }
        let updating = found.last_update_status() == Some(&LastUpdateStatus::InProgress);
        if !updating && found.state() != Some(&State::Pending) {
            return Ok(());
        }
        if started.elapsed() > READY_PATIENCE {
            let waited = READY_PATIENCE.as_secs();
            bail!("{name} is not ready after {waited} s: {}; run `cargo wren deploy` again", reason());
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(2));
    }
}

/// Returns the names of all functions with the deployment's tag.
pub(crate) async fn tagged(site: &Site) -> Result<Vec<String>> {
    let mut candidates = BTreeSet::new();
    let mut pages = site.aws.lambda.list_functions().into_paginator().send();
    while let Some(page) = pages.next().await {
        for found in page.explained("listing functions")?.functions() {
            candidates.extend(found.function_name().filter(|name| site.name.has_lambda(name)).map(str::to_owned));
        }
    }
    let mut tagged = Vec::new();
    for name in candidates {
        if is_own(site, &name).await? {
            tagged.push(name);
        }
    }
    Ok(tagged)
}

async fn is_own(site: &Site, name: &str) -> Result<bool> {
    let partition = policy::partition(&site.aws.region);
    let arn = format!("arn:{partition}:lambda:{}:{}:function:{name}", site.aws.region, site.account);
    let tags = site.aws.lambda.list_tags().resource(arn).send().await;
    let tags = if_there(tags, &ABSENT, "reading the tags of functions")?;
    Ok(tags.and_then(|tags| tags.tags?.remove(TAG)).as_deref() == Some(site.name.as_str()))
}

/// Deletes the deployment's Lambda functions that no remote function needs any more.
pub(crate) async fn remove_others(site: &Site, needed: &[LambdaFn]) -> Result<()> {
    site.report.doing("looking for functions that are no longer needed");
    for name in tagged(site).await? {
        if !needed.iter().any(|lambda| lambda.name == name) {
            if !site.dry_run {
                remove(site, &name).await?;
            }
            site.report.step("function", &name, Change::Delete, "no longer needed");
        }
    }
    Ok(())
}

pub(crate) async fn remove(site: &Site, name: &str) -> Result<()> {
    let deleted = site.aws.lambda.delete_function().function_name(name).send().await;
    if_there(deleted, &ABSENT, &format!("deleting the function {name}")).map(drop)
}

/// Returns the number of instances that the account may run at once; `None` if the limit cannot be read.
pub(crate) async fn concurrency(site: &Site) -> Result<Option<usize>> {
    let settings = site.aws.lambda.get_account_settings().send().await;
    let hidden = ["404", "403", "AccessDenied", "AccessDeniedException", "ResourceNotFoundException", "NotFound"];
    let settings = match settings {
        // An emulator without this operation may not respond in Lambda's format.
        Err(error) if error.raw_response().is_some_and(|raw| raw.status().as_u16() == 404) => None,
        settings => if_there(settings, &hidden, "reading the account's concurrency limit")?,
    };
    let limit = settings.and_then(|settings| Some(settings.account_limit()?.concurrent_executions()));
    Ok(limit.and_then(|limit| usize::try_from(limit).ok()).filter(|limit| *limit > 0))
}

/// Calls a function synchronously and returns its response.
pub(crate) async fn invoke(site: &Site, name: &str, payload: &serde_json::Value) -> Result<Vec<u8>> {
    let invoke = site.aws.lambda.invoke().function_name(name).payload(payload.to_string().into_bytes().into());
    let answer = invoke.send().await.explained(&format!("calling {name}"))?;
    let body = answer.payload.map(|payload| payload.into_inner()).unwrap_or_default();
    match answer.function_error {
        Some(kind) => Err(anyhow!(
            "{name} failed ({kind}): {}; the log group {} contains its output; {NOT_WREN}",
            String::from_utf8_lossy(&body),
            super::name::log_group(name)
        )),
        None => Ok(body),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_pair_of_limits_has_a_function() {
        let function = |name: &str, memory_mb, timeout: Option<u64>| DeployedFn {
            name: name.to_owned(),
            signature: String::new(),
            body_hash: 0,
            memory_mb,
            timeout: timeout.map(Duration::from_secs),
        };
        let names = |functions: &[DeployedFn]| {
            let needed = needed(&Name::given("sweep").unwrap(), functions);
            needed.into_iter().map(|lambda| lambda.name).collect::<Vec<_>>()
        };
        let small = || function("sweep::f", Some(512), Some(60));
        let others = || function("sweep::g", None, None);
        let wrens = || function("wren::sort::stages::scatter", None, None);
        assert_eq!(names(&[others(), small(), small(), others()]), ["wren-sweep-512mb-70s", "wren-sweep-1769mb-900s"]);
        assert_eq!(names(&[wrens(), small()]), ["wren-sweep-512mb-70s"], "wren's own run in any function");
        assert_eq!(names(&[wrens()]), ["wren-sweep-1769mb-900s"]);
    }
}
