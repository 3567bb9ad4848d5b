//! What wren writes to the terminal: lines of remote functions, notes, progress.

use std::io::{self, Write};

use crate::backend::Stream;

/// Shows a line that a remote function printed, behind the mark of its task.
pub(crate) fn line(stream: Stream, mark: &str, line: &str) {
    // Nobody to show it to is no reason to stop.
    let _ = crate::progress::above_the_bar(|| match stream {
        Stream::Out => writeln!(io::stdout().lock(), "{mark}{line}"),
        Stream::Err => writeln!(io::stderr().lock(), "{mark}{line}"),
    });
}

/// Shows a note of wren's own.
pub(crate) fn note(text: &str) {
    line(Stream::Err, "wren: ", text);
}
