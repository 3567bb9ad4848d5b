//! Parsing of `redis:` URLs.

use std::time::Duration;

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo};

use crate::error::{Error, Result};

/// Default time limit for a reply, and for connecting.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A server, and the options for its use.
pub(super) struct Address {
    /// Connection settings, with the password.
    pub(super) info: ConnectionInfo,
    /// The URL, without the password.
    pub(super) url: String,
    pub(super) url_is_complete: bool,
    pub(super) prefix: String,
    pub(super) timeout: Duration,
    pub(super) restarts: bool,
}

impl Address {
    /// Parses the part of a URL after `redis:`. Errors do not contain the URL, which may contain a password.
    pub(super) fn parse(rest: &str) -> Result<Self> {
        let bad = |what: &str| {
            Error::Config(format!(
                "invalid `redis:` URL: it {what}; expected for example `redis://host:6379/0?timeout=5`"
            ))
        };
        let (server, options) = rest.split_once('?').unwrap_or((rest, ""));
        let server = if matches!(server, "" | "//" | "///") { "//127.0.0.1" } else { server };
        if !server.starts_with("//") {
            return Err(bad("has no `//` before its host"));
        }
        let mut info = format!("redis:{server}").into_connection_info().map_err(|_| bad("cannot be parsed"))?;
        let written = info.redis_settings().clone();
        let (mut prefix, mut timeout, mut restarts) = (String::new(), TIMEOUT, false);
        for (name, value) in options.split('&').filter(|o| !o.is_empty()).map(|o| o.split_once('=').unwrap_or((o, "")))
        {
            match (name, value) {
                ("prefix", value) if !value.is_empty() && value.bytes().all(|b| b.is_ascii_graphic() && b != b'%') => {
                    prefix = value.to_owned();
                }
                ("prefix", _) => {
                    return Err(bad("has a `prefix` that is empty, or not of visible ASCII characters other than `%`"));
                }
                ("timeout", value) => {
                    let seconds = value.parse::<f64>().ok().filter(|seconds| (0.001..=3600.0).contains(seconds));
                    let seconds =
                        seconds.ok_or_else(|| bad("has a `timeout` that is not from 0.001 to 3600 seconds"))?;
                    timeout = Duration::from_secs_f64(seconds);
                }
                ("restarts", "allowed") => restarts = true,
                ("password_env", name) => {
                    // From here on, `server` has no password, and can be part of a message.
                    if info.redis_settings().password().is_some() {
                        return Err(bad("has a password and also a `password_env`"));
                    }
                    let password = std::env::var(name).map_err(|_| {
                        Error::Config(format!(
                            "the password of {server} is in the environment variable {name}, which is not set in this \
                             process; set it here and where the functions run"
                        ))
                    })?;
                    let settings = info.redis_settings().clone().set_password(password);
                    info = info.set_redis_settings(settings);
                }
                _ => {
                    return Err(bad(
                        "has an option other than `prefix`, `timeout`, `restarts=allowed` and `password_env`",
                    ));
                }
            }
        }
        let user = match (written.username(), written.password()) {
            (None, None) => String::new(),
            (user, password) => format!("{}{}@", user.unwrap_or_default(), password.map_or("", |_| ":***")),
        };
        let host = match info.addr() {
            ConnectionAddr::Tcp(host, port) if host.contains(':') => format!("[{host}]:{port}"),
            ConnectionAddr::Tcp(host, port) => format!("{host}:{port}"),
            _ => return Err(bad("has no host")),
        };
        let options = if options.is_empty() { String::new() } else { format!("?{options}") };
        let url = format!("redis://{user}{host}/{}{options}", written.db());
        let url_is_complete = written.password().is_none();
        Ok(Self { info, url, url_is_complete, prefix, timeout, restarts })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn omitted_parts_have_defaults() {
        for rest in ["", "//", "//127.0.0.1", "//127.0.0.1:6379/", "//127.0.0.1/0?"] {
            let address = Address::parse(rest).unwrap();
            assert_eq!(address.url, "redis://127.0.0.1:6379/0");
            assert!(address.url_is_complete && !address.restarts && address.timeout == TIMEOUT);
        }
        let address = Address::parse("//[::1]:7/3?prefix=a/&timeout=0.5&restarts=allowed").unwrap();
        assert_eq!(address.url, "redis://[::1]:7/3?prefix=a/&timeout=0.5&restarts=allowed");
        assert_eq!((address.prefix.as_str(), address.timeout), ("a/", Duration::from_millis(500)));
        assert!(address.restarts);
    }

    #[test]
    fn a_password_is_never_shown() {
        let address = Address::parse("//me:pass%20word@host/1").unwrap();
        assert_eq!(address.url, "redis://me:***@host:6379/1");
        assert!(!address.url_is_complete);
        assert_eq!(address.info.redis_settings().password(), Some("pass word"));
        // Any variable that is always set will do.
        let address = Address::parse("//me@host/1?password_env=PATH").unwrap();
        assert_eq!(address.url, "redis://me@host:6379/1?password_env=PATH");
        assert!(address.url_is_complete);
        assert_eq!(address.info.redis_settings().password().map(str::to_owned), std::env::var("PATH").ok());
        let message = Address::parse("//host?password_env=NONE_SUCH").err().unwrap().to_string();
        assert!(message.contains("environment variable NONE_SUCH, which is not set"), "{message}");
        for bad in [
            "//:s3cret@h?password_env=NONE_SUCH",
            "//:s3cret@host:port",
            "//:s3cret@host/db",
            "//:s3cret@h?timeout=0",
            ":s3cret@h",
            "//:s3cret@h?x=1",
        ] {
            let message = Address::parse(bad).err().unwrap().to_string();
            assert!(!message.contains("s3cret") && message.contains("`redis:` URL"), "{message}");
        }
    }
}
