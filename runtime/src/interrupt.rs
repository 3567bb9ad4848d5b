//! Ctrl-C: cancel what runs, stop the workers, say what was done.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::process::ExitCode;
use std::task::Poll;
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::trace;

/// 128 + SIGINT, as shells expect.
const EXIT_CODE: u8 = 130;

/// Waits for Ctrl-C on a thread of its own, so that a `main` that blocks can be interrupted too. The
/// second Ctrl-C, or a `main` that does not end within `patience`, ends the program at once.
pub(crate) fn watch(patience: Duration) -> oneshot::Receiver<()> {
    let (tell, told) = oneshot::channel();
    let wait = move || {
        let Ok(runtime) = crate::blocking::new_runtime() else { return };
        runtime.block_on(async {
            if tokio::signal::ctrl_c().await.is_err() {
                return;
            }
            let _ = tell.send(());
            let _ = tokio::time::timeout(patience, tokio::signal::ctrl_c()).await;
            say();
            std::process::exit(EXIT_CODE.into());
        });
    };
    // Without the thread, Ctrl-C ends the program as it always does, and workers end with it.
    let _ = thread::Builder::new().name("wren-interrupt".into()).stack_size(256 << 10).spawn(wait);
    told
}

/// The output of `future`, or `None` if Ctrl-C came first. The future is dropped by the caller.
pub(crate) async fn unless<T>(
    mut told: oneshot::Receiver<()>,
    mut future: Pin<&mut impl Future<Output = T>>,
) -> Option<T> {
    let mut watching = true;
    poll_fn(move |cx| {
        if let Poll::Ready(value) = future.as_mut().poll(cx) {
            return Poll::Ready(Some(value));
        }
        if watching {
            match Pin::new(&mut told).poll(cx) {
                Poll::Ready(Ok(())) => return Poll::Ready(None),
                // The watcher could not start: nobody will tell.
                Poll::Ready(Err(_)) => watching = false,
                Poll::Pending => {}
            }
        }
        Poll::Pending
    })
    .await
}

fn say() {
    crate::terminal::note(&format!("interrupted; {}", trace::tally()));
}

pub(crate) fn farewell() -> ExitCode {
    say();
    ExitCode::from(EXIT_CODE)
}
