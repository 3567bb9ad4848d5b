//! Packed files, under any name.

use std::io::Write;

use proptest::prelude::*;

use super::*;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(bytes).unwrap();
    packed.finish().unwrap()
}

#[cfg(feature = "zstd")]
fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::stream::encode_all(bytes, 1).unwrap()
}

/// A name that suggests a packing, and the function that packs in this way.
type Packed = (&'static str, fn(&[u8]) -> Vec<u8>);

const PACKED: &[Packed] = &[
    ("a.gz", gzip),
    #[cfg(feature = "zstd")]
    ("a.csv.zst", zstd),
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn all_members_of_a_packed_file_are_read(parts in prop::collection::vec("[ab\n]{0,50}", 1..4), size in 1u64..60, zeros in 0usize..30) {
        let content = parts.concat();
        for (name, pack) in PACKED {
            let mut packed: Vec<u8> = parts.iter().flat_map(|part| pack(part.as_bytes())).collect();
            if *name == "a.gz" {
                packed.resize(packed.len() + zeros, 0);
            }
            let (_folder, path) = file(name, &packed);
            let splits = splits(Input::glob(path).unwrap().split_size(size)).unwrap();
            prop_assert_eq!(splits.len(), 1);
            prop_assert_eq!(bytes_of(&splits[0]).unwrap(), content.as_bytes());
            prop_assert_eq!(lines(&splits[0]).unwrap(), lines_of(content.as_bytes()));
        }
    }
}

#[test]
fn truncated_packed_data_is_an_error() {
    let text = "some text, more or less\n".repeat(1_000);
    for (name, pack) in PACKED {
        let packed = pack(text.as_bytes());
        let (_folder, path) = file(name, &packed[..packed.len() - 5]);
        let message = reason(bytes_of(&splits(Input::glob(&path).unwrap()).unwrap()[0]));
        assert!(message.contains(name) && message.contains("damaged or cut off"), "{message}");
        fs::write(&path, &packed).unwrap();
        let splits = splits(Input::glob(&path).unwrap()).unwrap();
        fs::write(&path, &packed[..10]).unwrap();
        let message = reason(bytes_of(&splits[0]));
        assert!(message.contains("10 bytes now"), "{message}");
    }
}

#[test]
fn packing_is_recognized_by_content() {
    let text = "one\ntwo\n".repeat(50);
    for (name, pack) in PACKED {
        for name in ["A.GZ", "b.gzip", "c.bgz", "d", "e.txt", "f.ZST", name] {
            let packed = pack(text.as_bytes());
            let (_folder, path) = file(name, &packed);
            let store = MemoryStore::named("");
            store::wait(store.put(name, &packed)).unwrap();
            for place in [path.to_str().unwrap().to_owned(), format!("{}/{name}", store.url())] {
                for size in [1, 10, packed.len() as u64 - 1, 1 << 20] {
                    let input = || Input::glob(&place).unwrap().split_size(size);
                    for splits in [input(), input().csv().headers(false), input().fixed(4), input().whole()] {
                        let splits = splits_of(splits);
                        assert_eq!(splits.len(), 1, "{place} {size}");
                        assert_eq!(bytes_of(&splits[0]).unwrap(), text.as_bytes(), "{place} {size}");
                    }
                    let raw = joined(&splits_of(input().raw()), bytes_of);
                    assert_eq!(raw, packed, "{place} {size}");
                }
            }
        }
    }
    // As from a web server that unpacked the file in transit.
    let (_folder, path) = file("text.gz", text.as_bytes());
    let splits = splits_of(Input::glob(&path).unwrap().split_size(100));
    assert_eq!((splits.len(), joined(&splits, lines).len()), (4, 100));
}

fn splits_of(input: Input) -> Vec<Split> {
    splits(input).unwrap()
}

#[test]
fn empty_files_with_packed_names_are_empty() {
    for name in ["b.gz", "b.zst", "b.gzip"] {
        let (folder, path) = file(name, b"");
        assert_eq!(splits_of(Input::glob(&path).unwrap()), []);
        let whole = splits_of(Input::glob(&path).unwrap().whole());
        assert_eq!((whole.len(), bytes_of(&whole[0]).unwrap()), (1, vec![]));
        fs::write(folder.path().join("a.gz"), gzip(b"one\n")).unwrap();
        fs::write(folder.path().join("c.gz"), gzip(b"")).unwrap();
        let splits = splits_of(Input::glob(folder.path()).unwrap());
        assert_eq!(joined(&splits, lines), [b"one"]);
    }
}

#[test]
fn zeros_after_gzip_members_are_padding_and_garbage_an_error() {
    let zeros = |n: usize| vec![0; n];
    let read = |packed: &[u8]| {
        let (_folder, path) = file("a.gz", packed);
        lines(&splits_of(Input::glob(&path).unwrap())[0])
    };
    let good: [&[Vec<u8>]; 4] = [
        &[gzip(b"one\ntwo\n"), zeros(512)],
        &[gzip(b"one\ntwo\n"), zeros(300_000)],
        &[gzip(b"one\n"), zeros(7), gzip(b""), gzip(b"two"), zeros(1)],
        &[gzip(b""), gzip(b"one\ntwo\n"), gzip(b"")],
    ];
    for parts in good {
        assert_eq!(read(&parts.concat()).unwrap(), [b"one", b"two"]);
    }
    for behind in [&b"garbage!"[..], b"\0\0garbage", b"\x1f", b"\x1f\x8b\x08"] {
        let message = reason(read(&[&gzip(b"one\ntwo\n"), behind].concat()));
        assert!(message.contains("its gzip data is damaged or cut off"), "{message}");
    }
}

#[test]
fn unsupported_packings_are_named() {
    let cases: [(&str, &[u8]); 5] = [
        ("bzip2", b"BZh91AY&SY\xfe\x00"),
        ("xz", b"\xfd7zXZ\0\0\x04"),
        ("lz4", b"\x04\x22\x4d\x18...."),
        ("compress", b"\x1f\x9d\x90...."),
        ("zip", b"PK\x03\x04........"),
    ];
    for (packing, content) in cases {
        let (_folder, path) = file("a.data", content);
        for size in [4, 1 << 20] {
            let input = || Input::glob(&path).unwrap().split_size(size);
            for input in [input(), input().csv()] {
                let message = reason(splits(input).and_then(|splits| splits[0].lines().map(drop)));
                assert!(
                    message.contains(&format!("it is packed with {packing}, which wren does not unpack")),
                    "{message}"
                );
                assert!(message.contains("a.data") && message.contains("`Input::raw`"), "{message}");
            }
            assert_eq!(joined(&splits_of(input().raw()), bytes_of), content);
        }
        let whole = bytes_of(&splits_of(Input::glob(&path).unwrap().whole())[0]);
        // A program may want the bytes of an archive.
        assert_eq!(whole.is_ok(), packing == "zip");
    }
    // Text that begins like a packed file.
    for text in ["BZh9 is a word\n", "PK\n", "(\n", "\x1f"] {
        let (_folder, path) = file("a.txt", text.as_bytes());
        assert_eq!(joined(&splits_of(Input::glob(&path).unwrap()), bytes_of), text.as_bytes());
    }
}
