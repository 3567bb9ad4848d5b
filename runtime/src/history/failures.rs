//! The failures of a job, grouped by cause, in a few lines that say how to look into them.

use std::collections::HashMap;

/// Number of causes that are told apart. Failures of further causes are only counted.
const MOST_CAUSES: usize = 64;

/// Number of causes, of tasks of each, and of lines of output of each, that are shown.
const SHOWN_CAUSES: usize = 3;
const SHOWN_TASKS: usize = 3;
const SHOWN_LINES: usize = 2;

/// Maximum length of a line about a failure, in characters.
const MOST_CHARS: usize = 160;

/// The failed tasks of a job, grouped by cause: the class of the failure, and its message with any numbers.
///
/// ```
/// let mut failures = wren::history::Failures::default();
/// for task in [7, 31, 64, 65] {
///     let message = format!("`demo::f` task {task} panicked at src/main.rs:29:5: no row {task}");
///     failures.add(task, "panicked", &message, "reading the table\n");
/// }
/// assert_eq!(
///     failures.lines("sweep", Some(600)),
///     [
///         "4 of 600 tasks failed:",
///         "  4 tasks (7, 31, 64, ..): panicked at src/main.rs:29:5: no row 7",
///         "    [7] reading the table",
///         "  cargo wren logs sweep 7    # the output of task 7",
///         "  cargo wren replay sweep 7  # runs it again here",
///     ]
/// );
/// ```
#[derive(Debug, Default)]
pub struct Failures {
    count: u64,
    causes: Vec<CauseOfFailures>,
    /// Positions in `causes`, by class and by message without numbers.
    known: HashMap<(String, String), usize>,
}

/// Tasks that failed for the same cause.
#[derive(Debug)]
struct CauseOfFailures {
    /// The message of the first task, without its name.
    text: String,
    count: u64,
    /// The first tasks.
    tasks: Vec<u64>,
    /// The last lines that the first task wrote to standard error.
    printed: Vec<String>,
}

impl Failures {
    /// Adds a task that failed. The class, the message and the last output on standard error are those of
    /// [`Event::Failed`](super::Event::Failed).
    pub fn add(&mut self, task: u64, class: &str, message: &str, stderr: &str) {
        self.count += 1;
        let text = cause(task, class, message);
        let key = (class.to_owned(), without_numbers(&text));
        let index = match self.known.get(&key) {
            Some(index) => *index,
            None if self.causes.len() == MOST_CAUSES => return,
            None => {
                self.known.insert(key, self.causes.len());
                let printed = last_lines(stderr, message);
                self.causes.push(CauseOfFailures { text, count: 0, tasks: Vec::new(), printed });
                self.causes.len() - 1
            }
        };
        let cause = &mut self.causes[index];
        cause.count += 1;
        if cause.tasks.len() < SHOWN_TASKS {
            cause.tasks.push(task);
        }
    }

    /// Removes all failures, because a new run of the job starts.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Returns at most 13 lines: the most frequent causes, with the last output of the first task of each, and the
    /// commands that show more of the job `id` with `tasks` tasks. There are no lines if no task failed.
    pub fn lines(&self, id: &str, tasks: Option<u64>) -> Vec<String> {
        let mut lines = self.causes(tasks);
        lines.extend(self.commands(id));
        lines
    }

    /// Returns the lines without the commands.
    pub(super) fn causes(&self, tasks: Option<u64>) -> Vec<String> {
        if self.count == 0 {
            return Vec::new();
        }
        let failed = match tasks {
            Some(tasks) => format!("{} of {} failed", self.count, tasks_in_words(tasks)),
            None => format!("{} failed", tasks_in_words(self.count)),
        };
        let mut lines = vec![failed + ":"];
        let causes = self.by_frequency();
        let shown: u64 = causes.iter().take(SHOWN_CAUSES).map(|cause| cause.count).sum();
        for cause in causes.into_iter().take(SHOWN_CAUSES) {
            lines.push(cut(format!("  {}: {}", cause.tasks_in_words(), cause.text)));
            lines.extend(cause.printed());
        }
        if shown < self.count {
            lines.push(format!("  {} for other causes", tasks_in_words(self.count - shown)));
        }
        lines
    }

    /// Returns the causes, the most frequent first, and those of earlier tasks first among equals.
    fn by_frequency(&self) -> Vec<&CauseOfFailures> {
        let mut causes: Vec<_> = self.causes.iter().collect();
        causes.sort_by_key(|cause| (std::cmp::Reverse(cause.count), cause.tasks.first()));
        causes
    }

