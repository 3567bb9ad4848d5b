//! Copies the output of an instance to its log stream, line by line.

use std::io;
use std::sync::Arc;

use tokio::net::unix::pipe::Receiver;

use super::super::logs::Logs;

/// Longest line, in bytes. Longer ones are split, as events of CloudWatch Logs would be.
const LONGEST_LINE: usize = 256 << 10;

/// Size of the tail of the log that the caller of an invocation can request, in bytes.
const TAIL: usize = 4 << 10;

/// The log stream of an instance.
pub(super) struct Journal {
    logs: Arc<Logs>,
    group: String,
    pub(super) stream: Arc<str>,
    /// The end of the current invocation's log.
    tail: String,
}

impl Journal {
    pub(super) fn new(logs: Arc<Logs>, group: String, stream: Arc<str>) -> Self {
        Self { logs, group, stream, tail: String::new() }
    }

    /// Writes text that ends in a newline.
    pub(super) fn write(&mut self, line: &str) {
        self.logs.write(&self.group, &self.stream, line);
        self.tail.push_str(line);
        if self.tail.len() > 4 * TAIL {
            self.cut();
        }
    }

    /// Returns the end of the log since the last call.
    pub(super) fn take_tail(&mut self) -> String {
        self.cut();
        std::mem::take(&mut self.tail)
    }

    fn cut(&mut self) {
        let mut start = self.tail.len().saturating_sub(TAIL);
        while !self.tail.is_char_boundary(start) {
            start += 1;
        }
        self.tail.drain(..start);
    }
}

/// The reading end of the pipe that is both standard output and standard error of an instance.
pub(super) struct Output {
    pipe: Option<Receiver>,
    partial: Vec<u8>,
}

impl Output {
    pub(super) fn new(pipe: Receiver) -> Self {
        Self { pipe: Some(pipe), partial: Vec::new() }
    }

    /// Waits until there is something to drain. Never returns once all writers have closed the pipe.
    pub(super) async fn readable(&mut self) {
        match &self.pipe {
            Some(pipe) if pipe.readable().await.is_ok() => {}
            _ => {
                self.pipe = None;
                std::future::pending().await
            }
        }
    }

    /// Logs the available output without waiting. Reads at most 1 MiB, so that it returns even if an instance prints
    /// endlessly.
    pub(super) fn drain(&mut self, journal: &mut Journal) {
        let mut buffer = [0; 16 << 10];
        for _ in 0..64 {
            let Some(pipe) = &self.pipe else { break };
            match pipe.try_read(&mut buffer) {
                Ok(0) => self.pipe = None,
                Ok(length) => self.lines(&buffer[..length], journal),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => self.pipe = None,
            }
        }
    }

    /// Logs the remaining output, including a last line without a newline.
    pub(super) fn finish(&mut self, journal: &mut Journal) {
        self.drain(journal);
        if !self.partial.is_empty() {
            self.lines(b"\n", journal);
        }
    }

    fn lines(&mut self, bytes: &[u8], journal: &mut Journal) {
        self.partial.extend_from_slice(bytes);
        let mut start = 0;
        while start < self.partial.len() {
            let rest = &self.partial[start..];
            let (line, length) = match rest.iter().position(|byte| *byte == b'\n') {
                Some(end) if end < LONGEST_LINE => (&rest[..end], end + 1),
                _ if rest.len() >= LONGEST_LINE => (&rest[..LONGEST_LINE], LONGEST_LINE),
                _ => break,
            };
            journal.write(&(String::from_utf8_lossy(line) + "\n"));
            start += length;
        }
        self.partial.drain(..start);
    }
}
