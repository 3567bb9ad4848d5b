//! Three jobs on one file of links: the number of links to each page
//! (MapReduce), all links in order (sort), and the groups of connected
//! pages (supersteps).
//!
//!     cargo run --release -p examples --features data \
//!         --example links -- found examples/data/links.txt
//!
//! A link is a line `from to`. Counts and links go to the folder that is
//! the first argument. The same program runs on AWS, where the inputs and
//! the folder have to be below the deployment's store:
//!
//!     cargo wren deploy -p examples --example links --features aws,data
//!     cargo run --release -p examples --features aws,data \
//!         --example links -- \
//!         s3://BUCKET/NAME/found s3://BUCKET/NAME/links/

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use wren::bsp::{Bsp, Inbox, Outbox, Step};
use wren::mapreduce::{
    BoxError, Emitter, Format, MapReduce, Output, Values,
};
use wren::{Input, Split};

const NO_LINK: &str = "expected a line of the form `from to`";

/// Counts the links to each page.
#[derive(Serialize, Deserialize)]
struct Backlinks;

#[wren::mapreduce(memory = 512, timeout = 60)]
impl MapReduce for Backlinks {
    type Input = Split;
    type Key = str;
    type Value = u64;
    type Output = (String, u64);

    fn map(
        &self,
        split: Split,
        emit: &mut Emitter<'_, Self>,
    ) -> Result<(), BoxError> {
        for line in split.lines()? {
            emit.emit(line?.split_once(' ').ok_or(NO_LINK)?.1, 1);
        }
        Ok(())
    }

    fn combine(&self, count: &mut u64, next: u64) {
        *count += next;
    }

    fn reduce(
        &self,
        page: &str,
        counts: &mut Values<'_, u64>,
        out: &mut Output<(String, u64)>,
    ) -> Result<(), BoxError> {
        out.push((page.to_owned(), counts.sum()))
    }
}

/// Finds groups of pages that are connected by links in any direction. Each
/// page sends its neighbours the least name that it has received, until no
/// page receives a smaller one.
#[derive(Serialize, Deserialize)]
struct Groups;

#[derive(Serialize, Deserialize)]
struct Page {
    neighbours: Vec<String>,
    /// The least name so far. At the end, it is the name of the group.
    least: String,
}

#[wren::bsp(memory = 512, timeout = 60)]
impl Bsp for Groups {
    type Input = Split;
    type State = BTreeMap<String, Page>;
    type Key = str;
    type Message = String;
    type Summary = ();
    type Output = (String, String);

    fn load(
        &self,
        split: Split,
        send: &mut Outbox<'_, Self>,
    ) -> Result<(), BoxError> {
        for line in split.lines()? {
            let line = line?;
            let (from, to) = line.split_once(' ').ok_or(NO_LINK)?;
            send.send(from, to.to_owned());
            send.send(to, from.to_owned());
        }
        Ok(())
    }

    fn step(
        &self,
        step: &Step<()>,
        pages: &mut BTreeMap<String, Page>,
        inbox: Inbox<'_, Self>,
        send: &mut Outbox<'_, Self>,
    ) -> Result<(), BoxError> {
        inbox.each(|name, messages| {
            let mut received: Vec<String> = messages.collect();
            let least = received.iter().min().cloned().unwrap_or_default();
            let page = pages.entry(name.to_owned()).or_insert_with(|| {
                Page { neighbours: Vec::new(), least: name.to_owned() }
            });
            // In the first step, the messages are the neighbours
            // themselves.
            if step.number == 1 {
                received.sort_unstable();
                received.dedup();
                page.neighbours = received;
            }
            if step.number == 1 || least < page.least {
                page.least = least.min(std::mem::take(&mut page.least));
                page.neighbours.iter().for_each(|neighbour| {
                    send.send(neighbour, page.least.clone())
                });
            }
            Ok(())
        })
    }

    fn finish(
        &self,
        pages: BTreeMap<String, Page>,
        out: &mut Output<(String, String)>,
    ) -> Result<(), BoxError> {
        pages
            .into_iter()
            .try_for_each(|(name, page)| out.push((name, page.least)))
    }
}

#[wren::main]
async fn main() -> wren::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [folder, files @ ..] = &args[..] else { usage() };
    if files.is_empty() {
        usage();
    }

    let splits = Input::paths(files)?.splits().await?;
    let counts = wren::map_reduce(Backlinks, splits.clone())
        .write(format!("{folder}/counts"), Format::Tsv)
        .await?;
    let sorted = wren::sort(Input::paths(files)?)
        .write(format!("{folder}/sorted"))
        .await?;
    let pages = wren::bsp(Groups, splits).await?;

    let mut groups = BTreeMap::<_, usize>::new();
    pages
        .iter()
        .for_each(|(_, group)| *groups.entry(group).or_default() += 1);
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by_key(|(group, size)| (Reverse(*size), *group));
    for (group, size) in groups.iter().take(10) {
        println!("{size:>8} {group}");
    }
    println!(
        "{} links to {} of {} pages, in {} groups",
        sorted.records,
        counts.records,
        pages.len(),
        groups.len()
    );
    Ok(())
}

fn usage() -> ! {
    eprintln!("usage: links FOLDER FILE...");
    std::process::exit(2);
}
