//! Connections to a server: kept open, shared, and replaced when they break.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use redis::{Client, Cmd, Connection, ErrorKind, FromRedisValue, RedisError, RedisResult, ServerErrorKind, Value, cmd};

use super::address::Address;
use super::describe_error;
use super::scripts::{ALL, Script};
use crate::function::Backoff;
use crate::kv::{KvError, KvResult};

/// A connection that was idle for longer is tested before it is used for a command that is sent only once.
const STALE: Duration = Duration::from_secs(1);

/// Pauses before commands are sent again and before another attempt to connect.
const PAUSES: Backoff = Backoff::new(Duration::from_millis(5)).longest(Duration::from_millis(200)).without_jitter();

/// Whether an operation may be sent again if its outcome is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeat {
    Safely,
    Never,
}

/// The name and key of an operation, for errors, and whether it may be repeated.
pub(super) struct Operation<'a> {
    pub(super) name: &'static str,
    /// The key without the prefix of the URL; of many keys, the first.
    pub(super) key: &'a str,
    pub(super) repeat: Repeat,
}

/// A handle to a server, bound to one server process.
pub(super) struct Handle {
    pub(super) address: Address,
    server: Arc<Server>,
    /// The `run_id` of the server process, once it is known.
    server_id: OnceLock<Arc<str>>,
}

/// The state that all handles to a server share.
#[derive(Default)]
struct Server {
    idle: Mutex<Vec<Open>>,
}

struct Open {
    connection: Connection,
    server_id: Arc<str>,
    used: Instant,
}

/// The replies to the commands that were sent.
type Replies = RedisResult<Vec<Value>>;

impl Handle {
    pub(super) fn new(address: Address) -> Self {
        static SERVERS: OnceLock<Mutex<HashMap<String, Arc<Server>>>> = OnceLock::new();
        let (settings, url) = (address.info.redis_settings(), &address.url);
        // Never printed, because it contains the password.
        let name = format!("{url} {}", settings.password().unwrap_or_default());
        let servers = SERVERS.get_or_init(Mutex::default);
        let server = servers.lock().unwrap_or_else(PoisonError::into_inner).entry(name).or_default().clone();
        Self { address, server, server_id: OnceLock::new() }
    }

    pub(super) fn url(&self) -> &str {
        &self.address.url
    }

    pub(super) fn bind_to_server(&self, server_id: &str) {
        let _ = self.server_id.set(server_id.into());
    }

    /// Returns the `run_id` of the server process, connecting first if necessary; `None` if restarts are allowed.
    pub(super) fn server_id(&self) -> KvResult<Option<String>> {
        if self.address.restarts {
            return Ok(None);
        }
        if self.server_id.get().is_none() {
            let operation = Operation { name: "connect", key: "", repeat: Repeat::Safely };
            self.query::<String>(&operation, &cmd("PING"))?;
        }
        Ok(self.server_id.get().map(|server_id| server_id.to_string()))
    }

    /// Sends a command and converts its reply.
    pub(super) fn query<T: FromRedisValue>(&self, operation: &Operation<'_>, command: &Cmd) -> KvResult<T> {
        let value = self.send(operation, command)?;
        self.take(operation, value)
    }

    /// Converts a reply. An error reply of the server becomes an error.
    pub(super) fn take<T: FromRedisValue>(&self, operation: &Operation<'_>, value: Value) -> KvResult<T> {
        let failed = |error: RedisError| self.failed(operation, describe_error(&error));
        redis::from_redis_value(value.extract_error().map_err(failed)?).map_err(|error| failed(error.into()))
    }

    /// Sends a command and returns its reply, which may be an error reply.
    pub(super) fn send(&self, operation: &Operation<'_>, command: &Cmd) -> KvResult<Value> {
        let mut answers = self.send_all(operation, std::slice::from_ref(command))?;
        answers.pop().ok_or_else(|| self.failed(operation, "no answer".to_owned()))
    }

    /// Runs a script once and converts its reply; see [`Self::send_scripts`].
    pub(super) fn run<T: FromRedisValue>(
        &self,
        operation: &Operation<'_>,
        script: &Script,
        command: &Cmd,
    ) -> KvResult<T> {
        let mut answers = self.send_scripts(operation, script, std::slice::from_ref(command))?;
        let answer = answers.pop().ok_or_else(|| self.failed(operation, "no answer".to_owned()))?;
        self.take(operation, answer)
    }

    /// Runs a script several times, once per command. If the server no longer has the script, loads it again and
    /// repeats the commands that failed for this reason.
    pub(super) fn send_scripts(
        &self,
        operation: &Operation<'_>,
        script: &Script,
        commands: &[Cmd],
    ) -> KvResult<Vec<Value>> {
        let mut answers = self.send_all(operation, commands)?;
        let unknown = |answer: &Value| matches!(answer, Value::ServerError(error) if error.kind() == Some(ServerErrorKind::NoScript));
        let missing: Vec<usize> = (0..answers.len()).filter(|&i| unknown(&answers[i])).collect();
        if !missing.is_empty() {
            self.query::<String>(operation, &script.load())?;
            let again: Vec<Cmd> = missing.iter().map(|&i| commands[i].clone()).collect();
            for (i, answer) in missing.into_iter().zip(self.send_all(operation, &again)?) {
                answers[i] = answer;
            }
        }
        Ok(answers)
    }

