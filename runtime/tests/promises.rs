//! Promises of other pools and clusters, one per line, from their test suites and documentation. For each, the table
//! names the tests of this repository that fail if wren does not keep it, or states how wren differs.
//!
//! # Pools: CPython's `concurrent.futures` and `multiprocessing`, loky, joblib, pebble
//!
//! | promised by | promise | held by |
//! | --- | --- | --- |
//! | `Executor.map`, `Pool.map` | results are in the order of the items | `a_map_gives_results_in_order` |
//! | `Executor.map` | the exception of a call takes the place of its result | `one_bad_task_is_one_error` |
//! | `as_completed`, `imap_unordered` | results arrive as they complete | `a_stream_over_an_endless_iterator_is_bounded` |
//! | `Executor.map` of 3.14, joblib | items are taken from an iterator as results are taken, and it may be endless | `a_range_may_be_longer_than_memory`, `a_stream_over_an_endless_iterator_is_bounded` |
//! | joblib `pre_dispatch` | few items are taken before they can run | `a_limit_on_running_calls_limits_taken_items` |
//! | joblib, `imap` | making items and computing overlap; an iterator may wait for an earlier result | `items_run_while_the_iterator_is_slow`, `an_iterator_can_wait_for_an_earlier_result`, `an_iterator_of_a_resumed_job_can_wait_for_an_earlier_result` |
//! | `imap` with a slow consumer | memory is bounded (not in `multiprocessing`) | `slow_consumers_make_workers_wait` |
//! | `chunksize` | calls are sent together; idle workers take over waiting calls of a chunk (elsewhere, a chunk is not split) | `concurrency_and_chunks_are_kept`, `chunks_keep_all_workers_busy` |
//! | `BrokenProcessPool`, loky `TerminatedWorkerError` | a dead worker is noticed at once | `killed_workers_lose_nothing` |
//! | loky | a pool continues after a worker has died; the other calls are run again | `killed_workers_lose_nothing`, `one_bad_task_is_one_error` |
//! | pebble `max_tasks`, `maxtasksperchild` | a worker is replaced after a number of calls | `workers_are_replaced_at_their_call_limit` |
//! | loky `timeout` | idle workers end, and new ones start later | `idle_workers_end_and_restart` |
//! | loky | a worker that leaks is replaced | `grown_workers_are_replaced` |
//! | pebble `timeout` | a call that exceeds its time limit is ended, together with its worker | `a_task_over_its_time_is_ended`, `a_call_over_its_time_is_ended_on_a_warm_worker_too` |
//! | pebble, `Future.cancel` | a running call can be cancelled | `a_dropped_call_is_cancelled_and_frees_its_worker` |
//! | loky, CPython | a value that cannot be serialized fails its own call and no other | `an_unencodable_item_fails_one_task`, `an_undecodable_result_is_one_error` |
//! | loky (crash while unpickling) | a deeply nested result does no harm | `writable_depths_are_readable_and_deeper_is_an_error`, `deep_nesting_is_an_error_not_an_overflow` |
//! | CPython | an exception keeps its type, its causes and the text of its traceback | `errors_keep_their_types`, `errors_arrive_with_their_sources`, `errors_of_any_length_arrive` |
//! | CPython `test_atexit`, loky | no worker outlives its program, however the program ends | `no_worker_outlives_a_driver_that_is_killed_in_a_call`, `started_processes_do_not_outlive_the_driver` |
//! | loky, joblib | a pool inside a worker's function works and starts no further processes | `nested_calls_do_not_block_a_full_pool`, `calls_on_their_callers_executor_do_not_deadlock` |
//! | loky `test_no_deadlock_on_nested_reusable_exector` | calls that wait for each other through several pools and threads do not deadlock | `calls_through_other_executors_do_not_deadlock`, `calls_through_threads_do_not_deadlock` |
//! | CPython | a fork of the program does no harm | `a_forked_driver_gets_errors_and_is_harmless` |
//! | joblib `loky` | a worker that cannot be started is an error and does not hang | `workers_that_do_not_start_are_clear_errors`, `a_pool_works_with_the_workers_it_can_start` |
//! | `Executor.submit` | it can be called from any thread | `calls_from_any_thread_of_a_function_end`, `calls_from_ending_threads_are_answered` |
//! | `initializer=` | differs: a `static` with `OnceLock` in the function's crate does the same | differs |
//!
//! # rayon and tokio
//!
//! | promised by | promise | held by |
//! | --- | --- | --- |
//! | rayon | a panic reaches the waiting caller, with its own message | `panics_keep_their_message_for_any_payload`, `a_panic_is_reported_once_at_once` |
//! | rayon | nested parallel calls do not deadlock | `threads_waiting_for_calls_run_them` |
//! | rayon `panic_fuse`, `try_for_each` | after the first failure, no further calls start | `one_bad_task_is_one_error` |
//! | tokio `JoinHandle`, `JoinSet` | calls are futures: `join!`, `select!`, `spawn`, dropping cancels | `calls_are_futures_like_any_other`, `a_dropped_call_is_cancelled_and_frees_its_worker` |
//! | tokio | awaiting does not block the async runtime | `async_code_does_not_block`, `a_thousand_objects_on_every_kind_of_event_loop` |
//! | tokio `StreamExt` | items can come from a stream, and results are a stream | `stream_items_run_as_they_arrive`, `a_stream_can_wait_for_earlier_results` |
//! | tokio `spawn` | a task that a call has spawned ends with the call (in tokio, it continues) | `spawned_tasks_end_with_their_call`, `abandoned_async_functions_end` |
//!
//! # Clusters: PyWren, Lithops, Ray, Dask, Spark, Modal
//!
//! | promised by | promise | held by |
//! | --- | --- | --- |
//! | Lithops, Ray | a task whose machine is lost is run again | `dead_machines_are_retried_with_growing_pauses`, `ten_thousand_tasks_are_each_done_once_under_faults` |
//! | Spark, Dask | the result of a task is reported once, even if the task runs twice | `a_hundred_thousand_tasks_under_all_faults_are_each_done_once`, `racing_programs_never_get_each_others_results` |
//! | Spark `speculation` | a straggler gets a copy, and the slower of the two is stopped | `a_straggler_gets_a_copy_and_the_first_to_finish_counts`, `a_new_project_is_deployed_and_run_by_two_commands` |
//! | Ray `retry_exceptions=[..]` | the program decides which errors are retried | `the_program_chooses_what_is_retried` |
//! | Ray `max_retries=0` | a call that must not run twice runs at most once | `at_most_once_is_respected` |
//! | Lithops, Dask `as_completed` | a failure contains its task and the output of the task | `printed_lines_are_shown_with_their_task`, `a_failed_job_shows_what_failed` |
//! | Dask `Client.cancel`, Ray `ray.cancel` | another process can stop a job, together with its workers | `a_running_job_is_cancelled_from_another_terminal`, `a_cancelled_job_stops_its_workers` |
//! | Ray `memory=`, Modal | a call that exceeds its memory limit gets an error, and no other call does | `a_task_over_its_memory_is_ended`, `calls_are_charged_for_own_and_child_memory` |
//! | Spark `saveAsTextFile` | outputs are complete or marked as incomplete, and come from one job | `store_folders_are_marked_until_complete`, `jobs_sharing_a_store_folder_are_not_mixed`, `a_worker_that_dies_writing_leaves_no_file` |
//! | Spark `sortByKey`, `reduceByKey` | the result is that of a plain program, whatever process dies | `sorts_match_coreutils_despite_crashes`, `counts_match_a_plain_program_despite_crashes` |
//! | Modal, Lithops | the cost of a job has a budget or a limit | `budgets_are_respected`, `calls_longer_than_earlier_ones_count_while_running` |
//! | Lithops `clean` | the data of a job can be removed | `removed_jobs_leave_nothing`, `a_named_job_is_found_and_removed_and_runs_again` |
//! | Ray `ObjectRef` | a value is stored once, and refs may contain refs | `a_ref_is_stored_once_and_reaches_workers` |
//! | Ray, Dask (lineage) | a lost value is computed again (here only in named jobs, which know how) | `a_ref_without_its_value_is_no_result`, `a_named_job_without_its_shuffle_maps_again` |
//! | Ray actors | differs: calls share state in key-value storage or in parameters | differs |
//! | AWS's SDKs | a wrong clock is corrected | `a_new_project_is_deployed_and_run_by_two_commands` |
//!
//! # Workflows and stores: Temporal, object_store
//!
//! | promised by | promise | held by |
//! | --- | --- | --- |
//! | Temporal | a job continues where it was when its program died | `a_named_job_resumes_after_its_driver_is_killed`, `waiters_take_over_jobs_of_killed_drivers` |
//! | Temporal (non-determinism errors) | a job of the same name with other calls is refused, with the call that differs | `every_form_after_every_form`, `a_named_job_refuses_other_arguments` |
//! | Temporal (workflow id) | two programs do not run the same job twice | `two_programs_share_a_job`, `a_job_has_one_holder_at_a_time` |
//! | Temporal `RetryPolicy` | the first pause, the factor, the longest pause and the retried errors can be set | `pauses_grow_up_to_the_longest`, `the_program_chooses_what_is_retried` |
//! | object_store | a conditional write has one winner | `one_racing_writer_wins`, `s3_on_the_emulator`, `s3_on_moto` |
//! | object_store | keys that are folders of other keys, byte order, ranges, missing keys | `it_conforms`, `s3_on_moto` |
//! | object_store `LocalFileSystem` | a failed write leaves nothing | `temporary_leftovers_are_no_keys` |

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Collects the names of all functions in Rust files below a folder.
fn functions(folder: &Path, names: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            functions(&path, names);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            names.extend(text.lines().filter_map(|line| {
                let (_, name) = line.split_once("fn ")?;
                Some(name.split(['(', '<']).next()?.to_owned())
            }));
        }
    }
}

#[test]
fn every_promise_names_existing_tests() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut known = BTreeSet::new();
    for folder in ["runtime/src", "runtime/tests", "cli/tests"] {
        functions(&root.join(folder), &mut known);
    }
    let mut promises = 0;
    for line in include_str!("promises.rs").lines().filter_map(|line| line.strip_prefix("//! | ")) {
        let columns: Vec<&str> = line.trim_end_matches(" |").split(" | ").collect();
        let [_, promise, holders] = columns[..] else { panic!("three columns: {line}") };
        if holders == "held by" || holders.starts_with("---") {
            continue;
        }
        promises += 1;
        if promise.starts_with("differs: ") && holders == "differs" {
            continue;
        }
        for holder in holders.split(", ") {
            let name = holder.strip_prefix('`').and_then(|name| name.strip_suffix('`'));
            assert!(name.is_some_and(|name| known.contains(name)), "no test is named {holder}: {line}");
        }
    }
    assert!(promises > 50, "only {promises} promises were found");
}
