//! The code of functions: a zip that is unpacked once, into a folder named after its hash.

use std::fmt::Write as _;
use std::io::{self, Cursor, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest, Sha256};
use zip::ZipArchive;

use super::super::answer::Failure;

/// Largest zip in a request, in bytes.
const LARGEST_ZIP: usize = 50 << 20;

/// Largest size of unpacked code, in bytes.
const LARGEST_CODE: u64 = wren::limits::UNPACKED_CODE;

/// An unpacked zip.
#[derive(Debug, Clone)]
pub(super) struct Code {
    pub(super) sha256: String,
    pub(super) size: usize,
    pub(super) folder: PathBuf,
}

/// Decodes the zip in a request from base64.
pub(super) fn decode(text: &str) -> Result<Vec<u8>, Failure> {
    let zip = BASE64_STANDARD.decode(text).map_err(|e| Failure::new(400, "SerializationException", e.to_string()))?;
    if zip.len() > LARGEST_ZIP {
        let message = format!("Request must be smaller than {} bytes", LARGEST_ZIP / 3 * 4);
        return Err(Failure::new(413, "RequestEntityTooLargeException", message));
    }
    Ok(zip)
}

/// Unpacks a zip below `parent`, unless that was done before.
pub(super) fn unpack(zip: &[u8], parent: &Path) -> Result<Code, Failure> {
    let hash = Sha256::digest(zip);
    let name = hash.iter().fold(String::new(), |mut name, byte| {
        let _ = write!(name, "{byte:02x}");
        name
    });
    let code = Code { sha256: BASE64_STANDARD.encode(hash), size: zip.len(), folder: parent.join(name) };
    if !code.folder.is_dir() {
        std::fs::create_dir_all(parent).map_err(disk)?;
        let temporary = tempfile::Builder::new().prefix("unpacking-").tempdir_in(parent).map_err(disk)?;
        let content = temporary.path().join("task");
        std::fs::create_dir(&content).map_err(disk)?;
        extract(zip, &content, LARGEST_CODE)?;
        // Another request may have unpacked the same zip in the meantime.
        if let Err(e) = std::fs::rename(&content, &code.folder)
            && !code.folder.is_dir()
        {
            return Err(disk(e));
        }
    }
    Ok(code)
}

fn extract(zip: &[u8], folder: &Path, limit: u64) -> Result<(), Failure> {
    let mut archive = ZipArchive::new(Cursor::new(zip)).map_err(bad_zip)?;
    let mut left = limit;
    for index in 0..archive.len() {
        let mut file = archive.by_index(index).map_err(bad_zip)?;
        let name = file.name().map_err(bad_zip)?.into_owned();
        let outside = || Failure::parameter(format!("the zip has a file outside of its folder: {name}"));
        let path = folder.join(file.enclosed_name().ok_or_else(outside)?);
        if file.is_symlink() {
            // A link to the outside would let later files be written there.
            return Err(Failure::parameter(format!("the emulator does not support symbolic links in a zip: {name}")));
        }
        if file.is_dir() {
            std::fs::create_dir_all(&path).map_err(disk)?;
            continue;
        }
        std::fs::create_dir_all(path.parent().unwrap_or(folder)).map_err(disk)?;
        let mode = file.unix_mode().unwrap_or(0o644) & 0o755 | 0o400;
        let mut options = std::fs::OpenOptions::new();
        let mut to = options.write(true).create(true).truncate(true).mode(mode).open(&path).map_err(disk)?;
        // Counts the written bytes, because the sizes stated in the zip may be wrong.
        let written = io::copy(&mut file.by_ref().take(left + 1), &mut to).map_err(bad_zip)?;
        left = left
            .checked_sub(written)
            .ok_or_else(|| Failure::parameter(format!("Unzipped size must be smaller than {limit} bytes")))?;
    }
    Ok(())
}

fn bad_zip(e: impl std::fmt::Display) -> Failure {
    let message = format!("Could not unzip uploaded file. Please check your file, then try to upload again. ({e})");
    Failure::parameter(message)
}

fn disk(e: io::Error) -> Failure {
    Failure::new(500, "ServiceException", format!("cannot unpack the code: {e}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;

    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    use super::*;

    fn zip(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        for (name, content) in files {
            writer.start_file(*name, SimpleFileOptions::default().unix_permissions(0o755)).unwrap();
            writer.write_all(content).unwrap();
        }
        writer.finish().unwrap().into_inner()
    }

    #[test]
    fn files_keep_their_executable_bit() {
        let parent = tempfile::tempdir().unwrap();
        let code = unpack(&zip(&[("bootstrap", b"x"), ("a/b", b"y")]), parent.path()).unwrap();
        let mode = std::fs::metadata(code.folder.join("bootstrap")).unwrap().permissions().mode();
        assert_eq!(mode & 0o100, 0o100);
        assert_eq!(std::fs::read(code.folder.join("a/b")).unwrap(), b"y");
        assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 1, "nothing temporary is left");
    }

    #[test]
    fn files_outside_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let parent = folder.path().join("code");
        assert!(unpack(&zip(&[("../../evil", b"x")]), &parent).is_err());
        assert!(!folder.path().join("evil").exists());
    }

    #[test]
    fn large_and_invalid_archives_are_refused() {
        let parent = tempfile::tempdir().unwrap();
        let zip = zip(&[("a", &[0; 60]), ("b", &[0; 41])]);
        let refused = format!("{:?}", extract(&zip, parent.path(), 100).unwrap_err());
        assert!(refused.contains("Unzipped size must be smaller than 100 bytes"), "{refused}");
        assert!(extract(&zip, parent.path(), 101).is_ok());
        let parent = tempfile::tempdir().unwrap();
        assert!(unpack(b"no zip", parent.path()).is_err());
        assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 0, "nothing temporary is left");
    }
}
