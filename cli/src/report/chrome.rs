//! Writes a job as a Chrome trace, for Perfetto (<https://ui.perfetto.dev>) and `chrome://tracing`.
//!
//! The format is Google's "Trace Event Format": an object with `traceEvents`, times in microseconds. Machines are shown
//! as processes and workers as threads. The phases of a task are complete events (`X`), failures are instant events
//! (`i`), and the numbers of running and waiting tasks are counters (`C`).

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde_json::{Value, json};
use wren::history::{Ended, Phase, Span, Timeline};

/// Approximate maximum number of points of a counter. Changes between two points show up in the second one.
const POINTS: usize = 20_000;

/// Writes the trace.
pub(crate) fn write(out: &mut impl Write, timeline: &Timeline) -> io::Result<()> {
    let mut events = Events { out, first: true };
    write!(events.out, "{{\"displayTimeUnit\":\"ms\",\"traceEvents\":[")?;
    let machines = name_machines(timeline, &mut events)?;
    for span in &timeline.spans {
        let (pid, tid) = (machines.get(&span.instance).copied().unwrap_or(0), u64::from(span.worker) + 1);
        write_span(&mut events, span, pid, tid, &timeline.job.function)?;
    }
    write_counters(&mut events, timeline)?;
    writeln!(events.out, "\n]}}")
}

struct Events<'a, W> {
    out: &'a mut W,
    first: bool,
}

impl<W: Write> Events<'_, W> {
    fn write(&mut self, event: &Value) -> io::Result<()> {
        write!(self.out, "{}{event}", if self.first { "\n" } else { ",\n" })?;
        self.first = false;
        Ok(())
    }
}

/// Names the processes and threads, and returns the process ID of each machine. Process 0 has the job's counters.
fn name_machines<W: Write>(timeline: &Timeline, events: &mut Events<'_, W>) -> io::Result<BTreeMap<Option<u64>, u64>> {
    let name = |what: &str, pid: u64, tid: u64, name: String| json!({"ph": "M", "name": what, "pid": pid, "tid": tid, "args": {"name": name}});
    events.write(&name("process_name", 0, 0, format!("job {}", timeline.job.id)))?;
    let mut workers = BTreeMap::<_, std::collections::BTreeSet<u32>>::new();
    for span in &timeline.spans {
        workers.entry(span.instance).or_default().insert(span.worker);
    }
    let mut machines = BTreeMap::new();
    for ((instance, workers), pid) in workers.into_iter().zip(1..) {
        let machine = instance.map_or("this machine".to_owned(), |instance| format!("instance {instance:016x}"));
        events.write(&name("process_name", pid, 0, machine))?;
        for worker in workers {
            events.write(&name("thread_name", pid, u64::from(worker) + 1, format!("worker {worker}")))?;
        }
        machines.insert(instance, pid);
    }
    Ok(machines)
}

fn write_span<W: Write>(events: &mut Events<'_, W>, span: &Span, pid: u64, tid: u64, function: &str) -> io::Result<()> {
    let mut complete = |phase: Phase, name: &str, args: Value| {
        let part = span.phase(phase);
        if part.is_empty() && phase != Phase::Compute {
            return Ok(());
        }
        events.write(&json!({
            "ph": "X", "name": name, "cat": phase.name(), "pid": pid, "tid": tid,
            "ts": part.start, "dur": part.end - part.start, "args": args,
        }))
    };
    if span.cold {
        complete(Phase::Setup, "setup", json!({}))?;
    }
    // Later tasks of a batch do not wait for the arguments again.
    if span.phase(Phase::Turn).is_empty() {
        complete(Phase::Fetch, "fetch", json!({}))?;
    }
    let name = match span.count() {
        1 => format!("task {}", span.tasks.start),
        _ => format!("tasks {}..{}", span.tasks.start, span.tasks.end),
    };
    let phases: serde_json::Map<_, _> = Phase::ALL
        .into_iter()
        .map(|phase| (format!("{}_us", phase.name()), (span.phase(phase).end - span.phase(phase).start).into()))
        .collect();
    let (state, message) = match &span.ended {
        Ended::Done => ("done", None),
        Ended::Failed { class, message } => (class.as_str(), Some(message)),
        Ended::Retried { class, message } => (class.as_str(), Some(message)),
    };
    let mut args = json!({"function": function, "attempt": span.attempt, "state": state, "request": span.request});
    if let Some(args) = args.as_object_mut() {
        args.extend(phases);
    }
    complete(Phase::Decode, "decode", json!({}))?;
    complete(Phase::Compute, &name, args)?;
    complete(Phase::Encode, "encode", json!({}))?;
    if let Some(message) = message {
        events.write(&json!({
            "ph": "i", "s": "t", "name": state, "cat": "failure", "pid": pid, "tid": tid,
            "ts": span.phase(Phase::Compute).end, "args": {"message": message},
        }))?;
    }
    Ok(())
}

