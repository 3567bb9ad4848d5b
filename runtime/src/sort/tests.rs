//! Tests of the sort against the order of the standard library.

use proptest::prelude::*;

use crate::{Executor, Input};

fn executor() -> Executor {
    let store = format!("memory:sort-{:016x}", fastrand::u64(..));
    Executor::builder().backend("inline").workers(2).store(store).build().unwrap()
}

/// Sorts the content of `files`. Returns the content of the written files.
fn sorted(files: &[Vec<u8>], fixed: Option<u64>, key: Option<std::ops::Range<usize>>, partitions: usize) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    for (i, file) in files.iter().enumerate() {
        std::fs::write(folder.path().join(format!("in-{i}")), file).unwrap();
    }
    let mut input = Input::glob(folder.path()).unwrap().split_size(100);
    if let Some(len) = fixed {
        input = input.fixed(len);
    }
    let out = folder.path().join("out").to_str().unwrap().to_owned();
    let mut sort = super::sort(input).partitions(partitions).memory(1).on(&executor()).quiet();
    if let Some(key) = key {
        sort = sort.key(key);
    }
    let written = crate::block_on(sort.write(out)).unwrap();
    let parts: Vec<Vec<u8>> = written.files.iter().map(|file| std::fs::read(file).unwrap()).collect();
    assert_eq!(written.bytes as usize, parts.iter().map(Vec::len).sum::<usize>());
    parts.concat()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn lines_sort_like_the_standard_library(
        lines in prop::collection::vec("[a-c\r ]{0,9}", 0..80), partitions in 1usize..5, key in prop::option::of((0usize..4, 0usize..4)),
    ) {
        let text = lines.iter().flat_map(|line| [line.as_bytes(), b"\n"].concat()).collect();
        let key = key.map(|(start, len)| start..start + len);
        let mut expected = lines.clone();
        let part = |line: &String| {
            let key = key.clone().unwrap_or(0..usize::MAX);
            let start = key.start.min(line.len());
            line.as_bytes()[start..key.end.min(line.len()).max(start)].to_vec()
        };
        expected.sort_by_key(part);
        let expected: Vec<u8> = expected.iter().flat_map(|line| [line.as_bytes(), b"\n"].concat()).collect();
        prop_assert_eq!(sorted(&[text, Vec::new()], None, key.clone(), partitions), expected);
    }

    #[test]
    fn fixed_records_sort_like_the_standard_library(
        records in prop::collection::vec(prop::array::uniform5(0u8..3), 0..80), partitions in 1usize..5, cut in 0usize..80,
    ) {
        let cut = cut.min(records.len());
        let files = [records[..cut].concat(), records[cut..].concat()];
        let mut expected = records.clone();
        expected.sort_by_key(|record| [record[1], record[2]]);
        prop_assert_eq!(sorted(&files, Some(5), Some(1..3), partitions), expected.concat());
        expected.clone_from(&records);
        expected.sort();
        prop_assert_eq!(sorted(&files, Some(5), None, partitions), expected.concat());
    }
}

#[test]
fn unordered_inputs_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.csv"), "a,b\n1,2\n").unwrap();
    let input = Input::glob(folder.path()).unwrap().csv();
    let error = crate::block_on(super::sort(input).on(&executor()).write("out")).unwrap_err();
    assert!(error.to_string().contains("only lines and records of fixed length"), "{error}");
}
