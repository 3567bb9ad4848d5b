//! What a panic said that ends its worker: it is written where the driver can read it when the worker is gone.

use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of text that there is room for.
const ROOM: usize = 1536;

/// A text in shared memory. It is atomics only, since the other process may write whatever it likes.
#[repr(C, align(128))]
pub(crate) struct PanicRecord {
    /// 1 + its bytes; 0 while there is none.
    len: AtomicU64,
    words: [AtomicU64; ROOM / 8],
}

impl Default for PanicRecord {
    fn default() -> Self {
        Self { len: AtomicU64::new(0), words: [const { AtomicU64::new(0) }; ROOM / 8] }
    }
}

impl PanicRecord {
    /// Writes a panic's message and its place.
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

    /// The message and the place, if a panic ended the worker.
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
    fn words_come_back_as_far_as_there_is_room() {
        let words = PanicRecord::default();
        assert_eq!(words.get(), None);
        words.set("it\nbroke", "src/main.rs:7:9");
        assert_eq!(words.get(), Some(("it\nbroke".to_owned(), "src/main.rs:7:9".to_owned())));
        words.set("", "");
        assert_eq!(words.get(), Some((String::new(), String::new())));
        words.set(&"ä".repeat(2000), &"/long".repeat(900));
        let (message, location) = words.get().unwrap();
        assert!("ä".repeat(2000).starts_with(&message) && message.len() > 1000);
        assert_eq!(location.len(), ROOM / 4);
        // As a function may leave it that writes into memory that is not its own.
        words.len.store(u64::MAX, Ordering::Relaxed);
        assert_eq!(words.get(), None);
    }
}
