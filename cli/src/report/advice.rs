//! Sentences about the large parts of a job's wall time, each with advice that fits the job.

use std::ffi::OsStr;
use std::path::Path;

use wren::backend::is_lambda;
use wren::history::{Phase, Span, Timeline};

use super::bytes;
use super::path::On;
use crate::durations;

/// What the advice depends on.
#[derive(Debug)]
pub(super) struct Facts {
    /// Maximum number of functions that can run at once.
    most: i64,
    on_lambda: bool,
    /// Whether cargo built the program with the profile for development.
    is_debug_build: bool,
    /// Number of calls, counting each attempt.
    calls: u64,
    /// Time that workers were busy, and the parts of it, in microseconds.
    busy_us: u64,
    decode_us: u64,
    encode_us: u64,
    /// Size of all arguments that calls decoded, and of all results, in bytes.
    decoded: u64,
    encoded: u64,
    /// Number of different large arguments.
    large_values: u64,
    /// How often large arguments were sent to workers, and their size in bytes.
    sent_values: u64,
    sent_bytes: u64,
    /// Time that the driver encoded arguments and decoded results, in seconds.
    driver_encode_s: f64,
    driver_decode_s: f64,
}

impl Facts {
    /// Collects the facts from the spans of the latest run.
    pub(super) fn of(timeline: &Timeline, spans: &[&Span], most: i64) -> Self {
        let sum = |value: &dyn Fn(&Span) -> u64| spans.iter().map(|span| value(span)).sum::<u64>();
        let phase = |phase: Phase| sum(&|span| span.phase(phase).end - span.phase(phase).start);
        Self {
            most,
            on_lambda: is_lambda(&timeline.job.backend),
            is_debug_build: is_debug_build(&timeline.about.program),
            calls: sum(&Span::count),
            busy_us: sum(&Span::busy),
            decode_us: phase(Phase::Decode),
            encode_us: phase(Phase::Encode),
            decoded: sum(&|span| (span.bytes_in as u64).saturating_add(span.large_in)),
            encoded: sum(&|span| span.bytes_out as u64),
            large_values: timeline.driver.large_values,
            sent_values: sum(&|span| span.sent_values),
            sent_bytes: sum(&|span| span.sent_bytes),
            driver_encode_s: timeline.driver.encode_s,
            driver_decode_s: timeline.driver.decode_s,
        }
    }

    /// Returns a sentence with advice about each of these parts of the wall time: its share, and the mean number of
    /// workers that ran calls meanwhile.
    pub(super) fn sentences(&self, parts: impl Iterator<Item = (On, f64, f64)>) -> Vec<String> {
        // Said once, where it matters most.
        let mut release = if self.is_debug_build { RELEASE } else { "" };
        let sentence = |(on, share, busy)| {
            let release = if self.depends_on_build(on) { std::mem::take(&mut release) } else { "" };
            format!("{:.0}% of the wall time: {}{release}.", 100.0 * share, self.text(on, busy))
        };
        parts.map(sentence).collect()
    }

    /// Whether code of the program, which a release build optimizes, took this part of the time.
    fn depends_on_build(&self, on: On) -> bool {
        match on {
            On::Compute | On::Decode | On::Encode => true,
            On::Driver => self.driver_encode_s + self.driver_decode_s > 0.0,
            _ => false,
        }
    }

