//! Supersteps: [`bsp`] runs a [`Bsp`] over inputs.

mod job;
mod stage;

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::mapreduce::{BoxError, Emits, Key, Output, Pairs, Registered, Values, each_key};
use crate::shuffle::Merged;

pub use job::{BspJob, bsp};
#[doc(hidden)]
pub use stage::{finish_entry, load_entry, step_entry};

/// A computation in supersteps, in the style of bulk synchronous parallel programs (Valiant, "A Bridging Model for
/// Parallel Computation", 1990) and of Pregel (SIGMOD 2010).
///
/// The computation has several partitions, each with its own state. In each step, every partition receives the messages
/// that were sent to it in the previous step, changes its state and sends messages. A message goes to the partition
/// that owns its key. The computation ends when a step sends no messages, or when the driver ends it: see
/// [`until`](BspJob::until) and [`steps`](BspJob::steps).
///
/// Between steps, states and messages are in the store. If a worker dies, its partition runs again from there, and a
/// [`named`](BspJob::named) job resumes at the step where it ended. The memory of a worker must hold a whole state, but
/// not all messages.
///
/// `#[wren::bsp]` on the `impl` registers its stages. It takes the options `memory`, `timeout` and `retries` of
/// [`#[wren::remote]`](crate::remote).
///
/// ```
/// use std::collections::BTreeMap;
///
/// use serde::{Deserialize, Serialize};
/// use wren::bsp::{Bsp, Inbox, Outbox, Step};
/// use wren::mapreduce::{BoxError, Output, Values};
///
/// /// Finds the smallest number that each number can reach, over edges in both directions.
/// #[derive(Serialize, Deserialize)]
/// struct Components;
///
/// #[derive(Clone, Default, Serialize, Deserialize)]
/// struct Node {
///     least: u32,
///     others: Vec<u32>,
/// }
///
/// #[wren::bsp]
/// impl Bsp for Components {
///     type Input = (u32, u32);
///     type State = BTreeMap<u32, Node>;
///     type Key = u32;
///     type Message = u32;
///     type Summary = ();
///     type Output = (u32, u32);
///
///     fn load(&self, (a, b): (u32, u32), send: &mut Outbox<'_, Self>) -> Result<(), BoxError> {
///         send.send(&a, b);
///         send.send(&b, a);
///         Ok(())
///     }
///
///     fn step(
///         &self,
///         step: &Step<()>,
///         nodes: &mut BTreeMap<u32, Node>,
///         inbox: Inbox<'_, Self>,
///         send: &mut Outbox<'_, Self>,
///     ) -> Result<(), BoxError> {
///         inbox.each(|number, received| {
///             let received: Vec<u32> = received.collect();
///             let new = Node { least: number, others: received.clone() };
///             let node = nodes.entry(number).or_insert(new);
///             let least = received.into_iter().fold(node.least, u32::min);
///             if least < node.least || step.number == 1 {
///                 node.least = least;
///                 node.others.iter().for_each(|other| send.send(other, least));
///             }
///             Ok(())
///         })
///     }
///
///     fn finish(&self, nodes: BTreeMap<u32, Node>, out: &mut Output<(u32, u32)>) -> Result<(), BoxError> {
///         nodes.into_iter().try_for_each(|(number, node)| out.push((number, node.least)))
///     }
/// }
///
/// # wren::block_on(async {
/// let mut components = wren::bsp(Components, [(1, 2), (2, 3), (7, 8), (3, 9)]).partitions(2).await?;
/// components.sort();
/// assert_eq!(components, [(1, 1), (2, 1), (3, 1), (7, 7), (8, 7), (9, 1)]);
/// # Ok::<(), wren::Error>(()) }).unwrap();
/// ```
pub trait Bsp: Registered + Serialize + DeserializeOwned {
    /// The input of one loading task: a [`Split`](crate::Split) of files, or any type that serde supports.
    type Input: Serialize + DeserializeOwned;
    /// The state that a partition keeps from step to step; the default value in the first step.
    type State: Default + Serialize + DeserializeOwned;
    /// The key to which a message is sent.
    type Key: Key + ?Sized;
    /// A message to a key.
    type Message: Serialize + DeserializeOwned;
    /// A partition's summary of a step, for the driver and for all partitions in the next step.
    type Summary: Default + Serialize + DeserializeOwned;
    /// An output of the computation.
    type Output: Serialize + DeserializeOwned;

