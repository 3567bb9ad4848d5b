//! Packs a program into the zip file that Lambda requires.

use std::io::Write;

use anyhow::{Context, Result, anyhow, bail};
use libdeflater::{CompressionLvl, Compressor};
use rawzip::time::UtcDateTime;
use rawzip::{CompressionMethod, DataDescriptorOutput, ZipArchiveWriter};
use sha2::{Digest, Sha256};
use wren::limits::UNPACKED_CODE;

/// The file that Lambda's runtime starts.
pub(crate) const BOOTSTRAP: &str = "bootstrap";

/// libdeflate's compression level. For a program of 14.8 MB (2026-11), this level makes 5.86 MB in 1.3 s; the highest
/// level, 12, makes 1.5 KB less in 1.6 s; zlib's highest level makes 6.03 MB in 1.5 s. Zopfli takes half a minute where
/// this takes a second. The `zip` crate has no libdeflate and takes no compressed data, so `rawzip` writes the archive.
const LEVEL: i32 = 11;

/// The level for a program of [`LARGE`] bytes or more, which was probably built without optimization for a quick test.
/// For one of 75 MB (2026-11), this level makes 19.5 MB in 0.7 s, and [`LEVEL`] makes 18.6 MB in 8.6 s.
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
    /// Packs a program. Equal programs result in equal zip files.
    ///
    /// # Errors
    ///
    /// Fails if the program is larger than Lambda allows.
    pub(crate) fn of(program: &[u8]) -> Result<Self> {
        let unpacked = program.len() as u64;
        if unpacked > UNPACKED_CODE {
            bail!(
                "the program has {} MB without its debug information, and Lambda accepts at most {} MB; if it is \
                 built with the dev profile (`--debug`), build it without; if it contains data (`include_bytes!`, \
                 `include_str!`), read the data from a store instead",
                unpacked >> 20,
                UNPACKED_CODE >> 20
            );
        }
        let zip = zip_of_one(BOOTSTRAP, 0o755, program)?;
        let sha256 = Sha256::digest(&zip).into();
        Ok(Self { zip, sha256, unpacked })
    }

    /// Returns the hash in hexadecimal, for keys of objects.
    pub(crate) fn hex(&self) -> String {
        self.sha256.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Returns the hash in base64, as Lambda reports it.
    pub(crate) fn base64(&self) -> String {
        use base64::Engine;
        base64::engine::general_purpose::STANDARD.encode(self.sha256)
    }
}

/// 1980-01-01, the first day that a zip file can name, in seconds since 1970.
const EARLIEST: i64 = 315_532_800;

/// Returns a zip archive of one regular file. Its date is always [`EARLIEST`].
fn zip_of_one(name: &str, mode: u32, content: &[u8]) -> Result<Vec<u8>> {
    let level = if content.len() < LARGE { LEVEL } else { QUICK_LEVEL };
    let level = CompressionLvl::new(level).map_err(|e| anyhow!("libdeflate has no level {level}: {e:?}"))?;
    let mut compressor = Compressor::new(level);
    let mut packed = vec![0; compressor.deflate_compress_bound(content.len())];
    let length = compressor.deflate_compress(content, &mut packed).context("cannot compress the program")?;
    packed.truncate(length);

    let mut archive = ZipArchiveWriter::new(Vec::with_capacity(packed.len() + 512));
    let file =
        archive.new_file(name).unix_permissions(0o100_000 | mode).last_modified(UtcDateTime::from_unix(EARLIEST));
    let (mut file, _) = file.compression_method(CompressionMethod::DEFLATE).start()?;
    file.write_all(&packed)?;
    file.finish(DataDescriptorOutput::new(rawzip::crc32(content), content.len() as u64))?;
    Ok(archive.finish()?)
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Read};

    use super::*;

    #[test]
    fn equal_programs_have_equal_packages() {
        let program: Vec<u8> = (0..200_000u32).flat_map(|i| (i % 251 * 77).to_le_bytes()).collect();
        let one = Package::of(&program).unwrap();
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
        assert_eq!(file.unix_mode(), Some(0o100_755));
        let mut read = String::new();
        file.read_to_string(&mut read).unwrap();
        assert_eq!(read, "the program");
    }

    /// The archive is read by independent implementations: `zip` above, and Python here.
    #[test]
    fn python_reads_packages() {
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
    fn too_large_packages_are_refused() {
        let message = Package::of(&vec![0; (250 << 20) + 1]).unwrap_err().to_string();
        assert!(message.contains("at most 250 MB"), "{message}");
    }
}
