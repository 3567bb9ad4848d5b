//! An instance: one process that runs the code of a function, one call at a time.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hyper::body::Bytes;
use rustix::process::{Resource, Rlimit};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::net::unix::pipe::Receiver;
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};

use super::super::REGION;
use super::super::answer::new_id;
use super::control::Version;
use super::meter::{Meter, Tree};
use super::output::{Journal, Output};
use super::runtime_api::{Done, Invocation, RuntimeRequest, serve};
use super::{Place, arn};

/// Time in which an instance on Lambda must request its first invocation. Lambda then restarts the initialization,
/// within the function's timeout; the emulator adds that timeout to this time instead.
const INIT: Duration = Duration::from_secs(10);

/// Limit of open files of an instance.
const OPEN_FILES: u64 = 1_024;

/// A process and its resources.
pub(super) struct Instance {
    pub(super) version: Arc<Version>,
    child: Child,
    tree: Arc<Tree>,
    meter: Arc<Meter>,
    requests: mpsc::Receiver<RuntimeRequest>,
    /// Set while the process waits for an invocation.
    asking: Option<oneshot::Sender<Invocation>>,
    output: Output,
    journal: Journal,
    server: AbortHandle,
    started: Instant,
    fresh: bool,
    _scratch: TempDir,
}

/// How a call ended.
pub(super) enum End {
    Done(Done),
    /// The exit status as text, in Go's format, which Lambda uses too.
    Exited(String),
    TimedOut,
    InitFailed(Bytes),
}

/// The result of a finished call.
pub(super) struct Ended {
    pub(super) end: End,
    pub(super) tail: String,
    pub(super) duration: Duration,
}

impl Instance {
    /// Starts a process. Error messages are those of Lambda.
    pub(super) fn start(
        place: &Place,
        meter: &Arc<Meter>,
        version: Arc<Version>,
        listener: TcpListener,
    ) -> Result<Self, String> {
        let machine = if cfg!(target_arch = "aarch64") { "arm64" } else { std::env::consts::ARCH };
        if version.settings.architecture != machine {
            let other = &version.settings.architecture;
            return Err(format!(
                "fork/exec /var/task/bootstrap: exec format error (it is for {other}, this machine is {machine})"
            ));
        }
        let program = version.code.folder.join("bootstrap");
        if !program.is_file() {
            return Err("Couldn't find valid bootstrap(s): [/var/task/bootstrap /opt/bootstrap]".to_owned());
        }
        let started = Instant::now();
        let stream: Arc<str> = stream_name().into();
        let group = version.settings.log_group(&version.name);
        let start = || -> io::Result<_> {
            let parent = place.folder.join("instances");
            std::fs::create_dir_all(&parent)?;
            let scratch = tempfile::Builder::new().prefix("tmp-").tempdir_in(parent)?;
            let api = listener.local_addr()?.to_string();
            let (reading, writing) = io::pipe()?;
            let mut command = Command::new(&program);
            command.env_clear().envs(environment(place, &version, &api, &stream, scratch.path()));
            command.current_dir(&version.code.folder).stdin(Stdio::null()).kill_on_drop(true);
            command.stdout(writing.try_clone()?).stderr(writing);
            isolate(&mut command);
            Ok((spawn(&mut command)?, Receiver::from_owned_fd(reading.into())?, scratch))
        };
        let (child, pipe, scratch) = start().map_err(|e| format!("fork/exec /var/task/bootstrap: {e}"))?;
        let root = child.id().and_then(|id| i32::try_from(id).ok()).unwrap_or(0);
        let tree = meter.register(root, u64::from(version.settings.memory) << 20);
        let (sender, requests) = mpsc::channel(4);
        let server = tokio::spawn(serve(listener, sender)).abort_handle();
        let mut journal = Journal::new(place.logs.clone(), group, stream);
        let runtime = "INIT_START Runtime Version: provided:al2023.emulated\tRuntime Version ARN: \
                       arn:aws:lambda:us-east-1::runtime:emulated\n";
        journal.write(runtime);
        let (output, meter) = (Output::new(pipe), meter.clone());
        let (asking, fresh, _scratch) = (None, true, scratch);
        Ok(Self { version, child, tree, meter, requests, asking, output, journal, server, started, fresh, _scratch })
    }

