//! Tests of the inputs that are kept for a replay.

use std::io::Write;
use std::ops::Range;
use std::sync::Arc;

use super::*;
use crate::attempt::TaskBlock;
use crate::function::ArgsEncoder;

fn args(push: impl FnOnce(&mut ArgsEncoder)) -> Args {
    let mut encoder = ArgsEncoder::new();
    push(&mut encoder);
    encoder.finish().unwrap()
}

fn block(first: u64, all: Vec<Args>) -> Arc<TaskBlock> {
    let limits = Limits { memory_mb: Some(7), ..Limits::default() };
    let mut block = TaskBlock::new(TaskBlock::dummy(0..0, "demo::f", limits).function(), limits, first);
    all.into_iter().for_each(|args| block.push(args));
    Arc::new(block)
}

fn numbers(tasks: Range<u64>) -> Arc<TaskBlock> {
    block(tasks.start, tasks.map(|task| args(|e| e.push(&task))).collect())
}

fn assert_kept(folder: &Path, tasks: impl IntoIterator<Item = u64>, kept: bool) {
    for task in tasks {
        let input = task_input(folder, task).unwrap();
        assert_eq!(input.is_some(), kept, "task {task}");
        if let Some(input) = input {
            assert_eq!(input.args.bytes, args(|e| e.push(&task)).bytes, "task {task}");
            assert_eq!((input.function.as_str(), input.limits.memory_mb), ("demo::f", Some(7)));
        }
    }
}

#[test]
fn few_inputs_are_all_kept_and_later_only_failed_ones() {
    let folder = tempfile::tempdir().unwrap();
    assert_kept(folder.path(), [0, 1], false);
    let mut inputs = Inputs::new(folder.path(), 1_000);
    let blocks = [numbers(0..20), numbers(20..420), numbers(420..430)];
    blocks.iter().for_each(|block| inputs.keep(block));
    inputs.keep_failed(&blocks[0], 3);
    inputs.keep_failed(&blocks[1], 77);
    inputs.keep_failed(&blocks[1], 77);
    assert_kept(folder.path(), (0..20).chain([77]), true);
    assert_kept(folder.path(), [20, 76, 78, 425, 1_000], false);
    let len = folder.path().join(FILE).metadata().unwrap().len();
    // Another run, after a driver was killed while it wrote a frame.
    let half = File::options().append(true).open(folder.path().join(FILE)).unwrap();
    (&half).write_all(&[TASKS, 200, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3]).unwrap();
    let mut inputs = Inputs::new(folder.path(), 10_000);
    inputs.keep(&numbers(20..25));
    assert_kept(folder.path(), (0..25).chain([77]), true);
    assert!(folder.path().join(FILE).metadata().unwrap().len() < 2 * len);
}

#[test]
fn a_shared_large_argument_is_kept_once() {
    let folder = tempfile::tempdir().unwrap();
    let model = vec![0.5f64; 20_000];
    let of = |task: u64| {
        args(|e| {
            e.push(&task);
            e.push(&model);
        })
    };
    let mut inputs = Inputs::new(folder.path(), 300_000);
    inputs.keep(&block(0, (0..3).map(of).collect()));
    inputs.keep(&block(3, (3..6).map(of).collect()));
    assert!(folder.path().join(FILE).metadata().unwrap().len() < 300_000);
    for task in [0, 2, 3, 5] {
        let input = task_input(folder.path(), task).unwrap().unwrap();
        assert_eq!((input.args.bytes, input.args.blobs.len()), (of(task).bytes, 1));
        assert_eq!(*input.args.blobs[0].bytes, *of(task).blobs[0].bytes);
    }
    // An argument larger than the limit is kept if a task with it fails. Later failed tasks exceed the limit.
    let folder = tempfile::tempdir().unwrap();
    let mut inputs = Inputs::new(folder.path(), 100_000);
    let large = block(0, (0..3).map(of).collect());
    inputs.keep(&large);
    inputs.keep_failed(&large, 1);
    inputs.keep_failed(&large, 2);
    assert_eq!(*task_input(folder.path(), 1).unwrap().unwrap().args.blobs[0].bytes, *of(1).blobs[0].bytes);
    assert!(task_input(folder.path(), 0).unwrap().is_none() && task_input(folder.path(), 2).unwrap().is_none());
}

#[test]
fn damage_is_a_clear_error() {
    let folder = tempfile::tempdir().unwrap();
    let mut inputs = Inputs::new(folder.path(), 10_000);
    inputs.keep(&numbers(0..20));
    let path = folder.path().join(FILE);
    let whole = std::fs::read(&path).unwrap();
    for at in FRAME_HEADER..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let error = task_input(folder.path(), 3).unwrap_err();
        assert!(error.to_string().starts_with("the inputs file is damaged: "), "{error}");
    }
    for length in 0..whole.len() {
        std::fs::write(&path, &whole[..length]).unwrap();
        assert!(task_input(folder.path(), 3).unwrap().is_none());
    }
}
