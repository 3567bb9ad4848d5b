//! Writes to standard output and standard error.

use std::io::{self, ErrorKind, Write};
use std::thread;
use std::time::Duration;

/// Like [`Write::write_all`], but also works with a non-blocking file: a program may have made its terminal so.
pub(super) fn write_all(to: &mut impl Write, mut text: &[u8]) -> io::Result<()> {
    let again = |error: &io::Error| match error.kind() {
        ErrorKind::Interrupted => true,
        ErrorKind::WouldBlock => {
            thread::sleep(Duration::from_millis(1));
            true
        }
        _ => false,
    };
    while !text.is_empty() {
        match to.write(text) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(n) => text = &text[n..],
            Err(error) if again(&error) => {}
            Err(error) => return Err(error),
        }
    }
    loop {
        match to.flush() {
            Err(error) if again(&error) => {}
            ended => return ended,
        }
    }
}
