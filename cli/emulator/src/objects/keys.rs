//! A sorted index of the keys of each bucket. With it, the cost of a page of a listing depends on the size of the page;
//! `s3s-fs` walks the whole bucket for each page.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use s3s::S3;
use s3s::dto::{
    CommonPrefix, ETag, EncodingType, HeadObjectInput, ListObjectsV2Input, ListObjectsV2Output, Object, Timestamp,
};
use s3s_fs::FileSystem;
use tokio::sync::Mutex;

use super::names::{self, key_of, path_of};

/// Largest number of keys in a page, which is also the default.
const PAGE: i32 = 1_000;

/// Characters that `encoding-type=url` does not encode.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'/');

/// The properties of an object in a listing.
#[derive(Debug, Clone)]
struct About {
    bytes: u64,
    modified: SystemTime,
    /// `None` until the object is first listed.
    tag: Option<ETag>,
}

type Bucket = BTreeMap<String, About>;

/// The keys of all buckets that were listed at least once. The keys of the others are only on disk.
pub(super) struct Keys {
    root: PathBuf,
    files: FileSystem,
    buckets: Mutex<HashMap<String, Bucket>>,
}

impl Keys {
    /// Creates an index of the buckets in `root`. Each bucket is a folder, and each object is a file below it, at
    /// [`path_of`] its key.
    pub(super) fn new(root: &Path) -> Result<Self, s3s_fs::Error> {
        Ok(Self { root: root.to_owned(), files: FileSystem::new(root)?, buckets: Mutex::default() })
    }

    /// Makes sure that the key of a file that is about to be written can be found out from the file.
    pub(super) fn note(&self, key: &str) -> io::Result<()> {
        names::note(&self.root, key)
    }

    /// Updates the entry of a key that may have been written or deleted.
    pub(super) async fn changed(&self, bucket: &str, key: &str) {
        // Waits for a listing that is walking the bucket, because it may have missed the change.
        let mut buckets = self.buckets.lock().await;
        let Some(keys) = buckets.get_mut(bucket) else { return };
        match std::fs::metadata(self.root.join(bucket).join(path_of(key))).and_then(|data| about(&data)) {
            Ok(about) => drop(keys.insert(key.to_owned(), about)),
            Err(_) => drop(keys.remove(key)),
        }
    }

    /// Removes a deleted bucket.
    pub(super) async fn forget(&self, bucket: &str) {
        self.buckets.lock().await.remove(bucket);
    }

    /// Returns one page of the keys of an existing bucket.
    pub(super) async fn page(&self, input: ListObjectsV2Input) -> io::Result<ListObjectsV2Output> {
        let mut buckets = self.buckets.lock().await;
        let bucket = input.bucket.clone();
        let keys = match buckets.entry(bucket.clone()) {
            Entry::Occupied(keys) => keys.into_mut(),
            Entry::Vacant(new) => {
                let mut keys = Bucket::new();
                walk(&self.root, &self.root.join(&bucket), "", &mut keys)?;
                new.insert(keys)
            }
        };
        let (mut page, plain_keys) = page(keys, input);
        for (object, key) in page.contents.iter_mut().flatten().zip(plain_keys) {
            if object.e_tag.is_none() {
                object.e_tag = self.tag(&bucket, &key).await;
                if let Some(about) = keys.get_mut(&key) {
                    about.tag.clone_from(&object.e_tag);
                }
            }
        }
        Ok(page)
    }

    async fn tag(&self, bucket: &str, key: &str) -> Option<ETag> {
        let input = HeadObjectInput { bucket: bucket.to_owned(), key: path_of(key), ..Default::default() };
        self.files.head_object(super::request(input)).await.ok()?.output.e_tag
    }
}

fn about(data: &std::fs::Metadata) -> io::Result<About> {
    if !data.is_file() {
        return Err(io::ErrorKind::NotFound.into());
    }
    Ok(About { bytes: data.len(), modified: data.modified()?, tag: None })
}