    /// Whether the process can run another call.
    pub(super) fn lives(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None)) && !self.tree.over()
    }

    /// Logs the output of the process.
    pub(super) fn drain(&mut self) {
        self.output.drain(&mut self.journal);
    }

    /// Ends several instances at the cost of one.
    pub(super) fn end_all(instances: &[Self]) {
        if let Some(first) = instances.first() {
            first.meter.end(instances.iter().map(|instance| &*instance.tree));
        }
    }

    /// Runs one call. If it is to be `lost`, the process is killed after that time, or when it answers before, and the
    /// answer is dropped.
    pub(super) async fn call(&mut self, id: &str, payload: Bytes, lost: Option<Duration>) -> Ended {
        self.meter.busy(&self.tree, true);
        let (end, init, duration) = self.carry_out(id, payload, lost).await;
        if !matches!(end, End::Done(_)) {
            self.meter.end([&*self.tree]);
        }
        self.tree.look();
        self.meter.busy(&self.tree, false);
        self.output.finish(&mut self.journal);
        self.report(id, &end, init, duration);
        Ended { end, tail: self.journal.take_tail(), duration }
    }

    async fn carry_out(
        &mut self,
        id: &str,
        payload: Bytes,
        lost: Option<Duration>,
    ) -> (End, Option<Duration>, Duration) {
        let timeout = Duration::from_secs(self.version.settings.timeout.into());
        let fresh = std::mem::take(&mut self.fresh);
        let call_start = Instant::now();
        let mut asking = match self.asked(call_start + INIT + timeout).await {
            Ok(asking) => asking,
            Err(end) => {
                self.journal.write(&format!("START RequestId: {id} Version: $LATEST\n"));
                return (end, None, call_start.elapsed());
            }
        };
        let init = fresh.then(|| self.started.elapsed());
        // Earlier output belongs to the initialization, not to the call.
        self.output.drain(&mut self.journal);
        self.journal.write(&format!("START RequestId: {id} Version: $LATEST\n"));
        let start = Instant::now();
        let deadline =
            (SystemTime::now() + timeout).duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_millis());
        let mut invocation = Invocation { id: id.to_owned(), payload, deadline, arn: arn(&self.version.name) };
        // A process that has closed its connection requests its next invocation again.
        while let Err(unsent) = asking.send(invocation) {
            invocation = unsent;
            asking = match self.asked(start + timeout).await {
                Ok(asking) => asking,
                Err(end) => return (end, init, start.elapsed()),
            };
        }
        let end = self.outcome(id, start + timeout, lost.map(|after| start + after)).await;
        let duration = if matches!(end, End::TimedOut) { timeout } else { start.elapsed() };
        (end, init, duration)
    }

    /// Waits until the process requests an invocation.
    async fn asked(&mut self, deadline: Instant) -> Result<oneshot::Sender<Invocation>, End> {
        loop {
            if let Some(asking) = self.asking.take_if(|asking| !asking.is_closed()) {
                return Ok(asking);
            }
            match self.event(deadline).await {
                Event::Request(RuntimeRequest::Next(asking)) => self.asking = Some(asking),
                Event::Request(RuntimeRequest::InitError(body)) => return Err(End::InitFailed(body)),
                // This is the answer to an earlier call.
                Event::Request(RuntimeRequest::Done(_, _, reply)) => drop(reply.send(false)),
                Event::Ended(end) => return Err(end),
            }
        }
    }

    /// Waits until the process has answered the invocation of this ID.
    async fn outcome(&mut self, id: &str, deadline: Instant, mut lost: Option<Instant>) -> End {
        let loses = lost.is_some();
        loop {
            let until = lost.map_or(deadline, |lost| lost.min(deadline));
            match self.event(until).await {
                Event::Request(RuntimeRequest::Next(asking)) => self.asking = Some(asking),
                Event::Request(RuntimeRequest::Done(of, _, reply)) if of != id => drop(reply.send(false)),
                // The process is killed before its answer is acknowledged.
                Event::Request(RuntimeRequest::Done(_, _, _reply)) if loses => {
                    lost = None;
                    self.meter.end([&*self.tree]);
                }
                Event::Request(RuntimeRequest::Done(_, done, reply)) => {
                    let _ = reply.send(true);
                    return End::Done(done);
                }
                Event::Request(RuntimeRequest::InitError(body)) => return End::InitFailed(body),
                Event::Ended(End::TimedOut) if lost.take().is_some() => self.meter.end([&*self.tree]),
                Event::Ended(end) => return end,
            }
        }
    }

    /// Waits for the next event. Logs output in the meantime.
    async fn event(&mut self, deadline: Instant) -> Event {
        loop {
            tokio::select! {
                biased;
                Some(request) = self.requests.recv() => return Event::Request(request),
                status = self.child.wait() => {
                    return Event::Ended(End::Exited(status.map_or_else(|e| e.to_string(), describe_exit)));
                }
                () = self.output.readable() => self.output.drain(&mut self.journal),
                () = sleep_until(deadline) => return Event::Ended(End::TimedOut),
            }
        }
    }

    fn report(&mut self, id: &str, end: &End, init: Option<Duration>, duration: Duration) {
        let timeout = self.version.settings.timeout;
        let status = match end {
            End::Done(Done::Answered(_)) => String::new(),
            End::Done(Done::Failed(_)) => "\tStatus: error\tError Type: Runtime.Unknown".to_owned(),
            End::Done(Done::TooLarge) => "\tStatus: error\tError Type: Function.ResponseSizeTooLarge".to_owned(),
            End::TimedOut => {
                let now = time::OffsetDateTime::now_utc();
                let now = now.format(&time::format_description::well_known::Rfc3339).unwrap_or_default();
                self.journal.write(&format!("{now} {id} Task timed out after {timeout}.00 seconds\n"));
                "\tStatus: timeout".to_owned()
            }
            End::Exited(how) => {
                self.journal.write(&format!("RequestId: {id} Error: {how}\n"));
                self.journal.write("Runtime.ExitError\n");
                "\tStatus: error\tError Type: Runtime.ExitError".to_owned()
            }
            End::InitFailed(_) => "\tStatus: error\tError Type: Runtime.InitError".to_owned(),
        };
        let memory = self.version.settings.memory;
        let used = if self.tree.over() { memory.into() } else { self.tree.peak().div_ceil(1 << 20) };
        let ms = |duration: Duration| duration.as_secs_f64() * 1e3;
        // Since August 2025, Lambda bills the initialization as well.
        let billed = ms(duration + init.unwrap_or_default()).ceil();
        let init = init.map_or_else(String::new, |init| format!("\tInit Duration: {:.2} ms", ms(init)));
        self.journal.write(&format!("END RequestId: {id}\n"));
        self.journal.write(&format!(
            "REPORT RequestId: {id}\tDuration: {:.2} ms\tBilled Duration: {billed} ms\tMemory Size: {memory} MB\tMax \
             Memory Used: {used} MB{init}{status}\n",
            ms(duration)
        ));
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.server.abort();
        self.meter.end([&*self.tree]);
        self.output.finish(&mut self.journal);
    }
}

