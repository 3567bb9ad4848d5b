//! The zip file that Lambda takes.

use std::io::{Cursor, Write};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};
use wren::limits::UNPACKED_CODE;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipWriter};

/// What the runtime starts.
pub(crate) const BOOTSTRAP: &str = "bootstrap";

/// The smallest that zlib can; zopfli takes half a minute for another 2.5 percent.
const LEVEL: i64 = 9;

/// A packed program.
#[derive(Debug)]
pub(crate) struct Package {
    pub(crate) zip: Vec<u8>,
    /// SHA-256 of `zip`.
    pub(crate) sha256: [u8; 32],
    /// Length of the program before packing.
    pub(crate) unpacked: u64,
}

impl Package {
    /// Packs a program. Of equal programs the zip files are equal.
    pub(crate) fn of(program: &[u8]) -> Result<Self> {
        let unpacked = program.len() as u64;
        if unpacked > UNPACKED_CODE {
            bail!(
                "the program has {} MB, and Lambda takes {} MB at most; leave data out of it (`include_bytes!`, \
                 `include_str!`) and fetch it from a store, or strip it (`strip = true`)",
                unpacked >> 20,
                UNPACKED_CODE >> 20
            );
        }
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Deflated)
            .compression_level(Some(LEVEL))
            .last_modified_time(DateTime::default())
            .unix_permissions(0o755);
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        let packed = writer.start_file(BOOTSTRAP, options).and_then(|()| Ok(writer.write_all(program)?));
        packed.context("the program cannot be packed")?;
        let zip = writer.finish().context("the program cannot be packed")?.into_inner();
        let sha256 = Sha256::digest(&zip).into();
        Ok(Self { zip, sha256, unpacked })
    }

    /// The hash as keys of objects have it.
    pub(crate) fn hex(&self) -> String {
        self.sha256.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The hash as Lambda gives it.
    pub(crate) fn base64(&self) -> String {
        use base64::Engine;
        base64::engine::general_purpose::STANDARD.encode(self.sha256)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn equal_programs_have_equal_packages() {
        let program: Vec<u8> = (0..200_000u32).flat_map(|i| (i % 251 * 77).to_le_bytes()).collect();
        let one = Package::of(&program).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(2_100));
        assert_eq!(Package::of(&program).unwrap().zip, one.zip);
        assert_ne!(Package::of(&program[1..]).unwrap().sha256, one.sha256);
        assert!(one.zip.len() < program.len() / 2);
        assert_eq!((one.hex().len(), one.base64().len(), one.unpacked), (64, 44, 800_000));
    }

    #[test]
    fn the_package_holds_one_executable() {
        let package = Package::of(b"the program").unwrap();
        let mut archive = zip::ZipArchive::new(Cursor::new(package.zip)).unwrap();
        assert_eq!(archive.len(), 1);
        let mut file = archive.by_name(BOOTSTRAP).unwrap();
        assert_eq!(file.unix_mode().map(|mode| mode & 0o777), Some(0o755));
        let mut read = String::new();
        file.read_to_string(&mut read).unwrap();
        assert_eq!(read, "the program");
    }

    #[test]
    fn what_lambda_would_refuse_is_refused() {
        let message = Package::of(&vec![0; (250 << 20) + 1]).unwrap_err().to_string();
        assert!(message.contains("250 MB at most"), "{message}");
    }
}