fn walk(root: &Path, folder: &Path, at: &str, keys: &mut Bucket) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        // Keys are UTF-8.
        let Ok(name) = entry.file_name().into_string() else { continue };
        let data = match entry.metadata() {
            // It was deleted in the meantime.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            data => data?,
        };
        if data.is_dir() {
            walk(root, &entry.path(), &format!("{at}{name}/"), keys)?;
        } else {
            keys.insert(key_of(root, &format!("{at}{name}"))?, about(&data)?);
        }
    }
    Ok(())
}

/// Returns a page, and the keys of its objects without URL encoding.
fn page(keys: &Bucket, input: ListObjectsV2Input) -> (ListObjectsV2Output, Vec<String>) {
    let prefix = input.prefix.as_deref().unwrap_or_default();
    let delimiter = input.delimiter.as_deref().filter(|delimiter| !delimiter.is_empty());
    let after = input.continuation_token.as_deref().max(input.start_after.as_deref());
    let most = usize::try_from(input.max_keys.unwrap_or(PAGE).clamp(0, PAGE)).unwrap_or_default();
    let url = input.encoding_type.as_ref().is_some_and(|kind| kind.as_str() == EncodingType::URL);
    let encoded = |key: &str| if url { utf8_percent_encode(key, PLAIN).to_string() } else { key.to_owned() };

    let (mut contents, mut prefixes, mut plain_keys) = (Vec::new(), Vec::new(), Vec::new());
    let mut last: Option<String> = None;
    let mut from = match after {
        Some(after) if after >= prefix => Bound::Excluded(after.to_owned()),
        _ => Bound::Included(prefix.to_owned()),
    };
    let is_truncated = loop {
        let next = keys.range::<str, _>((from.as_ref().map(String::as_str), Bound::Unbounded)).next();
        let Some((key, about)) = next.filter(|(key, _)| key.starts_with(prefix)) else { break false };
        let cut = delimiter.and_then(|d| key[prefix.len()..].find(d).map(|at| prefix.len() + at + d.len()));
        let group = cut.map(|cut| &key[..cut]);
        // Whether an earlier page listed this group.
        let known = group.is_some_and(|group| after.is_some_and(|after| group <= after));
        if !known && contents.len() + prefixes.len() >= most {
            break most > 0;
        }
        from = match group {
            Some(group) => {
                if !known {
                    prefixes.push(CommonPrefix { prefix: Some(encoded(group)) });
                    last = Some(group.to_owned());
                }
                // Sorts after all keys of the group, because no key contains this character.
                Bound::Excluded(format!("{group}{}", char::MAX))
            }
            None => {
                contents.push(Object {
                    key: Some(encoded(key)),
                    size: i64::try_from(about.bytes).ok(),
                    last_modified: Some(Timestamp::from(about.modified)),
                    e_tag: about.tag.clone(),
                    ..Default::default()
                });
                plain_keys.push(key.clone());
                last = Some(key.clone());
                Bound::Excluded(key.clone())
            }
        };
    };
    let output = ListObjectsV2Output {
        key_count: i32::try_from(contents.len() + prefixes.len()).ok(),
        max_keys: Some(input.max_keys.unwrap_or(PAGE)),
        is_truncated: Some(is_truncated),
        next_continuation_token: last.filter(|_| is_truncated),
        contents: (!contents.is_empty()).then_some(contents),
        common_prefixes: (!prefixes.is_empty()).then_some(prefixes),
        prefix: input.prefix.as_deref().map(encoded),
        delimiter: input.delimiter.as_deref().map(encoded),
        start_after: input.start_after.as_deref().map(encoded),
        continuation_token: input.continuation_token,
        encoding_type: input.encoding_type,
        name: Some(input.bucket),
        ..Default::default()
    };
    (output, plain_keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(keys: &[&str]) -> Bucket {
        let about = About { bytes: 1, modified: SystemTime::UNIX_EPOCH, tag: None };
        keys.iter().map(|key| ((*key).to_owned(), about.clone())).collect()
    }

    /// Returns all pages of a listing: keys, and groups in brackets.
    fn listed(keys: &Bucket, prefix: &str, delimiter: Option<&str>, after: Option<&str>, most: i32) -> Vec<String> {
        let mut all = Vec::new();
        let mut token = None;
        loop {
            let input = ListObjectsV2Input {
                prefix: Some(prefix.to_owned()),
                delimiter: delimiter.map(str::to_owned),
                start_after: after.map(str::to_owned),
                continuation_token: token,
                max_keys: Some(most),
                ..Default::default()
            };
            let (page, _) = page(keys, input);
            let contents = page.contents.unwrap_or_default().into_iter().filter_map(|object| object.key);
            let groups = page.common_prefixes.unwrap_or_default().into_iter().filter_map(|group| group.prefix);
            let mut names: Vec<_> = contents.chain(groups.map(|group| format!("[{group}]"))).collect();
            assert!(names.len() <= most as usize);
            names.sort_unstable_by(|a, b| a.trim_matches(['[', ']']).cmp(b.trim_matches(['[', ']'])));
            all.extend(names);
            token = page.next_continuation_token;
            assert_eq!(page.is_truncated, Some(token.is_some()));
            if token.is_none() {
                return all;
            }
        }
    }

    #[test]
    fn pages_of_any_size_give_each_key_once() {
        let keys = bucket(&["a", "a/b", "a/c", "b", "c/d", "é/x"]);
        for most in 1..8 {
            assert_eq!(listed(&keys, "", None, None, most), ["a", "a/b", "a/c", "b", "c/d", "é/x"]);
            assert_eq!(listed(&keys, "a/", None, None, most), ["a/b", "a/c"]);
            assert_eq!(listed(&keys, "", None, Some("a/b"), most), ["a/c", "b", "c/d", "é/x"]);
            assert_eq!(listed(&keys, "a/", None, Some("A"), most), ["a/b", "a/c"]);
            assert_eq!(listed(&keys, "x", None, None, most), [""; 0]);
        }
    }

    #[test]
    fn a_delimiter_makes_groups() {
        let keys = bucket(&["a", "a/b", "a/c", "b", "c/d/e", "c/d/f", "c/g"]);
        for most in 1..5 {
            assert_eq!(listed(&keys, "", Some("/"), None, most), ["a", "[a/]", "b", "[c/]"]);
            assert_eq!(listed(&keys, "c/", Some("/"), None, most), ["[c/d/]", "c/g"]);
        }
    }

    #[test]
    fn keys_are_encoded_on_request() {
        let input = ListObjectsV2Input {
            encoding_type: Some(EncodingType::from_static(EncodingType::URL)),
            ..Default::default()
        };
        let (page, _) = page(&bucket(&["a b/c+%é"]), input);
        assert_eq!(page.contents.unwrap()[0].key.as_deref(), Some("a%20b/c%2B%25%C3%A9"));
    }

    #[tokio::test]
    async fn writes_and_deletions_are_seen() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("b/x@")).unwrap();
        std::fs::write(root.path().join("b/x@/1"), "1").unwrap();
        let keys = Keys::new(root.path()).unwrap();
        let list = async || {
            let page = keys.page(ListObjectsV2Input { bucket: "b".to_owned(), ..Default::default() }).await.unwrap();
            let contents = page.contents.unwrap_or_default();
            assert!(contents.iter().all(|object| object.e_tag.is_some()), "{contents:?}");
            contents.into_iter().filter_map(|o| o.key.zip(o.size)).collect::<Vec<_>>()
        };
        assert_eq!(list().await, [("x/1".to_owned(), 1)]);
        std::fs::write(root.path().join("b/x@/2"), "22").unwrap();
        keys.changed("b", "x/2").await;
        std::fs::remove_file(root.path().join("b/x@/1")).unwrap();
        keys.changed("b", "x/1").await;
        assert_eq!(list().await, [("x/2".to_owned(), 2)]);
        std::fs::remove_dir_all(root.path().join("b")).unwrap();
        keys.forget("b").await;
        std::fs::create_dir(root.path().join("b")).unwrap();
        assert_eq!(list().await, []);
    }
}