enum Event {
    Request(RuntimeRequest),
    Ended(End),
}

/// Returns the environment variables that a function has on Lambda, plus the emulator's address, and a folder to use
/// instead of `/tmp`, which is not private to the instance here.
fn environment(place: &Place, version: &Version, api: &str, stream: &str, scratch: &Path) -> Vec<(String, OsString)> {
    let settings = &version.settings;
    let own = [
        ("PATH", "/usr/local/bin:/usr/bin/:/bin:/opt/bin"),
        ("LANG", "en_US.UTF-8"),
        ("TZ", ":UTC"),
        ("LAMBDA_RUNTIME_DIR", "/var/runtime"),
        ("AWS_LAMBDA_FUNCTION_NAME", &version.name),
        ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", &settings.memory.to_string()),
        ("AWS_LAMBDA_LOG_GROUP_NAME", &settings.log_group(&version.name)),
        ("AWS_LAMBDA_LOG_STREAM_NAME", stream),
        ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand"),
        ("AWS_EXECUTION_ENV", "AWS_Lambda_provided.al2023"),
        ("_HANDLER", &settings.handler),
        ("AWS_LAMBDA_RUNTIME_API", api),
        ("AWS_REGION", REGION),
        ("AWS_DEFAULT_REGION", REGION),
        ("AWS_ACCESS_KEY_ID", &place.credentials.access_key),
        ("AWS_SECRET_ACCESS_KEY", &place.credentials.secret_key),
        ("AWS_ENDPOINT_URL", &place.endpoint),
    ];
    // Paths may not be UTF-8.
    let folders = [("LAMBDA_TASK_ROOT", version.code.folder.as_os_str()), ("TMPDIR", scratch.as_os_str())];
    let own = own.map(|(name, value)| (name.to_owned(), value.into()));
    let folders = folders.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let settings = settings.variables.iter().map(|(name, value)| (name.clone(), value.into()));
    own.into_iter().chain(folders).chain(settings).collect()
}

