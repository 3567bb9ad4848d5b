//! Shows the ways in which a call can fail, and the errors that the program
//! gets.
//!
//!     cargo run --release -p examples --example errors

use std::path::Path;
use std::time::Duration;

use wren::Error;

// ANCHOR: function
/// The mean of the numbers in a line.
#[wren::remote]
fn mean(line: &str) -> Result<f64, std::num::ParseFloatError> {
    let numbers = line
        .split(',')
        .map(|field| field.trim().parse())
        .collect::<Result<Vec<f64>, _>>()?;
    Ok(numbers.iter().sum::<f64>() / numbers.len() as f64)
}
// ANCHOR_END: function

// ANCHOR: retries
/// Asks a server that is busy the first time. The file `marker` exists
/// after the first time.
#[wren::remote(retries = 2)]
fn ask(marker: &Path) -> Result<String, String> {
    match std::fs::File::create_new(marker) {
        Ok(_) => Err("the server is busy".to_owned()),
        Err(_) => Ok("an answer".to_owned()),
    }
}
// ANCHOR_END: retries

// ANCHOR: transient
/// A temporary condition: the server is busy.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct Busy {
    waiting: u32,
}

const PATIENT: wren::Backoff =
    wren::Backoff::new(Duration::from_secs(1)).factor(3);

#[wren::remote(
    retries = 5,
    retry_if = |busy: &Busy| busy.waiting < 10,
    backoff = PATIENT
)]
fn queue_up(waiting: u32) -> Result<(), Busy> {
    if waiting == 0 { Ok(()) } else { Err(Busy { waiting }) }
}
// ANCHOR_END: transient

// ANCHOR: harm
/// Ends its process for one argument, and takes too long for another.
#[wren::remote(timeout = 0.2)]
fn fragile(x: u32) -> u32 {
    match x {
        3 => std::process::exit(3),
        5 => std::thread::sleep(Duration::from_secs(60)),
        _ => {}
    }
    x
}
// ANCHOR_END: harm

#[wren::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // ANCHOR: first
    let lines = ["1, 2, 3", "4, five", "6"];
    match wren::map(mean, lines).await {
        Ok(means) => println!("{means:?}"),
        Err(error) => println!("the map failed: {error}"),
    }
    // ANCHOR_END: first

    // ANCHOR: all
    for (line, outcome) in
        lines.iter().zip(wren::map(mean, lines).try_all().await?)
    {
        match outcome {
            Ok(mean) => println!("{line:10} has the mean {mean}"),
            Err(Error::Returned { message, .. }) => {
                println!("{line:10} is skipped: {message}")
            }
            Err(other) => return Err(other.into()),
        }
    }
    // ANCHOR_END: all

    let marker = std::env::temp_dir()
        .join(format!("wren-errors-{}", std::process::id()));
    // ANCHOR: ask
    println!("after a retry: {}", ask(&marker).await?);
    // ANCHOR_END: ask
    std::fs::remove_file(&marker)?;

    let busy = queue_up(20).await.map_err(|error| error.downcast::<Busy>());
    assert!(
        matches!(busy, Err(Some(Busy { waiting: 20 }))),
        "it is not retried, and keeps its own type"
    );

    // ANCHOR: fragile
    let outcomes = wren::map(fragile, 0..8).try_all().await?;
    for error in
        outcomes.iter().filter_map(|outcome| outcome.as_ref().err())
    {
        match error {
            Error::WorkerDied { attempt, exit_code, .. } => {
                let (task, tries) = (attempt.task, attempt.attempt);
                print!("task {task} ended its process, ");
                println!("with code {exit_code:?}, {tries} times");
            }
            Error::TimedOut { attempt, limit } => {
                println!("task {} took longer than {limit:?}", attempt.task)
            }
            other => println!("{other}"),
        }
    }
    let good = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    println!("{good} of {} tasks are done", outcomes.len());
    // ANCHOR_END: fragile
    Ok(())
}
