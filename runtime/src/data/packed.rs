//! Files packed by gzip or zstd: they cannot be entered but at their begin, so each is one split. The content tells how a
//! file is packed; names tell other things, as that of a file which a web server has unpacked on the way.

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::GzDecoder;

/// How much of the packed file is read at once, in bytes.
const READ: usize = 256 << 10;

/// How many first bytes of a file tell how it is packed.
pub(super) const HEAD: usize = 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packing {
    Gzip,
    Zstd,
}

/// How a file is packed that begins so.
///
/// # Errors
/// The name of what cannot be unpacked here. An archive is refused only where `is_text`: as bytes it may be what is wanted.
pub(super) fn of(head: &[u8], is_text: bool) -> Result<Option<Packing>, String> {
    // A file that is cut off in the first bytes is damaged, and not text.
    if matches!(head, [0x1f, 0x8b] | [0x1f, 0x8b, 8, ..]) {
        return Ok(Some(Packing::Gzip));
    }
    // A frame, or one to be skipped, which parallel compressors write.
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
        "it is packed by {refused}, which wren does not unpack; unpack it first, or pack it by gzip or zstd; \
         `Input::raw` reads it as it is"
    ))
}

impl Packing {
    fn name(self) -> &'static str {
        match self {
            Packing::Gzip => "gzip",
            Packing::Zstd => "zstd",
        }
    }

    /// Unpacks all members, or frames, of a file.
    pub(super) fn unpack(self, packed: impl Read + Send + 'static) -> io::Result<Box<dyn Read + Send>> {
        let packed = BufReader::with_capacity(READ, packed);
        let input: Box<dyn Read + Send> = match self {
            Packing::Gzip => Box::new(Members { member: Some(GzDecoder::new(packed)) }),
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

/// All members of a gzip file, one after the other. Zeros behind a member are padding, as those that tapes and
/// block devices leave; what is neither padding nor a member is an error, since it may be lost data.
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

/// Goes behind padding; nothing where that is the end.
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
            Some(_) => return Err(io::Error::other("behind its end there is something else, which is no gzip data")),
            None if ahead.is_empty() => return Ok(None),
            None => packed.consume(zeros),
        }
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
