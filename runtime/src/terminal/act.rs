//! Work that a screen does in the order of its lines.

use std::fmt;

/// Something that a screen does between two lines.
pub(super) struct Act {
    /// Its position in the text.
    pub(super) at: usize,
    /// The number of queued bytes that it counts as.
    pub(super) bytes: u64,
    pub(super) act: Box<dyn FnOnce() + Send>,
}

impl fmt::Debug for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Act(at {})", self.at)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use crate::terminal::{MAX_QUEUED, after_lines};

    #[test]
    fn acts_run_in_order_also_after_one_that_panics() {
        let (sender, ran) = channel();
        let send = |n: u64| {
            let sender = sender.clone();
            after_lines(1, move || sender.send(n).unwrap());
        };
        send(1);
        after_lines(1, || panic!("a logger that panics"));
        send(2);
        send(3);
        for n in 1..=3 {
            assert_eq!(ran.recv_timeout(Duration::from_secs(60)), Ok(n));
        }
    }

    #[test]
    fn acts_beyond_the_limit_are_dropped() {
        let held = Arc::new(());
        let act = held.clone();
        after_lines(MAX_QUEUED as usize + 1, move || drop(act));
        assert_eq!(Arc::strong_count(&held), 1);
    }
}
