//! Three jobs on one file of links: how many pages link to each (MapReduce), all links in order (sort), and
//! which pages hang together (supersteps).
//!
//!     cargo run --release -p examples --features data --example links -- found examples/data/links.txt
//!
//! A link is a line `from to`. Counts and links go to the folder that is named first. The same program
//! runs on AWS, where inputs and the folder lie below the deployment's store:
//!
//!     cargo wren deploy -p examples --example links --features aws,data
//!     cargo run --release -p examples --features aws,data --example links -- \
//!         s3://BUCKET/NAME/found s3://BUCKET/NAME/links/

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use wren::bsp::{Bsp, Inbox, Outbox, Step};
use wren::mapreduce::{BoxError, Emitter, Format, MapReduce, Output, Values};
use wren::{Input, Split};

const NO_LINK: &str = "a line is to be `from to`";

/// How many links lead to each page.
#[derive(Serialize, Deserialize)]
struct Backlinks;

#[wren::mapreduce(memory = 512, timeout = 60)]
impl MapReduce for Backlinks {
    type Input = Split;
    type Key = str;
    type Value = u64;
    type Output = (String, u64);

    fn map(&self, split: Split, emit: &mut Emitter<'_, Self>) -> Result<(), BoxError> {
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

/// Pages hang together that links join in any direction. Each page tells its neighbours the least name it
/// has heard of, until nobody hears anything new.
#[derive(Serialize, Deserialize)]
struct Groups;

#[derive(Serialize, Deserialize)]
struct Page {
    neighbours: Vec<String>,
    /// The least name so far: in the end, that of the group.
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

    fn load(&self, split: Split, send: &mut Outbox<'_, Self>) -> Result<(), BoxError> {
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
            let mut heard: Vec<String> = messages.collect();
            let least = heard.iter().min().cloned().unwrap_or_default();
            let page =
                pages.entry(name.to_owned()).or_insert_with(|| Page { neighbours: Vec::new(), least: name.to_owned() });
            // In the first step, what arrives are the neighbours themselves.
            if step.number == 1 {
                heard.sort_unstable();
                heard.dedup();
                page.neighbours = heard;
            }
            if step.number == 1 || least < page.least {
                page.least = least.min(std::mem::take(&mut page.least));
                page.neighbours.iter().for_each(|neighbour| send.send(neighbour, page.least.clone()));
            }
            Ok(())
        })
    }

    fn finish(&self, pages: BTreeMap<String, Page>, out: &mut Output<(String, String)>) -> Result<(), BoxError> {
        pages.into_iter().try_for_each(|(name, page)| out.push((name, page.least)))
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
    let counts = wren::map_reduce(Backlinks, splits.clone()).write(format!("{folder}/counts"), Format::Tsv).await?;
    let sorted = wren::sort(Input::paths(files)?).write(format!("{folder}/sorted")).await?;
    let pages = wren::bsp(Groups, splits).await?;

    let mut groups = BTreeMap::<_, usize>::new();
    pages.iter().for_each(|(_, group)| *groups.entry(group).or_default() += 1);
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by_key(|(group, size)| (Reverse(*size), *group));
    for (group, size) in groups.iter().take(10) {
        println!("{size:>8} {group}");
    }
    println!("{} links to {} of {} pages, in {} groups", sorted.records, counts.records, pages.len(), groups.len());
    Ok(())
}

fn usage() -> ! {
    eprintln!("usage: links FOLDER FILE...");
    std::process::exit(2);
}