    /// Returns the last lines that the only failed task printed, or a line that names the tasks that failed in the same
    /// way. This is for a job whose error the program gets and shows. Returns `None` if there are several causes.
    pub(super) fn beside_the_error(&self, tasks: u64) -> Option<Vec<String>> {
        let [cause] = &self.causes[..] else { return None };
        let mut lines = cause.printed();
        if self.count > 1 {
            let all = format!("{} of {} failed", self.count, tasks_in_words(tasks));
            let numbers = cause.numbers();
            lines.insert(0, format!("{all}, all for the same cause: {numbers}"));
        }
        (cause.count == self.count).then_some(lines)
    }

    /// Returns the commands that show more of the first task that failed.
    pub(super) fn commands(&self, id: &str) -> Vec<String> {
        let causes = self.by_frequency();
        let Some(task) = causes.first().and_then(|cause| cause.tasks.first()) else { return Vec::new() };
        let (logs, replay) = (format!("logs {} {task}", quoted(id)), format!("replay {} {task}", quoted(id)));
        let width = replay.chars().count();
        vec![
            format!("  cargo wren {logs:width$}  # the output of task {task}"),
            format!("  cargo wren {replay}  # runs it again here"),
        ]
    }
}

impl CauseOfFailures {
    fn numbers(&self) -> String {
        let mut numbers: Vec<String> = self.tasks.iter().map(u64::to_string).collect();
        if self.count > self.tasks.len() as u64 {
            numbers.push("..".to_owned());
        }
        numbers.join(", ")
    }

    fn tasks_in_words(&self) -> String {
        match self.count {
            1 => format!("task {}", self.numbers()),
            count => format!("{count} tasks ({})", self.numbers()),
        }
    }

    fn printed(&self) -> Vec<String> {
        let task = self.tasks.first().copied().unwrap_or_default();
        self.printed.iter().map(|line| cut(format!("    [{task}] {line}"))).collect()
    }
}

/// Returns "1 task" or, for instance, "60 tasks".
pub(super) fn tasks_in_words(count: u64) -> String {
    if count == 1 { "1 task".to_owned() } else { format!("{count} tasks") }
}

/// Returns the first line of a failure's message, without the name of its task.
fn cause(task: u64, class: &str, message: &str) -> String {
    let line = message.lines().next().unwrap_or_default();
    // The text of `Attempt`: "`function` task 7", and " (attempt 2)" after a retry.
    let mark = format!("` task {task}");
    let named = line.find(&mark).and_then(|end| {
        let start = line[..end].rfind('`')?;
        let rest = &line[end + mark.len()..];
        let rest = match rest.strip_prefix(" (attempt ").and_then(|rest| rest.split_once(')')) {
            Some((_, rest)) => rest,
            None => rest,
        };
        Some((&line[..start], rest))
    });
    let text = match named {
        None => line.to_owned(),
        Some(("", rest)) => rest.trim_start().to_owned(),
        // "the worker process of `f` task 7 exited", "no answer from the backend about `f` task 7".
        Some((before, rest)) => {
            match before.trim_end().strip_suffix(" of").or(before.trim_end().strip_suffix(" about")) {
                Some(before) => format!("{before}{rest}"),
                None => format!("{before}the task{rest}"),
            }
        }
    };
    match class {
        "returned" | "panicked" => text,
        // The advice of other messages is in the error itself.
        _ => text.split("; ").next().unwrap_or_default().to_owned(),
    }
}

fn without_numbers(text: &str) -> String {
    let mut without = String::with_capacity(text.len());
    for c in text.chars() {
        match c.is_ascii_digit() {
            true if without.ends_with('#') => {}
            true => without.push('#'),
            false => without.push(c),
        }
    }
    without
}

/// Returns the last lines of a task's output that its message does not contain. They do not include what the panic hook
/// of the standard library prints, because the message says the same.
fn last_lines(stderr: &str, message: &str) -> Vec<String> {
    let is_of_hook = |line: &str| {
        (line.starts_with("thread '") && line.contains("panicked at"))
            || line.starts_with("note: run with `RUST_BACKTRACE")
    };
    let of_task = stderr.lines().map(str::trim_end).filter(|line| !line.trim().is_empty());
    let of_task = of_task.filter(|line| !is_of_hook(line) && !message.contains(line.trim()));
    let mut lines: Vec<String> = of_task.rev().take(SHOWN_LINES).map(str::to_owned).collect();
    lines.reverse();
    lines
}

fn cut(line: String) -> String {
    let line: String = line.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect();
    if line.chars().count() <= MOST_CHARS {
        return line;
    }
    line.chars().take(MOST_CHARS - 1).chain(['…']).collect()
}

