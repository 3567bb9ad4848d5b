//! Envelopes of values that are written to a store or sent to another machine: magic, version, checksum, value.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec::{self, CodecError};

const MAGIC: [u8; 4] = *b"WREN";
const VERSION: u8 = 2;
const HEADER: usize = MAGIC.len() + 1 + 4;

/// Encodes a value into an envelope.
pub(crate) fn seal<T: Serialize>(value: &T) -> Result<Vec<u8>, CodecError> {
    let mut sealed = vec![0; HEADER];
    codec::encode_into(value, &mut sealed)?;
    let checksum = crc32fast::hash(&sealed[HEADER..]);
    sealed[..4].copy_from_slice(&MAGIC);
    sealed[4] = VERSION;
    sealed[5..HEADER].copy_from_slice(&checksum.to_le_bytes());
    Ok(sealed)
}

/// Decodes an envelope that [`seal`] made; otherwise returns the reason why it cannot.
pub(crate) fn open<T: DeserializeOwned>(sealed: &[u8]) -> Result<T, String> {
    let (header, body) = sealed.split_first_chunk::<HEADER>().ok_or("the data is truncated")?;
    if header[..4] != MAGIC {
        return Err("the data was not written by wren".to_owned());
    }
    if header[4] != VERSION {
        return Err(format!("the data has format version {}, but this program supports version {VERSION}", header[4]));
    }
    if header[5..] != crc32fast::hash(body).to_le_bytes() {
        return Err("the checksum does not match the data".to_owned());
    }
    codec::decode(body).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sealed_values_open_and_damaged_ones_fail() {
        let sealed = seal(&("text", vec![1u8, 2, 3])).unwrap();
        let (text, bytes): (String, Vec<u8>) = open(&sealed).unwrap();
        assert_eq!((text.as_str(), &bytes[..]), ("text", &[1, 2, 3][..]));
        for at in 0..sealed.len() {
            let mut damaged = sealed.clone();
            damaged[at] ^= 1;
            assert!(open::<(String, Vec<u8>)>(&damaged).is_err(), "byte {at}");
            assert!(open::<(String, Vec<u8>)>(&sealed[..at]).is_err(), "cut at {at}");
        }
    }
}