    /// Sends commands together and returns one reply for each.
    pub(super) fn send_all(&self, operation: &Operation<'_>, commands: &[Cmd]) -> KvResult<Vec<Value>> {
        let deadline = Instant::now() + self.address.timeout;
        let mut failures = 0;
        let mut answers = vec![Value::Nil; commands.len()];
        // Commands whose answer is not known yet.
        let mut open_commands: Vec<usize> = (0..commands.len()).collect();
        loop {
            let mut open = self.connect(operation, deadline)?;
            let to_send = if open_commands.len() == commands.len() {
                Cow::Borrowed(commands)
            } else {
                Cow::Owned(open_commands.iter().map(|&i| commands[i].clone()).collect())
            };
            let error = match send(&mut open.connection, &to_send) {
                Ok(new) => {
                    open.used = Instant::now();
                    self.server.idle.lock().unwrap_or_else(PoisonError::into_inner).push(open);
                    let sent = std::mem::take(&mut open_commands);
                    for (i, answer) in sent.into_iter().zip(new) {
                        // A server that is loading its saved data did not run the command. Those behind it may have run.
                        if is_loading(&answer) {
                            open_commands.push(i);
                        }
                        answers[i] = answer;
                    }
                    if open_commands.is_empty() {
                        return Ok(answers);
                    }
                    failures += 1;
                    let pause = PAUSES.pause(failures, &mut fastrand::Rng::new());
                    if Instant::now() + pause >= deadline {
                        return Ok(answers);
                    }
                    thread::sleep(pause);
                    continue;
                }
                Err(error) => error,
            };
            // The other connections are no better, and the late reply may still arrive on this one: all are closed.
            self.server.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
            let late = error.is_timeout();
            let reason =
                if late { format!("no answer within {:?}", self.address.timeout) } else { describe_error(&error) };
            if operation.repeat == Repeat::Never {
                return Err(KvError::Uncertain {
                    kv: self.url().to_owned(),
                    operation: operation.name.to_owned(),
                    key: operation.key.to_owned(),
                    reason,
                });
            }
            failures += 1;
            let pause = PAUSES.pause(failures, &mut fastrand::Rng::new());
            if late || Instant::now() + pause >= deadline {
                return Err(self.unreachable(reason));
            }
            thread::sleep(pause);
        }
    }

    /// Returns a connection to the server process that the handle is bound to.
    fn connect(&self, operation: &Operation<'_>, deadline: Instant) -> KvResult<Open> {
        let mut failures = 0;
        loop {
            let kept = self.server.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let tried = match kept {
                Some(mut open) if operation.repeat == Repeat::Never && open.used.elapsed() > STALE => {
                    send(&mut open.connection, &[cmd("PING")]).map(|_| open)
                }
                Some(open) => Ok(open),
                None => open(&self.address),
            };
            let error = match tried {
                Ok(open) => {
                    let server_id = self.server_id.get_or_init(|| open.server_id.clone());
                    if *server_id == open.server_id || self.address.restarts {
                        return Ok(open);
                    }
                    return Err(KvError::Restarted { kv: self.url().to_owned() });
                }
                Err(error) => error,
            };
            let hopeless =
                !is_broken(&error) && !matches!(error.kind(), ErrorKind::Server(ServerErrorKind::BusyLoading));
            failures += 1;
            let pause = PAUSES.pause(failures, &mut fastrand::Rng::new());
            if hopeless || error.is_timeout() || Instant::now() + pause >= deadline {
                let late = error.is_timeout();
                let reason =
                    if late { format!("no answer within {:?}", self.address.timeout) } else { describe_error(&error) };
                return Err(self.unreachable(reason));
            }
            thread::sleep(pause);
        }
    }

    pub(super) fn failed(&self, operation: &Operation<'_>, reason: String) -> KvError {
        KvError::Failed {
            kv: self.url().to_owned(),
            operation: operation.name.to_owned(),
            key: operation.key.to_owned(),
            reason,
        }
    }

    fn unreachable(&self, reason: String) -> KvError {
        KvError::Unreachable { kv: self.url().to_owned(), reason }
    }
}

fn is_broken(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Io
}

fn is_loading(answer: &Value) -> bool {
    matches!(answer, Value::ServerError(error) if error.kind() == Some(ServerErrorKind::BusyLoading))
}

/// Connects, loads the scripts and asks for the `run_id` of the server process.
fn open(address: &Address) -> RedisResult<Open> {
    let client = Client::open(address.info.clone())?;
    let mut connection = client.get_connection_with_timeout(address.timeout)?;
    connection.set_read_timeout(Some(address.timeout))?;
    connection.set_write_timeout(Some(address.timeout))?;
    let commands: Vec<_> =
        [cmd("INFO").arg("server").take()].into_iter().chain(ALL.iter().map(|script| script.load())).collect();
    let mut answers = send(&mut connection, &commands)?.into_iter();
    let info: String = redis::from_redis_value(answers.next().unwrap_or(Value::Nil).extract_error()?)?;
    for answer in answers {
        answer.extract_error()?;
    }
    let server_id = info.lines().find_map(|line| line.strip_prefix("run_id:")).unwrap_or_default();
    Ok(Open { connection, server_id: server_id.trim().into(), used: Instant::now() })
}

/// Sends commands, then reads as many replies. Stops at the first missing reply: the client's own pipeline would wait
/// for each of the others in turn.
fn send(connection: &mut Connection, commands: &[Cmd]) -> Replies {
    let mut packed = Vec::new();
    commands.iter().for_each(|command| command.write_packed_command(&mut packed));
    connection.send_packed_command(&packed)?;
    let mut answers = Vec::with_capacity(commands.len());
    while answers.len() < commands.len() {
        answers.push(connection.recv_response()?);
    }
    Ok(answers)
}
