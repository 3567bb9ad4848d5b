//! Decoding of results.

use serde::de::DeserializeOwned;

use super::Results;
use crate::codec::{self, Aligned};
use crate::error::{Attempt, Error, Result};

/// The origin of a result, for the error if it does not decode.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Decoded<'a> {
    pub(crate) function: &'a str,
    pub(crate) task: u64,
    /// Number of the attempt, counted from 1.
    pub(crate) attempt: u32,
}

/// Decodes the result of a lone task. A `Vec` of numbers keeps the buffer in which it arrived.
pub(crate) fn decode_lone_result<R: DeserializeOwned>(results: Results, of: &Decoded<'_>) -> Result<R> {
    let (mut start, rest) = results.into_lone();
    if rest.is_empty() {
        return decode_result(&start, of);
    }
    if start.is_empty() {
        return decode_result(&rest, of);
    }
    let rest = match taken_over(&start, rest) {
        Ok(value) => return Ok(value),
        Err(rest) => rest,
    };
    match numbers_of(&start, &rest) {
        Some(value) => Ok(value),
        None => {
            start.extend_from_slice(&rest);
            decode_by_serde(&start, of)
        }
    }
}

/// Decodes a result. A `Vec` of numbers is read with one copy, because serde would read the numbers one by one.
#[inline]
pub(crate) fn decode_result<R: DeserializeOwned>(bytes: &[u8], of: &Decoded<'_>) -> Result<R> {
    match numbers_of(bytes, &[]) {
        Some(value) => Ok(value),
        None => decode_by_serde(bytes, of),
    }
}

#[inline]
fn decode_by_serde<R: DeserializeOwned>(bytes: &[u8], of: &Decoded<'_>) -> Result<R> {
    codec::decode(bytes).map_err(|error| {
        let Decoded { function, task, attempt } = *of;
        let attempt = Attempt { function: function.to_owned(), task, attempt, ..Attempt::default() };
        Error::BadResult { attempt: Box::new(attempt), reason: error.to_string() }
    })
}

/// The types of numbers, points and pixels that are most common in a `Vec`. Other types are read by serde.
macro_rules! for_numbers {
    ($macro:ident) => {
        $macro!(u8 f64 f32 i64 u64 i32 u32 i16 u16 i8);
        $macro!([f32; 2] [f32; 3] [f32; 4] [f64; 2] [f64; 3] [f64; 4] [u8; 3] [u8; 4]);
    };
}

/// Reads numbers in their memory layout, if `R` is a `Vec` of numbers. `rest` continues `start`.
#[inline]
fn numbers_of<R>(start: &[u8], rest: &[u8]) -> Option<R> {
    let mut value: Option<R> = None;
    macro_rules! try_as {
        ($($number:ty)*) => {$(
            if let Ok(value) = castaway::cast!(&mut value, &mut Option<Vec<$number>>) {
                *value = codec::read_numbers(start, rest).map(codec::owned);
            }
        )*};
    }
    for_numbers!(try_as);
    try_as!(bool);
    value
}

/// Turns the memory into `R` without a copy, if `R` is a `Vec` of numbers; returns the memory otherwise.
fn taken_over<R>(start: &[u8], mut rest: Aligned) -> std::result::Result<R, Aligned> {
    let mut value: Option<R> = None;
    macro_rules! try_as {
        ($($number:ty)*) => {$(
            if let Ok(value) = castaway::cast!(&mut value, &mut Option<Vec<$number>>)
                && codec::is_start_of::<$number>(start, rest.len())
            {
                match rest.into_numbers() {
                    Ok(numbers) => (*value, rest) = (Some(numbers), Aligned::default()),
                    Err(back) => rest = back,
                }
            }
        )*};
    }
    // Not `bool`: each of its bytes has to be checked.
    for_numbers!(try_as);
    value.ok_or(rest)
}
