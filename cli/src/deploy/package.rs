//! The zip file that Lambda takes.

use anyhow::{Context, Result, anyhow, bail};
use libdeflater::{CompressionLvl, Compressor};
use sha2::{Digest, Sha256};
use wren::limits::UNPACKED_CODE;

/// What the runtime starts.
pub(crate) const BOOTSTRAP: &str = "bootstrap";

/// Of libdeflate. On a program of 14.8 MB (2026-11): this 5.86 MB in 1.3 s; its highest level, 12, 1.5 KB
/// less in 1.6 s; zlib's highest 6.03 MB in 1.5 s. Zopfli takes half a minute for what this takes a second.
const LEVEL: i32 = 11;

/// For a program of [`LARGE`] bytes or more, which was built without optimization for a quick look. On one of 75 MB
/// (2026-11): this 19.5 MB in 0.7 s, [`LEVEL`] 18.6 MB in 8.6 s.
const QUICK_LEVEL: i32 = 6;
const LARGE: usize = 32 << 20;

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
    ///
    /// # Errors
    ///
    /// Where Lambda would refuse it for its size.
    pub(crate) fn of(program: &[u8]) -> Result<Self> {
        let unpacked = program.len() as u64;
        if unpacked > UNPACKED_CODE {
            bail!(
                "the program has {} MB, and Lambda takes {} MB at most; if it is built with the dev profile (`--debug`), \
                 leave that out, or write `debug = \"line-tables-only\"` below `[profile.dev]`; if data is in it \
                 (`include_bytes!`, `include_str!`), fetch that from a store",
                unpacked >> 20,
                UNPACKED_CODE >> 20
            );
        }
        let zip = zip_of_one(BOOTSTRAP, 0o755, program)?;
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

/// A zip archive of one regular file, dated 1980-01-01. The `zip` crate cannot take what another library
/// compressed, so the three records are written here, as PKWARE's APPNOTE 6.3.10 has them in §4.3.7,
/// §4.3.12 and §4.3.16. [`UNPACKED_CODE`] keeps every length within their 32 bits.
fn zip_of_one(name: &str, mode: u32, content: &[u8]) -> Result<Vec<u8>> {
    let level = if content.len() < LARGE { LEVEL } else { QUICK_LEVEL };
    let level = CompressionLvl::new(level).map_err(|e| anyhow!("libdeflate has no level {level}: {e:?}"))?;
    let mut compressor = Compressor::new(level);
    let mut packed = vec![0; compressor.deflate_compress_bound(content.len())];
    let length = compressor.deflate_compress(content, &mut packed).context("the program cannot be packed")?;
    packed.truncate(length);

    // Version 2.0, no flags, deflate; time and date; checksum and both lengths; length of the name.
    let mut entry = Vec::new();
    entry.extend([20u16, 0, 8, 0, 0x21].map(u16::to_le_bytes).as_flattened());
    let lengths = [crc32fast::hash(content), packed.len() as u32, content.len() as u32];
    entry.extend(lengths.map(u32::to_le_bytes).as_flattened());
    entry.extend([name.len() as u16, 0].map(u16::to_le_bytes).as_flattened());

    let mut zip = Vec::with_capacity(packed.len() + 256);
    zip.extend(b"PK\x03\x04");
    zip.extend(&entry);
    zip.extend(name.as_bytes());
    zip.extend(&packed);

    let directory = zip.len();
    // Made on Unix, so that the mode below counts.
    zip.extend(b"PK\x01\x02\x14\x03");
    zip.extend(&entry);
    // No comment, disk 0, no internal attributes; a regular file of this mode, at offset 0.
    zip.extend([0u16; 3].map(u16::to_le_bytes).as_flattened());
    zip.extend([(0o100_000 | mode) << 16, 0].map(u32::to_le_bytes).as_flattened());
    zip.extend(name.as_bytes());

    let end = zip.len();
    zip.extend(b"PK\x05\x06");
    // Disk 0 of one, one entry of one.
    zip.extend([0u16, 0, 1, 1].map(u16::to_le_bytes).as_flattened());
    zip.extend([(end - directory) as u32, directory as u32].map(u32::to_le_bytes).as_flattened());
    zip.extend([0; 2]);
    Ok(zip)
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Read};

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

    /// Programs that did not write the archive read it: `zip` above, and Python here.
    #[test]
    fn another_reader_finds_no_fault() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("code.zip");
        let program: Vec<u8> = (0..100_000u32).flat_map(|i| i.wrapping_mul(i).to_le_bytes()).collect();
        for program in [&program[..], &[]] {
            std::fs::write(&path, Package::of(program).unwrap().zip).unwrap();
            let tested =
                std::process::Command::new("python3").args(["-m", "zipfile", "-t"]).arg(&path).output().unwrap();
            assert!(tested.status.success(), "{tested:?}");
            assert_eq!(String::from_utf8_lossy(&tested.stdout).trim(), "Done testing");
        }
    }

    #[test]
    fn what_lambda_would_refuse_is_refused() {
        let message = Package::of(&vec![0; (250 << 20) + 1]).unwrap_err().to_string();
        assert!(message.contains("250 MB at most"), "{message}");
    }
}
