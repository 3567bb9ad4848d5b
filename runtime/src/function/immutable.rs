//! Arguments that many calls share and that a worker decodes only once.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::fmt;
use std::ops::Deref;
use std::panic::RefUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::Failure;

/// A type whose values cannot change while they are borrowed.
///
/// If many calls take the same large value as `&T`, a worker decodes it for each of them, because a call could change
/// a [`Cell`](std::cell::Cell), a `Mutex` or an atomic inside of it, and the next call must not see that. If `T` is
/// `Immutable`, a worker decodes the value once and lends it to all calls:
///
/// ```
/// # use std::collections::HashMap;
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct Model {
///     weights: HashMap<String, f64>,
/// }
///
/// impl wren::Immutable for Model {}
///
/// #[wren::remote]
/// fn score(text: String, model: &Model) -> f64 {
///     text.split(' ').filter_map(|word| model.weights.get(word)).sum()
/// }
/// ```
///
/// Implement it for a type of your own if nothing in it can change through `&`: no `Mutex`, `RwLock`, atomic or
/// `OnceLock`, not even in a field that serde skips. The compiler refuses a `Cell` and a `RefCell`, but it cannot find
/// the others. If you implement it for a type that does change, calls see changes of earlier calls on the same worker,
/// but it is not unsafe.
///
/// ```compile_fail,E0277
/// struct Model {
///     calls: std::cell::Cell<u64>,
/// }
///
/// impl wren::Immutable for Model {}
/// ```
///
/// Numbers, texts, and the standard collections, options and tuples of immutable types are immutable. Slices of numbers
/// (`&[f64]`), `&[u8]` and `&str` are never decoded at all: calls borrow them from the memory in which they arrived.
/// Only arguments of more than 64 KiB are kept, until no call of the job needs them any more.
pub trait Immutable: RefUnwindSafe + Send + Sync + 'static {}

macro_rules! immutable {
    ($($type:ty)*) => { $(impl Immutable for $type {})* };
}

immutable! {
    () bool char u8 i8 u16 i16 u32 i32 u64 i64 u128 i128 usize isize f32 f64
    str String std::path::Path std::path::PathBuf std::time::Duration std::time::SystemTime
    std::net::IpAddr std::net::SocketAddr
}

impl<T: Immutable> Immutable for [T] {}
impl<T: Immutable, const N: usize> Immutable for [T; N] {}
impl<T: Immutable> Immutable for Option<T> {}
impl<T: Immutable, E: Immutable> Immutable for Result<T, E> {}
impl<T: Immutable + ?Sized> Immutable for Box<T> {}
impl<T: Immutable> Immutable for Vec<T> {}
impl<T: Immutable> Immutable for VecDeque<T> {}
impl<T: Immutable> Immutable for BTreeSet<T> {}
impl<K: Immutable, V: Immutable> Immutable for BTreeMap<K, V> {}
impl<T: Immutable> Immutable for HashSet<T> {}
impl<K: Immutable, V: Immutable> Immutable for HashMap<K, V> {}

macro_rules! immutable_tuples {
    ($($($name:ident)+,)*) => { $(impl<$($name: Immutable),+> Immutable for ($($name,)+) {})* };
}

immutable_tuples! {
    A, A B, A B C, A B C D, A B C D E, A B C D E F, A B C D E F G, A B C D E F G H,
}

/// A decoded value that a call borrows.
#[doc(hidden)]
#[derive(Debug)]
pub struct Lent<T: ?Sized>(Arc<Box<T>>);

impl<T: ?Sized> Lent<T> {
    pub(super) fn new(value: Box<T>) -> Self {
        Self(Arc::new(value))
    }
}

impl<T: ?Sized> Deref for Lent<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.0
    }
}

/// The decoded form of a blob, once a call has needed it.
#[derive(Default)]
pub(super) struct Decoded(Mutex<Option<Arc<dyn Any + Send + Sync>>>);

impl fmt::Debug for Decoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Decoded(..)")
    }
}

impl Decoded {
    /// Returns the decoded value. Calls that need it at the same time, on threads of this process, wait for the first
    /// of them to decode it.
    pub(super) fn get<T: ?Sized + Send + Sync + 'static>(
        &self,
        decode: impl FnOnce() -> Result<Box<T>, Failure>,
    ) -> Result<Lent<T>, Failure> {
        // If `decode` panics, nothing is stored.
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*kept {
            None => {
                let lent = Lent::new(decode()?);
                *kept = Some(lent.0.clone());
                Ok(lent)
            }
            Some(value) => match value.clone().downcast::<Box<T>>() {
                Ok(value) => Ok(Lent(value)),
                // Another function takes the same bytes as another type.
                Err(_) => {
                    drop(kept);
                    decode().map(Lent::new)
                }
            },
        }
    }
}
