//! A flag with which a thread announces that it is about to sleep: the sleeper's and the waker's side of the wake-up
//! protocol.
//!
//! The sleeper announces itself, looks for work once more, and only then sleeps. The waker publishes work, and only
//! then looks at the flag. A sequentially consistent fence stands between the two steps on either side, so at least one
//! of the two sees what the other wrote: the sleeper sees the work, or the waker sees the flag. `executor/README.md`
//! describes the whole protocol.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Word;

/// 1 while a thread sleeps or is about to, otherwise 0.
#[derive(Debug)]
pub(crate) struct SleepFlag<'a, W = AtomicU64>(pub(crate) &'a W);

impl<W: Word> SleepFlag<'_, W> {
    /// Sleeper: sets the flag, and returns whether it was clear. Look for work once more before the sleep. That is not
    /// necessary if the flag was set all the time since an earlier look.
    pub(crate) fn announce(&self) -> bool {
        // A swap and not a store: it comes after every `take` that has already been made.
        let was_clear = self.0.swap(1, Ordering::Relaxed) == 0;
        W::fence();
        was_clear
    }

    /// Sleeper: clears the flag after the sleep.
    pub(crate) fn withdraw(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// Waker: returns whether the flag is set. Publish work before the call.
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

    /// As much of a pipe as the protocol needs: a write makes the next wait return.
    #[derive(Default)]
    struct Pipe {
        has_bytes: Mutex<bool>,
        written: Condvar,
    }

    impl Pipe {
        fn write(&self) {
            *self.has_bytes.lock().unwrap() = true;
            self.written.notify_one();
        }

        fn wait(&self) {
            let mut has_bytes = self.has_bytes.lock().unwrap();
            while !*has_bytes {
                has_bytes = self.written.wait(has_bytes).unwrap();
            }
            *has_bytes = false;
        }
    }

    struct State {
        flag: AtomicU64,
        /// Number of replies that are published and not handled.
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

        /// Runs the reactor's loop until `all` replies are handled. If a wake-up is lost, the loop never ends, and loom
        /// reports that.
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

    fn wakers_and_a_sleeper(count: u64) {
        let state = State::new();
        let wakers: Vec<_> = (0..count)
            .map(|_| {
                let state = state.clone();
                thread::spawn(move || state.publish_and_notify())
            })
            .collect();
        state.react(count);
        wakers.into_iter().for_each(|waker| waker.join().unwrap());
    }

    /// Orders in which threads are interrupted up to twice: all orders of three threads would take hours.
    fn model_three_threads() -> loom::model::Builder {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(2);
        model
    }

    #[test]
    fn no_wake_up_is_lost_in_any_order() {
        loom::model(|| wakers_and_a_sleeper(1));
        model_three_threads().check(|| wakers_and_a_sleeper(2));
    }

    #[test]
    fn no_wake_up_is_lost_beside_an_awaiting_thread_in_any_order() {
        model_three_threads().check(|| {
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
