//! The flag by which a thread says that it is about to sleep: its side and the waker's side of the wake-up protocol.
//!
//! The sleeper announces itself, looks for work once more, and only then sleeps. The waker publishes work, and only then
//! looks at the flag. A sequentially consistent fence stands between the two steps on either side, so that at least one
//! of the two sees what the other wrote: the sleeper sees the work, or the waker sees the flag. `executor/README.md` has
//! the whole protocol.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Word;

/// 1 while a thread sleeps or is about to, else 0.
#[derive(Debug)]
pub(crate) struct SleepFlag<'a, W = AtomicU64>(pub(crate) &'a W);

impl<W: Word> SleepFlag<'_, W> {
    /// Sleeper: sets the flag. Look for work once more before the sleep.
    pub(crate) fn announce(&self) {
        self.0.store(1, Ordering::Relaxed);
        W::fence();
    }

    /// As [`announce`](Self::announce). Returns whether the flag was clear before: only then is there a need to look once
    /// more.
    pub(crate) fn announce_once(&self) -> bool {
        let was_clear = self.0.swap(1, Ordering::Relaxed) == 0;
        W::fence();
        was_clear
    }

    /// Sleeper: clears the flag after the sleep.
    pub(crate) fn withdraw(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// Waker: whether the flag is set, after work was published.
    pub(crate) fn is_announced(&self) -> bool {
        W::fence();
        self.0.load(Ordering::Relaxed) != 0
    }

    /// Waker: clears the flag. Returns whether it was set: then the sleeper must be woken, by this thread and no other.
    pub(crate) fn take(&self) -> bool {
        self.0.swap(0, Ordering::AcqRel) != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use loom::sync::atomic::AtomicU64;
    use loom::sync::{Arc, Condvar, Mutex};
    use loom::thread;

    /// A pipe, as far as the protocol needs one: a write makes the next wait return.
    #[derive(Default)]
    struct Pipe {
        bytes: Mutex<usize>,
        written: Condvar,
    }

    impl Pipe {
        fn write(&self) {
            *self.bytes.lock().unwrap() += 1;
            self.written.notify_one();
        }

        fn wait(&self) {
            let mut bytes = self.bytes.lock().unwrap();
            while *bytes == 0 {
                bytes = self.written.wait(bytes).unwrap();
            }
            *bytes = 0;
        }
    }

    struct State {
        flag: AtomicU64,
        /// Replies that were published and not handled.
        replies: AtomicU64,
        handled: AtomicU64,
        pipe: Pipe,
    }

    impl State {
        fn new() -> Arc<Self> {
            let (flag, replies, handled) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
            Arc::new(Self { flag, replies, handled, pipe: Pipe::default() })
        }

        fn flag(&self) -> SleepFlag<'_, AtomicU64> {
            SleepFlag(&self.flag)
        }

        fn publish_and_notify(&self) {
            self.replies.fetch_add(1, Ordering::Release);
            if self.flag().is_announced() && self.flag().take() {
                self.pipe.write();
            }
        }

        fn handle(&self) {
            let replies = self.replies.swap(0, Ordering::AcqRel);
            self.handled.fetch_add(replies, Ordering::AcqRel);
        }

        /// The reactor's loop, until `all` replies are handled. It never ends, and loom says so, if a wake-up is lost.
        fn react(&self, all: u64) {
            loop {
                self.flag().announce();
                self.handle();
                if self.handled.load(Ordering::Acquire) == all {
                    return;
                }
                self.pipe.wait();
                self.flag().withdraw();
            }
        }
    }

    #[test]
    fn no_wake_up_is_lost_whatever_the_order() {
        loom::model(|| {
            let state = State::new();
            let wakers: Vec<_> = (0..2)
                .map(|_| {
                    let state = state.clone();
                    thread::spawn(move || state.publish_and_notify())
                })
                .collect();
            state.react(2);
            wakers.into_iter().for_each(|waker| waker.join().unwrap());
        });
    }

    #[test]
    fn no_wake_up_is_lost_while_another_thread_polls_in_the_sleepers_place() {
        loom::model(|| {
            let state = State::new();
            let worker = {
                let state = state.clone();
                thread::spawn(move || state.publish_and_notify())
            };
            let awaiting = {
                let state = state.clone();
                thread::spawn(move || {
                    let suppressed = state.flag().take();
                    state.handle();
                    if suppressed {
                        state.flag().announce();
                        state.handle();
                    }
                    // The reactor ends with the last reply.
                    if state.handled.load(Ordering::Acquire) == 1 {
                        state.pipe.write();
                    }
                })
            };
            state.react(1);
            worker.join().unwrap();
            awaiting.join().unwrap();
        });
    }
}
