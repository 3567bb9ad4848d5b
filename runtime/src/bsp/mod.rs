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

/// A computation in supersteps, in the manner of bulk synchronous parallel programs (Valiant, "A
/// Bridging Model for Parallel Computation", 1990) and of Pregel (SIGMOD 2010).
///
/// There are some partitions, each with a state of its own. In a step, every partition takes the
/// messages that were sent to it in the step before, changes its state and sends messages; a message
/// goes to the partition that owns its key. The computation ends when no message was sent, or when the
/// driver says so.
///
/// States and messages lie in the store between steps: a partition whose worker dies is run again from
/// there, and a [`named`](BspJob::named) job goes on at the step where it ended. A state is held whole
/// in the memory of a worker, messages are not.
///
/// `#[wren::bsp]` on the `impl` registers its stages. Its options are those of
/// [`#[wren::remote]`](crate::remote): `memory`, `timeout`, `retries`.
///
/// ```
/// use std::collections::BTreeMap;
///
/// use serde::{Deserialize, Serialize};
/// use wren::bsp::{Bsp, Inbox, Outbox, Step};
/// use wren::mapreduce::{BoxError, Output, Values};
///
/// /// The least number that can be reached from each, over edges in both directions.
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
///         inbox.each(|number, heard| {
///             let heard: Vec<u32> = heard.collect();
///             let new = Node { least: number, others: heard.clone() };
///             let node = nodes.entry(number).or_insert(new);
///             let least = heard.into_iter().fold(node.least, u32::min);
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
    /// What one loading task works on: [`Split`](crate::Split) of files, or anything that serde knows.
    type Input: Serialize + DeserializeOwned;
    /// What a partition keeps from step to step; the default in the first.
    type State: Default + Serialize + DeserializeOwned;
    /// Whom messages are for.
    type Key: Key + ?Sized;
    /// What is sent.
    type Message: Serialize + DeserializeOwned;
    /// What a partition tells the driver, and all partitions in the next step, of a step.
    type Summary: Default + Serialize + DeserializeOwned;
    /// What the computation gives.
    type Output: Serialize + DeserializeOwned;

    /// Sends the messages of the first step from one input.
    ///
    /// # Errors
    /// Any error ends the job; `retries` of the attribute says whether the task is tried again.
    fn load(&self, input: Self::Input, send: &mut Outbox<'_, Self>) -> Result<(), BoxError>;

    /// Merges two messages for one key, so that one travels in place of many.
    fn combine(&self, message: &mut Self::Message, next: Self::Message) {
        let _ = (message, next);
    }

    /// Which of `partitions` owns a key; the keys' hash decides otherwise. What is not below
    /// `partitions` is taken for the last.
    fn partition(&self, key: <Self::Key as Key>::View<'_>, partitions: usize) -> usize {
        let _ = key;
        partitions - 1
    }

    /// One step of one partition.
    ///
    /// # Errors
    /// Any error ends the job; `retries` of the attribute says whether the task is tried again.
    fn step(
        &self,
        step: &Step<Self::Summary>,
        state: &mut Self::State,
        inbox: Inbox<'_, Self>,
        send: &mut Outbox<'_, Self>,
    ) -> Result<Self::Summary, BoxError>;

    /// Gives what is to be known of a partition's last state.
    ///
    /// # Errors
    /// Any error ends the job; `retries` of the attribute says whether the task is tried again.
    fn finish(&self, state: Self::State, out: &mut Output<Self::Output>) -> Result<(), BoxError>;
}

/// Which step it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct Step<S> {
    /// Counted from 1.
    pub number: u64,
    /// Of all partitions, which there are.
    pub partitions: usize,
    /// Which partition it is, from 0.
    pub partition: usize,
    /// What all partitions told of the step before; empty in the first.
    pub summaries: Vec<S>,
}

/// The messages that a partition was sent in the step before.
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
    /// Gives each key that has messages, with them, in the order of the keys.
    ///
    /// # Errors
    /// What `take` gives, and where the disk fails.
    pub fn each(
        self,
        take: impl FnMut(<T::Key as Key>::View<'_>, &mut Values<'_, T::Message>) -> Result<(), BoxError>,
    ) -> Result<(), BoxError> {
        each_key::<T::Key, T::Message>(self.merged, take)
    }
}

/// Takes the messages that are sent.
pub struct Outbox<'a, T: Bsp>(Pairs<Messages<'a, T>>);

impl<T: Bsp> fmt::Debug for Outbox<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Outbox({} messages)", self.0.emitted)
    }
}

impl<T: Bsp> Outbox<'_, T> {
    /// Sends a message to a key; it arrives in the next step.
    ///
    /// That the disk is full, for instance, fails the task when the step returns.
    #[inline]
    pub fn send(&mut self, key: &T::Key, message: T::Message) {
        self.0.push(key, message);
    }
}

/// Messages as pairs.
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
