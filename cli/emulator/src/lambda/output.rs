//! What an instance prints, line by line, into its log stream.

use std::io;
use std::sync::Arc;

use tokio::net::unix::pipe::Receiver;

use super::super::logs::Logs;

/// A line that is longer is split, as an event of CloudWatch Logs would be.
const LONGEST_LINE: usize = 256 << 10;

/// How much of an invocation's log its caller may have.
const TAIL: usize = 4 << 10;

/// The log stream of an instance.
pub(super) struct Journal {
    logs: Arc<Logs>,
    group: String,
    pub(super) stream: Arc<str>,
    /// The end of what this invocation wrote.
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

    /// The end of what was written since this was last asked.
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

/// The reading end of a pipe that is both standard output and error of an instance.
pub(super) struct Output {
    pipe: Option<Receiver>,
    partial: Vec<u8>,
}

impl Output {
    pub(super) fn new(pipe: Receiver) -> Self {
        Self { pipe: Some(pipe), partial: Vec::new() }
    }

    /// Waits until there is something to drain: for ever, once all writers have ended.
    pub(super) async fn readable(&mut self) {
        match &self.pipe {
            Some(pipe) if pipe.readable().await.is_ok() => {}
            _ => {
                self.pipe = None;
                std::future::pending().await
            }
        }
    }

    /// Writes down what there is by now, without waiting. One that prints without end is not
    /// followed to it.
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

    /// Also a last line without an end.
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
