//! Reports about a job, from its job history.

mod advice;
pub(crate) mod chrome;
pub(crate) mod figures;
pub(crate) mod page;
mod path;
pub(crate) mod serve;
mod whole;

pub(crate) use figures::Report;
pub(crate) use whole::Whole;

/// Returns a size with its unit.
pub(crate) fn bytes(n: u64) -> String {
    const UNITS: [&str; 5] = ["bytes", "kB", "MB", "GB", "TB"];
    let mut value = n as f64;
    let mut unit = 0;
    while value >= 1_000.0 && unit + 1 < UNITS.len() {
        value /= 1_000.0;
        unit += 1;
    }
    if unit == 0 { format!("{n} {}", UNITS[0]) } else { format!("{value:.1} {}", UNITS[unit]) }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use wren::history::Timeline;

    /// Returns the history of a job on this number of local workers.
    pub(super) fn log(workers: usize, lines: &[String]) -> String {
        let begin = format!(
            r#"{{"event":"job","id":"abc","name":null,"function":"demo::train","tasks":null,"backend":"local","workers":{workers},"started_unix_ms":0,"pid":1,"wren":"0"}}"#
        );
        [&[begin], lines].concat().join("\n") + "\n"
    }

    /// Returns the line of tasks that succeeded. `times` contains the moments at which they were queued, sent and
    /// started, and the durations of fetching, waiting for their turn, computing and committing. `observed` is the
    /// moment at which the driver received the outcome. All are in microseconds.
    pub(super) fn done(first: u64, count: u64, times: [u64; 7], observed: u64) -> String {
        let [queued, invoked, started, fetch, turn, compute, commit] = times;
        let s = |us: u64| us as f64 / 1e6;
        format!(
            r#"{{"event":"done","t":{},"first":{first},"count":{count},"new":{count},"attempt":1,"queued":{},"invoked":{},"started":{},"fetch_us":{fetch},"turn_us":{turn},"compute_us":{compute},"commit_us":{commit},"bytes_out":{count},"peak_mb":1}}"#,
            s(observed),
            s(queued),
            s(invoked),
            s(started),
        )
    }

    pub(super) fn read(log: &str) -> Timeline {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("events.jsonl"), log).unwrap();
        Timeline::read(folder.path()).unwrap()
    }
}