fn write_counters<W: Write>(events: &mut Events<'_, W>, timeline: &Timeline) -> io::Result<()> {
    let mut steps: Vec<(u64, i64, i64)> = Vec::new();
    for span in &timeline.spans {
        let (queue, from, to) =
            (span.phase(Phase::Queue), span.phase(Phase::Decode).start, span.phase(Phase::Encode).end);
        let tasks = span.count() as i64;
        steps.extend([(queue.start, 0, tasks), (queue.end, 0, -tasks), (from, 1, 0), (to, -1, 0)]);
    }
    steps.sort_unstable();
    let (mut running, mut queued) = (0, 0);
    let apart = (steps.last().map_or(0, |step| step.0) / POINTS as u64).max(1);
    let mut next = 0;
    let mut steps = steps.into_iter().peekable();
    while let Some((moment, of_running, of_queued)) = steps.next() {
        running += of_running;
        queued += of_queued;
        let last_of_moment = steps.peek().is_none_or(|following| following.0 > moment);
        if last_of_moment && (moment >= next || steps.peek().is_none()) {
            next = moment + apart;
            events.write(&json!({
                "ph": "C", "name": "tasks", "pid": 0, "tid": 0, "ts": moment,
                "args": {"running": running, "queued": queued},
            }))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::{done, log, read};

    /// Checks what the format requires of each kind of event.
    fn check(event: &Value) {
        let number = |key: &str| event[key].as_u64().unwrap_or_else(|| panic!("{key} of {event}"));
        let text = |key: &str| event[key].as_str().unwrap_or_else(|| panic!("{key} of {event}"));
        number("pid");
        number("tid");
        assert!(!text("name").is_empty());
        match text("ph") {
            "M" => assert!(event["args"]["name"].is_string(), "{event}"),
            "X" => assert!(number("ts") + number("dur") < 1 << 60 && !text("cat").is_empty()),
            "i" => assert!(["g", "p", "t"].contains(&text("s")) && event["ts"].is_u64()),
            "C" => {
                number("ts");
                let series = event["args"].as_object().unwrap();
                assert!(!series.is_empty() && series.values().all(|value| value.as_i64() >= Some(0)), "{event}");
            }
            other => panic!("unexpected phase {other}"),
        }
    }

    #[test]
    fn traces_are_valid_and_thread_events_do_not_overlap() {
        let mut lines: Vec<_> = (0..50_u64)
            .map(|n| done(n * 3, 3, [0, n * 1_000, n * 1_000, 100, 0, 800, 50], (n + 1) * 1_000 + 70))
            .collect();
        lines.push(
            r#"{"event":"failed","t":0.07,"task":150,"attempt":1,"class":"panicked","message":"</script>\n\"no\"","invoked":0.06,"started":0.06,"compute_us":9000}"#
                .to_owned(),
        );
        let timeline = read(&log(1, &lines));
        let mut trace = Vec::new();
        write(&mut trace, &timeline).unwrap();
        let trace: Value = serde_json::from_slice(&trace).unwrap();
        let events = trace["traceEvents"].as_array().unwrap();
        events.iter().for_each(check);
        let complete = |event: &&Value| event["ph"] == "X";
        let mut of_thread: Vec<_> = events
            .iter()
            .filter(complete)
            .map(|event| (event["ts"].as_u64().unwrap(), event["dur"].as_u64().unwrap()))
            .collect();
        of_thread.sort_unstable();
        assert!(of_thread.len() > 100);
        assert!(of_thread.windows(2).all(|pair| pair[0].0 + pair[0].1 <= pair[1].0), "{of_thread:?}");
        assert_eq!(events.iter().filter(|event| event["ph"] == "i").count(), 1);
        let last = events.iter().rfind(|event| event["ph"] == "C").unwrap();
        assert_eq!((&last["args"]["running"], &last["args"]["queued"]), (&json!(0), &json!(0)));
    }

    #[test]
    fn a_job_without_tasks_has_a_trace() {
        let mut trace = Vec::new();
        write(&mut trace, &read(&log(1, &[]))).unwrap();
        let trace: Value = serde_json::from_slice(&trace).unwrap();
        trace["traceEvents"].as_array().unwrap().iter().for_each(check);
    }
}