    /// Sends the messages for the first step from one input.
    ///
    /// # Errors
    /// An error ends the job, unless `retries` allows another attempt.
    fn load(&self, input: Self::Input, send: &mut Outbox<'_, Self>) -> Result<(), BoxError>;

    /// Merges two messages for one key, so that one message is sent instead of many.
    fn combine(&self, message: &mut Self::Message, next: Self::Message) {
        let _ = (message, next);
    }

    /// Returns which of `partitions` owns a key. Without it, the hash of the key decides. A result that is not below
    /// `partitions` is treated as the last.
    fn partition(&self, key: <Self::Key as Key>::View<'_>, partitions: usize) -> usize {
        let _ = key;
        partitions - 1
    }

    /// Runs one step of one partition.
    ///
    /// # Errors
    /// An error ends the job, unless `retries` allows another attempt.
    fn step(
        &self,
        step: &Step<Self::Summary>,
        state: &mut Self::State,
        inbox: Inbox<'_, Self>,
        send: &mut Outbox<'_, Self>,
    ) -> Result<Self::Summary, BoxError>;

    /// Adds the outputs of a partition, from its last state, to `out`.
    ///
    /// # Errors
    /// An error ends the job, unless `retries` allows another attempt.
    fn finish(&self, state: Self::State, out: &mut Output<Self::Output>) -> Result<(), BoxError>;
}

/// The current step of a partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct Step<S> {
    /// Number of the step, counted from 1.
    pub number: u64,
    /// Number of partitions.
    pub partitions: usize,
    /// Number of this partition, counted from 0.
    pub partition: usize,
    /// Summaries of all partitions from the previous step; empty in the first step.
    pub summaries: Vec<S>,
}

/// The messages that were sent to a partition in the previous step.
pub struct Inbox<'a, T: Bsp> {
    merged: Merged,
    job: std::marker::PhantomData<&'a T>,
}

impl<T: Bsp> fmt::Debug for Inbox<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Inbox")
    }
}

impl<T: Bsp> Inbox<'_, T> {
    /// Passes each key that has messages, with its messages, to `take`, in the order of the keys.
    ///
    /// # Errors
    /// The errors of `take`, and an error if the disk fails.
    pub fn each(
        self,
        take: impl FnMut(<T::Key as Key>::View<'_>, &mut Values<'_, T::Message>) -> Result<(), BoxError>,
    ) -> Result<(), BoxError> {
        each_key::<T::Key, T::Message>(self.merged, take)
    }
}

/// Receives the messages that a task sends.
pub struct Outbox<'a, T: Bsp>(Pairs<Messages<'a, T>>);

impl<T: Bsp> fmt::Debug for Outbox<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Outbox({} messages)", self.0.emitted)
    }
}

impl<T: Bsp> Outbox<'_, T> {
    /// Sends a message to a key; it arrives in the next step.
    ///
    /// An error, such as a full disk, fails the task when the step returns.
    #[inline]
    pub fn send(&mut self, key: &T::Key, message: T::Message) {
        self.0.push(key, message);
    }
}

/// Treats messages as pairs of a key and a value.
struct Messages<'a, T>(&'a T);

impl<T> Clone for Messages<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Messages<'_, T> {}

impl<T: Bsp> Emits for Messages<'_, T> {
    type Key = T::Key;
    type Value = T::Message;
    const COMBINES: bool = T::COMBINES;
    const PARTITIONS: bool = T::PARTITIONS;

    #[inline]
    fn combine(self, message: &mut T::Message, next: T::Message) {
        self.0.combine(message, next);
    }

    fn partition(self, key: <T::Key as Key>::View<'_>, partitions: usize) -> usize {
        self.0.partition(key, partitions)
    }
}
