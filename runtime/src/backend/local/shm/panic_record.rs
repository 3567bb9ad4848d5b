//! The message of a panic that ends its worker, in memory that the driver can read after the worker is gone.

use std::sync::atomic::{AtomicU64, Ordering};

/// Room for the text, in bytes.
const ROOM: usize = 1536;

/// A text in shared memory. It consists only of atomics, because the other process may write to it at any time.
#[repr(C, align(128))]
pub(crate) struct PanicRecord {
    /// 1 + the length of the text in bytes; 0 if there is no text.
    len: AtomicU64,
    words: [AtomicU64; ROOM / 8],
}

impl Default for PanicRecord {
    fn default() -> Self {
        Self { len: AtomicU64::new(0), words: [const { AtomicU64::new(0) }; ROOM / 8] }
    }
}

impl PanicRecord {
    /// Writes the message and the location of a panic.
    pub(crate) fn set(&self, message: &str, location: &str) {
        let location = &location[..location.floor_char_boundary(ROOM / 4)];
        let message = &message[..message.floor_char_boundary(ROOM - 1 - location.len())];
        let text = [location.as_bytes(), b"\n", message.as_bytes()].concat();
        for (word, bytes) in self.words.iter().zip(text.chunks(8)) {
            let mut padded = [0; 8];
            padded[..bytes.len()].copy_from_slice(bytes);
            word.store(u64::from_le_bytes(padded), Ordering::Relaxed);
        }
        self.len.store(text.len() as u64 + 1, Ordering::Release);
    }

    /// Returns the message and the location, if a panic ended the worker.
    pub(crate) fn get(&self) -> Option<(String, String)> {
        let len = usize::try_from(self.len.load(Ordering::Acquire)).ok()?.checked_sub(1)?;
        let bytes: Vec<u8> = self.words.iter().flat_map(|word| word.load(Ordering::Relaxed).to_le_bytes()).collect();
        let text = String::from_utf8_lossy(bytes.get(..len)?);
        let (location, message) = text.split_once('\n')?;
        Some((message.to_owned(), location.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_round_trip_up_to_the_limit() {
        let record = PanicRecord::default();
        assert_eq!(record.get(), None);
        record.set("it\nbroke", "src/main.rs:7:9");
        assert_eq!(record.get(), Some(("it\nbroke".to_owned(), "src/main.rs:7:9".to_owned())));
        record.set("", "");
        assert_eq!(record.get(), Some((String::new(), String::new())));
        record.set(&"ä".repeat(2000), &"/long".repeat(900));
        let (message, location) = record.get().unwrap();
        assert!("ä".repeat(2000).starts_with(&message) && message.len() > 1000);
        assert_eq!(location.len(), ROOM / 4);
        // A function that writes to memory that it does not own may leave such a length.
        record.len.store(u64::MAX, Ordering::Relaxed);
        assert_eq!(record.get(), None);
    }
}