/// Makes the process lead its own session, limits its open files as Lambda does, and makes it end with the emulator.
fn isolate(command: &mut Command) {
    let prepare = || {
        rustix::process::setsid()?;
        let files = Rlimit { current: Some(OPEN_FILES), maximum: Some(OPEN_FILES) };
        rustix::process::setrlimit(Resource::Nofile, files)?;
        #[cfg(target_os = "linux")]
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
        Ok(())
    };
    // SAFETY: the closure only makes system calls, which are allowed between fork and exec: it allocates nothing and
    // takes no lock.
    unsafe { command.pre_exec(prepare) };
}

/// Starts the process. If another thread starts a process at the same time, that process briefly has a copy of the
/// descriptor that the program was written with, and the program is "busy" until then.
fn spawn(command: &mut Command) -> io::Result<Child> {
    for _ in 0..50 {
        match command.spawn() {
            Err(e) if e.kind() == io::ErrorKind::ExecutableFileBusy => std::thread::sleep(Duration::from_millis(2)),
            other => return other,
        }
    }
    command.spawn()
}

fn stream_name() -> String {
    let today = time::OffsetDateTime::now_utc().date();
    let (year, month, day) = (today.year(), u8::from(today.month()), today.day());
    format!("{year}/{month:02}/{day:02}/[$LATEST]{}", new_id().replace('-', ""))
}

fn describe_exit(status: ExitStatus) -> String {
    let how = match (status.code(), status.signal()) {
        (Some(0), _) => return "Runtime exited without providing a reason".to_owned(),
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => {
            let name = match signal {
                1 => "hangup",
                2 => "interrupt",
                4 => "illegal instruction",
                6 => "aborted",
                7 => "bus error",
                8 => "floating point exception",
                9 => "killed",
                11 => "segmentation fault",
                13 => "broken pipe",
                15 => "terminated",
                _ => "",
            };
            if name.is_empty() { format!("signal: signal {signal}") } else { format!("signal: {name}") }
        }
        (None, None) => "unknown status".to_owned(),
    };
    format!("Runtime exited with error: {how}")
}
