//! Connections to a server: kept, shared, and made anew when they break.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use redis::{Client, Cmd, Connection, ErrorKind, FromRedisValue, RedisError, RedisResult, ServerErrorKind, Value, cmd};

use super::address::Address;
use super::describe_error;
use super::scripts::{ALL, Script};
use crate::kv::{KvError, KvResult};

/// After how much idleness a connection is tried before it is trusted with what is sent only once.
const STALE: Duration = Duration::from_secs(1);

/// The pause before the first new attempt to connect; it doubles.
const PAUSE: Duration = Duration::from_millis(5);

/// Whether an operation may be sent again where it is not known what became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeat {
    Safely,
    Never,
}

/// What is done, for errors.
pub(super) struct Operation<'a> {
    pub(super) name: &'static str,
    /// The key as the user has it, the first of many.
    pub(super) key: &'a str,
    pub(super) repeat: Repeat,
}

/// A server in one of its lives.
pub(super) struct Handle {
    pub(super) address: Address,
    server: Arc<Server>,
    /// The server's `run_id`, once it is known.
    life: OnceLock<Arc<str>>,
}

/// What all handles of a server share.
#[derive(Default)]
struct Server {
    idle: Mutex<Vec<Open>>,
}

struct Open {
    connection: Connection,
    life: Arc<str>,
    used: Instant,
}

/// What became of commands that were sent.
type Sent = RedisResult<Vec<Value>>;

impl Handle {
    pub(super) fn new(address: Address) -> Self {
        static SERVERS: OnceLock<Mutex<HashMap<String, Arc<Server>>>> = OnceLock::new();
        let (settings, url) = (address.info.redis_settings(), &address.url);
        // Never printed: it has the password.
        let name = format!("{url} {}", settings.password().unwrap_or_default());
        let servers = SERVERS.get_or_init(Mutex::default);
        let server = servers.lock().unwrap_or_else(PoisonError::into_inner).entry(name).or_default().clone();
        Self { address, server, life: OnceLock::new() }
    }

    pub(super) fn url(&self) -> &str {
        &self.address.url
    }

    pub(super) fn stay_in(&self, life: &str) {
        let _ = self.life.set(life.into());
    }

    /// Which life it is, after connecting if need be; `None` if it does not matter.
    pub(super) fn life(&self) -> KvResult<Option<String>> {
        if self.address.restarts {
            return Ok(None);
        }
        if self.life.get().is_none() {
            let operation = Operation { name: "connect", key: "", repeat: Repeat::Safely };
            self.query::<String>(&operation, &cmd("PING"))?;
        }
        Ok(self.life.get().map(|life| life.to_string()))
    }

    /// Sends a command and takes its answer.
    pub(super) fn query<T: FromRedisValue>(&self, operation: &Operation<'_>, command: &Cmd) -> KvResult<T> {
        let value = self.send(operation, command)?;
        self.take(operation, value)
    }

    /// What an answer says; the server's refusal is an error.
    pub(super) fn take<T: FromRedisValue>(&self, operation: &Operation<'_>, value: Value) -> KvResult<T> {
        let failed = |error: RedisError| self.failed(operation, describe_error(&error));
        redis::from_redis_value(value.extract_error().map_err(failed)?).map_err(|error| failed(error.into()))
    }

    /// Sends a command; the answer may be a refusal.
    pub(super) fn send(&self, operation: &Operation<'_>, command: &Cmd) -> KvResult<Value> {
        let mut answers = self.send_all(operation, std::slice::from_ref(command))?;
        answers.pop().ok_or_else(|| self.failed(operation, "no answer".to_owned()))
    }

    /// Runs a script once and takes its answer; see [`Self::send_scripts`].
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

    /// Runs a script several times. If the server has forgotten it, what was not run is run after it is
    /// loaded anew.
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

    /// Sends commands at once and gives as many answers.
    pub(super) fn send_all(&self, operation: &Operation<'_>, commands: &[Cmd]) -> KvResult<Vec<Value>> {
        let deadline = Instant::now() + self.address.timeout;
        let mut pause = PAUSE;
        loop {
            let mut open = self.connect(operation, deadline)?;
            let error = match send(&mut open.connection, commands) {
                Ok(answers) => {
                    open.used = Instant::now();
                    self.server.idle.lock().unwrap_or_else(PoisonError::into_inner).push(open);
                    if answers.iter().any(is_loading) && Instant::now() + pause < deadline {
                        // Nothing was done: the server reads what it had saved.
                        wait(&mut pause);
                        continue;
                    }
                    return Ok(answers);
                }
                Err(error) => error,
            };
            // Other connections to it are not better, and this one may still get the answer.
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
            if late || Instant::now() + pause >= deadline {
                return Err(self.unreachable(reason));
            }
            wait(&mut pause);
        }
    }

    /// A connection to the server in the handle's life.
    fn connect(&self, operation: &Operation<'_>, deadline: Instant) -> KvResult<Open> {
        let mut pause = PAUSE;
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
                    let life = self.life.get_or_init(|| open.life.clone());
                    if *life == open.life || self.address.restarts {
                        return Ok(open);
                    }
                    return Err(KvError::Restarted { kv: self.url().to_owned() });
                }
                Err(error) => error,
            };
            let hopeless =
                !is_broken(&error) && !matches!(error.kind(), ErrorKind::Server(ServerErrorKind::BusyLoading));
            if hopeless || error.is_timeout() || Instant::now() + pause >= deadline {
                let late = error.is_timeout();
                let reason =
                    if late { format!("no answer within {:?}", self.address.timeout) } else { describe_error(&error) };
                return Err(self.unreachable(reason));
            }
            wait(&mut pause);
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

fn wait(pause: &mut Duration) {
    std::thread::sleep(*pause);
    *pause = (*pause * 2).min(Duration::from_millis(200));
}

fn is_broken(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Io
}

fn is_loading(answer: &Value) -> bool {
    matches!(answer, Value::ServerError(error) if error.kind() == Some(ServerErrorKind::BusyLoading))
}

/// Connects, loads the scripts and asks for the server's life.
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
    let life = info.lines().find_map(|line| line.strip_prefix("run_id:")).unwrap_or_default();
    Ok(Open { connection, life: life.trim().into(), used: Instant::now() })
}

/// Sends commands, then reads as many answers. Stops at the first that does not come: the client's own
/// pipeline would wait for each of them in turn.
fn send(connection: &mut Connection, commands: &[Cmd]) -> Sent {
    let mut packed = Vec::new();
    commands.iter().for_each(|command| command.write_packed_command(&mut packed));
    connection.send_packed_command(&packed)?;
    let mut answers = Vec::with_capacity(commands.len());
    while answers.len() < commands.len() {
        answers.push(connection.recv_response()?);
    }
    Ok(answers)
}