    fn text(&self, on: On, busy: f64) -> String {
        let most = self.most;
        match on {
            On::Compute => {
                let workers = if most == 1 { "the only worker".to_owned() } else { format!("all {most} workers") };
                format!("{workers} ran functions; only faster functions or more workers shorten this")
            }
            On::Decode => self.decoding(),
            On::Encode => {
                let share = self.of_busy(self.encode_us);
                let size = bytes(self.encoded / self.calls.max(1));
                format!(
                    "workers encoded results: each call returns {size}, {share} of its time; return less, or numbers \
                     as a `Vec<f64>`, which is copied as it is"
                )
            }
            On::Tail => format!(
                "only {busy:.1} of {most} workers had tasks, because few were left; split long tasks, or put them first"
            ),
            On::Concurrency => format!(
                "tasks waited for workers, while {busy:.1} of {most} workers ran functions; {}",
                if self.on_lambda {
                    "`cargo wren doctor` shows the concurrency limit of the account"
                } else {
                    "smaller batches (`.chunk(n)`) spread tasks over more workers"
                }
            ),
            On::Start => format!(
                "workers were started, or tasks were sent to them; {}",
                if self.on_lambda {
                    "longer tasks or larger batches (`.chunk(n)`) reduce this"
                } else {
                    "a longer job, or several jobs of one program, share these starts"
                }
            ),
            On::Fetch => {
                let sent = match self.sent_values {
                    0 => String::new(),
                    n => format!(" ({} of large arguments in {n} transfers)", bytes(self.sent_bytes)),
                };
                format!("workers waited for arguments{sent}; use `wren::put` for large values that calls share")
            }
            On::Commit => {
                let size = bytes(self.encoded / self.calls.max(1));
                format!(
                    "workers wrote outcomes; each call returns {size}: return less, or return `Ref`s with `.refs()`"
                )
            }
            On::Observe => "outcomes were written, but the driver had not observed them yet; larger batches \
                            (`.chunk(n)`) mean fewer outcomes"
                .to_owned(),
            On::Pause => {
                "failed tasks waited for their retries; the causes of the failures are listed below".to_owned()
            }
            On::Driver => self.driving(),
        }
    }

    fn decoding(&self) -> String {
        let size = bytes(self.decoded / self.calls.max(1));
        let share = self.of_busy(self.decode_us);
        // Fewer values than calls: the calls share them.
        let advice = if (1..self.calls).contains(&self.large_values) {
            "take shared numbers or text as a slice (`&[f64]`, `&str`), which needs no decoding; or implement \
             `wren::Immutable` for a type that calls take as `&T`, so that each worker decodes it once; or make calls \
             larger"
        } else {
            "pass only what a call needs, such as an index and a `Ref`; or make calls larger"
        };
        format!("workers decoded arguments: each call decodes {size}, {share} of its time; {advice}")
    }

    fn driving(&self) -> String {
        let (encode, decode) = (self.driver_encode_s, self.driver_decode_s);
        let [encoding, decoding] = [encode, decode].map(durations::short);
        let cause = "there were no tasks to run";
        if encode <= 0.0 && decode <= 0.0 {
            return format!("{cause}; the program was creating arguments or handling results");
        }
        let advice = if encode > decode {
            "let functions create or load their own inputs, from an index or a `Ref`"
        } else {
            "return less, or handle results while tasks run, with `.stream()`"
        };
        format!(
            "{cause}; the program took {encoding} to create and encode arguments, and {decoding} to decode results: \
             {advice}"
        )
    }

    fn of_busy(&self, us: u64) -> String {
        format!("{:.0}%", 100.0 * us as f64 / self.busy_us.max(1) as f64)
    }
}

const RELEASE: &str = "; this was a debug build, and `cargo run --release` is faster";

