//! Pieces of bytes one after the other, each preceded by its length: the arguments of consecutive tasks, and their
//! results.
//!
//! A length takes four bytes. A length that does not fit takes twelve: `u32::MAX`, followed by a `u64`.

use smallvec::SmallVec;

/// Number of bytes before a piece that is shorter than 4 GiB - 1 bytes.
pub(crate) const SHORT: usize = 4;

/// Returns the bytes before a piece of `len` bytes, if it is shorter than 4 GiB - 1 bytes.
#[inline]
pub(crate) fn short_head(len: usize) -> Option<[u8; SHORT]> {
    u32::try_from(len).ok().filter(|len| *len < u32::MAX).map(u32::to_le_bytes)
}

/// Returns the bytes before a piece of `len` bytes.
#[inline]
pub(crate) fn head(len: usize) -> SmallVec<[u8; 12]> {
    match short_head(len) {
        Some(head) => SmallVec::from_slice(&head),
        None => [0xff; SHORT].into_iter().chain((len as u64).to_le_bytes()).collect(),
    }
}

/// Appends a piece, preceded by its length.
#[inline]
pub(crate) fn push(piece: &[u8], to: &mut Vec<u8>) {
    match short_head(piece.len()) {
        Some(head) => to.extend_from_slice(&head),
        None => to.extend_from_slice(&head(piece.len())),
    }
    to.extend_from_slice(piece);
}

/// Returns the length of the first piece, and the bytes after this length.
#[inline]
pub(crate) fn length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (short, rest) = bytes.split_first_chunk::<SHORT>()?;
    match u32::from_le_bytes(*short) {
        u32::MAX => {
            let (long, rest) = rest.split_first_chunk()?;
            Some((usize::try_from(u64::from_le_bytes(*long)).ok()?, rest))
        }
        short => Some((short as usize, rest)),
    }
}

/// An iterator over the pieces in some bytes. A truncated piece ends where the bytes end.
pub(crate) struct Pieces<'a>(pub(crate) &'a [u8]);

impl<'a> Iterator for Pieces<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        let (len, rest) = length(self.0)?;
        let (piece, rest) = rest.split_at_checked(len).unwrap_or((rest, &[]));
        self.0 = rest;
        Some(piece)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_round_trip() {
        let mut bytes = Vec::new();
        for piece in [&b"one"[..], b"", b"three"] {
            push(piece, &mut bytes);
        }
        assert_eq!(bytes.len(), 3 * SHORT + 8);
        assert!(Pieces(&bytes).eq([&b"one"[..], b"", b"three"]));
        assert_eq!(Pieces(&bytes[..5]).collect::<Vec<_>>(), [b"o"]);
        assert_eq!(Pieces(&[1, 2]).next(), None);
    }

    #[test]
    fn lengths_from_4_gib_on_are_not_cut() {
        let most = u32::MAX as usize;
        for len in [0, 1, most - 1, most, most + 1, (4 << 30) + (100 << 20), usize::MAX] {
            let head = head(len);
            assert_eq!(length(&head), Some((len, &[][..])));
            assert_eq!(head.len(), if len < most { 4 } else { 12 });
            assert_eq!(length(&head[..head.len() - 1]), None);
        }
    }
}
