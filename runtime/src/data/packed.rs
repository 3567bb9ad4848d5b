//! Files packed by gzip or zstd: they cannot be entered but at their begin, so each is one split.

use std::io::{self, BufRead, BufReader, Read};

use serde::{Deserialize, Serialize};

/// How much of the packed file is read at once, in bytes.
const READ: usize = 256 << 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Packing {
    Gzip,
    Zstd,
}

impl Packing {
    /// What the file's name says.
    pub(super) fn of(path: &str) -> Option<Self> {
        let name = path.rsplit('/').next()?;
        match name.rsplit_once('.')?.1 {
            "gz" => Some(Packing::Gzip),
            "zst" => Some(Packing::Zstd),
            _ => None,
        }
    }

    fn is_begin(self, bytes: &[u8]) -> bool {
        match self {
            Packing::Gzip => bytes.starts_with(b"\x1f\x8b"),
            // A frame, or one to be skipped, which parallel compressors write.
            Packing::Zstd => {
                bytes.starts_with(b"\x28\xb5\x2f\xfd")
                    || (bytes.len() > 3 && bytes[0] >> 4 == 5 && bytes[1..4] == *b"\x2a\x4d\x18")
            }
        }
    }

    fn name(self) -> &'static str {
        match self {
            Packing::Gzip => "gzip",
            Packing::Zstd => "zstd",
        }
    }

    /// Unpacks all members, or frames, of a file.
    pub(super) fn unpack(self, packed: impl Read + Send + 'static) -> io::Result<Box<dyn Read + Send>> {
        let mut packed = BufReader::with_capacity(READ, packed);
        if !self.is_begin(packed.fill_buf()?) {
            let name = self.name();
            return Err(io::Error::other(format!("its name says {name}, and its first bytes do not; rename it")));
        }
        let input: Box<dyn Read + Send> = match self {
            Packing::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(packed)),
            #[cfg(feature = "zstd")]
            Packing::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(packed)?),
            #[cfg(not(feature = "zstd"))]
            Packing::Zstd => {
                let what = "a file packed by Zstandard";
                return Err(io::Error::other(crate::Error::left_out(what, "zstd").to_string()));
            }
        };
        Ok(Box::new(Unpacking { packing: self, input }))
    }
}

/// Says of an error that it is one of the packed data.
struct Unpacking {
    packing: Packing,
    input: Box<dyn Read + Send>,
}

impl Read for Unpacking {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.input.read(buffer).map_err(|e| {
            // What is wrapped is an error of reading the file itself.
            if e.kind() == io::ErrorKind::Interrupted || e.get_ref().is_some_and(|inner| inner.is::<crate::Error>()) {
                return e;
            }
            io::Error::other(format!("its {} data is damaged or cut off: {e}", self.packing.name()))
        })
    }
}