/// Whether cargo put the program into the folder of the profile for development.
fn is_debug_build(program: &Path) -> bool {
    program.ancestors().skip(1).take(2).any(|folder| folder.file_name() == Some(OsStr::new("debug")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::path::CriticalPath;
    use crate::report::tests::{log, read};

    /// Returns the sentences about a job of four calls that took a second each, on four workers. `fields` belong to
    /// each call's line, and `driver` to the last line.
    fn sentences(program: &str, fields: &str, driver: &str) -> Vec<String> {
        let done = |task: u64| {
            format!(
                r#"{{"event":"done","t":1.0,"first":{task},"count":1,"new":1,"attempt":1,"bytes_out":8,"peak_mb":1,{fields}}}"#
            )
        };
        let end = format!(
            r#"{{"event":"end","t":1.0,"state":"done","done":4,"failed":0,"retried":0,"compute_s":0,"wall_s":1.0,"usd":0{driver}}}"#
        );
        let lines: Vec<_> = (0..4).map(done).chain([end]).collect();
        let text = log(4, &lines).replacen(r#""pid":1"#, &format!(r#""pid":1,"program":"{program}""#), 1);
        CriticalPath::of(&read(&text)).sentences
    }

    const DECODING: &str = r#""decode_us":960000,"compute_us":40000,"bytes_in":12,"large_in":32000016"#;

    #[test]
    fn decoding_of_a_shared_value_is_named_with_its_size_and_advice() {
        let found = sentences("/p/target/release/demo", DECODING, r#","large_values":1,"large_bytes":32000016"#);
        assert_eq!(
            found,
            [
                "96% of the wall time: workers decoded arguments: each call decodes 32.0 MB, 96% of its time; take shared \
              numbers or text as a slice (`&[f64]`, `&str`), which needs no decoding; or implement `wren::Immutable` \
              for a type that calls take as `&T`, so that each worker decodes it once; or make calls larger."
            ]
        );
        let found = sentences("/p/target/debug/demo", DECODING, r#","large_values":1,"large_bytes":32000016"#);
        assert!(
            found[0].ends_with("larger; this was a debug build, and `cargo run --release` is faster."),
            "{found:?}"
        );
    }

    #[test]
    fn a_debug_build_is_named_once() {
        let both = r#""decode_us":400000,"compute_us":600000,"large_in":32000016"#;
        let found = sentences("/p/target/debug/demo", both, r#","large_values":1,"large_bytes":32000016"#);
        let hints = |sentence: &String| sentence.matches("debug build").count();
        assert_eq!(found.iter().map(hints).collect::<Vec<_>>(), [1, 0], "{found:?}");
    }

    #[test]
    fn values_of_single_calls_have_other_advice_than_shared_ones() {
        let found = sentences("/p/demo", DECODING, r#","large_values":4,"large_bytes":128000064"#);
        assert!(found[0].contains("pass only what a call needs") && !found[0].contains("Immutable"), "{found:?}");
    }

    #[test]
    fn encoding_and_waiting_name_sizes() {
        let found = sentences("/p/demo", r#""compute_us":200000,"encode_us":800000"#, "");
        assert!(found[0].starts_with("80% of the wall time: workers encoded results: each call returns 8 bytes"));
        assert!(found[1].starts_with("20% of the wall time: all 4 workers ran functions; only faster"), "{found:?}");
        let fetching = r#""fetch_us":900000,"compute_us":100000,"sent_values":1,"sent_bytes":3000000"#;
        let found = sentences("/p/demo", fetching, "");
        assert!(found[0].contains("(12.0 MB of large arguments in 4 transfers)"), "{found:?}");
    }

    #[test]
    fn the_driver_is_told_what_it_does() {
        let idle = r#""queued":0.9,"invoked":0.9,"started":0.9,"compute_us":100000"#;
        let found = sentences("/p/demo", idle, r#","encode_s":0.8,"decode_s":0.01"#);
        assert!(found[0].starts_with("90% of the wall time: there were no tasks to run; the program took "));
        assert!(found[0].contains("let functions create or load their own inputs"), "{found:?}");
        let found = sentences("/p/demo", idle, r#","encode_s":0.01,"decode_s":0.8"#);
        assert!(found[0].contains("with `.stream()`"), "{found:?}");
        // A log of an earlier version.
        let found = sentences("/p/demo", idle, "");
        assert!(found[0].ends_with("the program was creating arguments or handling results."), "{found:?}");
    }

    #[test]
    fn debug_builds_are_found_by_their_folder() {
        for (program, want) in [
            ("/p/target/debug/demo", true),
            ("/p/target/debug/examples/demo", true),
            ("/p/target/release/demo", false),
            ("/debug/p/target/release/demo", false),
            ("/usr/bin/debug", false),
        ] {
            assert_eq!(is_debug_build(Path::new(program)), want, "{program}");
        }
    }
}