/// Returns a word for the shell.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "-_.:/@".contains(c);
    if word.chars().all(is_plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', "'\\''")) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::error::{Attempt, Failure, StoreError};

    fn message(task: u64, attempt: u32, failure: &Failure) -> String {
        let attempt = Attempt { function: "demo::f".to_owned(), task, attempt, ..Attempt::default() };
        failure.clone().into_error(attempt).to_string()
    }

    fn add(failures: &mut Failures, task: u64, attempt: u32, failure: &Failure, stderr: &str) {
        failures.add(task, failure.name(), &message(task, attempt, failure), stderr);
    }

    #[test]
    fn causes_of_every_class_read_well() {
        let returned = |message: &str| Failure::Returned {
            message: message.to_owned(),
            chain: vec!["disk; full".to_owned()],
            type_name: String::new(),
            value: Vec::new(),
            again: true,
        };
        let failures = [
            returned("no row"),
            Failure::Panicked { message: "a; b\nc".to_owned(), location: "m.rs:2:3".to_owned(), backtrace: None },
            Failure::WorkerDied { signal: Some(11), exit_code: None },
            Failure::WorkerDied { signal: None, exit_code: Some(4) },
            Failure::OutOfMemory { limit_mb: 512, peak_mb: 600 },
            Failure::TimedOut { limit: Duration::from_secs(5) },
            Failure::Throttled { message: "slow down".to_owned() },
            Failure::NeverStarted { waited: Duration::from_secs(60) },
            Failure::MayHaveRun { cause: Box::new(Failure::WorkerDied { signal: Some(9), exit_code: None }) },
            Failure::BadArguments { reason: "argument `x`: no map (task 7)".to_owned() },
            Failure::BadResult { reason: "no map".to_owned() },
            Failure::UnknownFunction { registered: vec!["demo::g".to_owned()] },
            Failure::StaleDeployment { functions: vec!["demo::f".to_owned()] },
            Failure::Store(StoreError::NotFound { store: "memory:".to_owned(), key: "k".to_owned() }),
            Failure::Backend("no workers".to_owned()),
        ];
        let text = failures.iter().map(|failure| {
            let once = cause(7, failure.name(), &message(7, 1, failure));
            assert_eq!(once, cause(7, failure.name(), &message(7, 3, failure)), "the attempt does not matter");
            once + "\n"
        });
        insta::assert_snapshot!(text.collect::<String>());
    }

    #[test]
    fn many_failures_become_a_few_lines() {
        let mut failures = Failures::default();
        assert_eq!(failures.lines("sweep", Some(10)), [""; 0]);
        let panicked = |task: u64| Failure::Panicked {
            message: format!("the len is 3 but the index is {task}"),
            location: "src/main.rs:29:5".to_owned(),
            backtrace: None,
        };
        let stderr = "one\ntwo\nthree\nthread 'main' panicked at src/main.rs:29:5:\nthe len is 3 but the index is 7\n\
            note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace\n";
        add(&mut failures, 40, 1, &Failure::TimedOut { limit: Duration::from_secs(5) }, "");
        for task in [7, 31, 64, 65, 66] {
            add(&mut failures, task, 2, &panicked(task), stderr);
        }
        add(&mut failures, 90, 1, &Failure::WorkerDied { signal: Some(9), exit_code: None }, &"x".repeat(500));
        add(&mut failures, 91, 1, &Failure::Backend("no workers".to_owned()), "");
        let lines = failures.lines("a job's name", Some(600));
        insta::assert_snapshot!(lines.join("\n"));
        assert!(lines.len() <= 13 && failures.beside_the_error(600).is_none());
    }

    #[test]
    fn the_number_of_causes_is_limited() {
        let mut failures = Failures::default();
        for task in 0..1_000 {
            let letters: String = format!("{task:04}").bytes().map(|digit| char::from(digit + 50)).collect();
            failures.add(task, "returned", &letters, "1\n2\n3\n");
        }
        assert_eq!((failures.causes.len(), failures.count), (MOST_CAUSES, 1_000));
        let lines = failures.lines("j", None);
        assert!(lines.len() <= 13 && lines.contains(&"  997 tasks for other causes".to_owned()), "{lines:?}");
    }

    #[test]
    fn an_error_that_the_program_shows_is_not_repeated() {
        let mut failures = Failures::default();
        let timed_out = Failure::TimedOut { limit: Duration::from_secs(5) };
        add(&mut failures, 40, 1, &timed_out, "loading\n");
        assert_eq!(failures.beside_the_error(60).unwrap(), ["    [40] loading"]);
        add(&mut failures, 41, 1, &timed_out, "loading\n");
        let lines = failures.beside_the_error(60).unwrap();
        assert_eq!(lines, ["2 of 60 tasks failed, all for the same cause: 40, 41", "    [40] loading"]);
    }

    #[test]
    fn foreign_text_is_harmless() {
        for (class, message, stderr) in
            [("", "", ""), ("panicked", "` task 7", "\n\n"), ("x", "é`é` task 7 é", "\u{1b}[2J")]
        {
            let mut failures = Failures::default();
            failures.add(7, class, message, stderr);
            assert!(failures.lines("j", Some(1)).iter().all(|line| !line.contains('\u{1b}')));
        }
    }
}
