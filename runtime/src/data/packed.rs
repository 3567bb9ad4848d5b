//! Files packed with gzip or zstd. They can be read only from the start, so each is one split. The packing is
//! recognized by the content, because names can be wrong: a web server may have unpacked a file in transit, for
//! example.

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::GzDecoder;

/// Number of packed bytes read at once.
const READ: usize = 256 << 10;

/// Number of bytes at the start of a file that identify its packing.
pub(super) const HEAD: usize = 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packing {
    Gzip,
    Zstd,
}

/// Returns the packing of a file that begins with `head`.
///
/// # Errors
/// A message that names the packing, if wren does not unpack it. An archive is rejected only if `is_text`, because a
/// program may want its bytes.
pub(super) fn of(head: &[u8], is_text: bool) -> Result<Option<Packing>, String> {
    // A file that is cut off within its first bytes is damaged gzip, not text.
    if matches!(head, [0x1f, 0x8b] | [0x1f, 0x8b, 8, ..]) {
        return Ok(Some(Packing::Gzip));
    }
    // A data frame, or a skippable frame, which parallel compressors write.
    if matches!(head, [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..]) {
        return Ok(Some(Packing::Zstd));
    }
    let refused = match head {
        [b'B', b'Z', b'h', b'1'..=b'9', b'1', b'A', b'Y', b'&', b'S', b'Y', ..]
        | [b'B', b'Z', b'h', b'1'..=b'9', 0x17, b'r', b'E', b'8', b'P', 0x90, ..] => "bzip2",
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => "xz",
        [0x04, 0x22, 0x4d, 0x18, ..] => "lz4",
        [0xff, 0x06, 0, 0, b's', b'N', b'a', b'P', b'p', b'Y', ..] => "snappy",
        [b'L', b'Z', b'I', b'P', 1, ..] => "lzip",
        [0x1f, 0x9d, ..] => "compress",
        [b'P', b'K', 3, 4, ..] if is_text => "zip",
        [b'7', b'z', 0xbc, 0xaf, 0x27, 0x1c, ..] if is_text => "7z",
        _ => return Ok(None),
    };
    Err(format!(
        "it is packed with {refused}, which wren does not unpack; unpack it first, pack it with gzip or zstd, or read \
         it as it is with `Input::raw`"
    ))
}

impl Packing {
    fn name(self) -> &'static str {
        match self {
            Packing::Gzip => "gzip",
            Packing::Zstd => "zstd",
        }
    }

    /// Unpacks all members or frames of a file.
    pub(super) fn unpack(self, packed: impl Read + Send + 'static) -> io::Result<Box<dyn Read + Send>> {
        let packed = BufReader::with_capacity(READ, packed);
        let input: Box<dyn Read + Send> = match self {
            Packing::Gzip => Box::new(Members { member: Some(GzDecoder::new(packed)) }),
            #[cfg(feature = "zstd")]
            Packing::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(packed)?),
            #[cfg(not(feature = "zstd"))]
            Packing::Zstd => {
                let what = "a file packed with Zstandard";
                return Err(io::Error::other(crate::error::Error::left_out(what, "zstd").to_string()));
            }
        };
        Ok(Box::new(Unpacking { packing: self, input }))
    }
}

/// All members of a gzip file, one after another. Zeros after a member are padding, such as tapes and block devices
/// leave. Anything else that is not a member is an error, because it may be lost data.
struct Members<R> {
    member: Option<GzDecoder<R>>,
}

impl<R: BufRead> Read for Members<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        while let Some(member) = &mut self.member {
            let got = member.read(buffer)?;
            if got > 0 {
                return Ok(got);
            }
            if let Some(member) = self.member.take() {
                self.member = next_member(member.into_inner())?.map(GzDecoder::new);
            }
        }
        Ok(0)
    }
}

/// Skips padding. Returns `None` at the end of the file.
fn next_member<R: BufRead>(mut packed: R) -> io::Result<Option<R>> {
    loop {
        let ahead = match packed.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        };
        let zeros = ahead.iter().take_while(|byte| **byte == 0).count();
        match ahead.get(zeros) {
            Some(0x1f) => {
                packed.consume(zeros);
                return Ok(Some(packed));
            }
            Some(_) => return Err(io::Error::other("the data after its end is not gzip")),
            None if ahead.is_empty() => return Ok(None),
            None => packed.consume(zeros),
        }
    }
}

/// Adds the name of the packing to errors in the packed data.
struct Unpacking {
    packing: Packing,
    input: Box<dyn Read + Send>,
}

impl Read for Unpacking {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.input.read(buffer).map_err(|e| {
            // A wrapped `Error` comes from reading the file itself.
            if e.kind() == io::ErrorKind::Interrupted
                || e.get_ref().is_some_and(|inner| inner.is::<crate::error::Error>())
            {
                return e;
            }
            io::Error::other(format!("its {} data is damaged or cut off: {e}", self.packing.name()))
        })
    }
}
