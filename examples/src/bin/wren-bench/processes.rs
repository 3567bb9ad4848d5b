//! The start of this program as another process, and the round trip over a socket to one.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::{PART, child, median};

/// Measures the round trip of 64 bytes over a socket to another process, with blocking calls on both sides.
pub(super) fn socket() -> std::io::Result<Duration> {
    let (mut ours, theirs) = UnixStream::pair()?;
    let stdin = Stdio::from(std::os::fd::OwnedFd::from(theirs));
    let mut child = Command::new(std::env::current_exe()?).env(PART, "socket").stdin(stdin).spawn()?;
    let mut buffer = [0; 64];
    let mut times = Vec::new();
    for _ in 0..5_000 {
        let start = Instant::now();
        ours.write_all(&buffer)?;
        ours.read_exact(&mut buffer)?;
        times.push(start.elapsed());
    }
    drop(ours);
    child.wait()?;
    Ok(median(times))
}

pub(super) fn answer() -> std::io::Result<()> {
    use std::os::fd::AsFd;
    let mut socket = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    let mut buffer = [0; 64];
    while socket.read_exact(&mut buffer).is_ok() {
        socket.write_all(&buffer)?;
    }
    Ok(())
}

pub(super) fn first_result() -> std::io::Result<Duration> {
    let mut times = Vec::new();
    for _ in 0..21 {
        let start = Instant::now();
        assert!(child("first")?.status.success());
        times.push(start.elapsed());
    }
    Ok(median(times))
}

/// Measures the time from the start of this program as a Lambda's `bootstrap` to its first request for an invocation.
#[cfg(feature = "aws")]
pub(super) fn bootstrap_to_next() -> std::io::Result<Duration> {
    let folder = std::env::temp_dir().join(format!("wren-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let bootstrap = folder.join("bootstrap");
    std::os::unix::fs::symlink(std::env::current_exe()?, &bootstrap)?;
    let api = std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0))?;
    let mut times = Vec::new();
    for _ in 0..21 {
        let mut instance = Command::new(&bootstrap);
        instance.env_clear().env("AWS_LAMBDA_RUNTIME_API", api.local_addr()?.to_string());
        instance.env("AWS_LAMBDA_FUNCTION_NAME", "bench").env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST");
        instance.env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "1769").stdout(Stdio::null()).stderr(Stdio::null());
        let start = Instant::now();
        let mut instance = instance.spawn()?;
        let (mut asked, _) = api.accept()?;
        let mut request = [0; 4];
        asked.read_exact(&mut request)?;
        times.push(start.elapsed());
        assert_eq!(&request, b"GET ");
        instance.kill()?;
        instance.wait()?;
    }
    std::fs::remove_dir_all(folder)?;
    Ok(median(times))
}
