//! PageRank in supersteps: computes the importance of pages from the links
//! between them.
//!
//!     cargo run --release -p examples --features data \
//!         --example pagerank -- [LINKS [PARTITIONS]]
//!
//! `LINKS` is a file with a line `from to` for each link. Without it, the
//! program ranks packages by the packages that depend on them.
//!
//! The rank of a page is (1 - d) / n + d · (the sum of the ranks of the
//! pages that link to it, each divided by its number of links, + the sum of
//! the ranks of pages without links, divided by n), with n pages and d =
//! 0.85 (Brin and Page, 1998).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use wren::bsp::{Bsp, Inbox, Outbox, Step};
use wren::mapreduce::{BoxError, Output};
use wren::{Input, Split};

const DAMPING: f64 = 0.85;

#[derive(Serialize, Deserialize)]
struct PageRank;

#[derive(Serialize, Deserialize)]
enum Message {
    /// The page links to this one.
    Link(String),
    /// A share of the rank of pages that link to the page.
    Rank(f64),
}

#[derive(Default, Serialize, Deserialize)]
struct Page {
    rank: f64,
    links: Vec<String>,
}

/// The summary of a step in one partition.
#[derive(Default, Serialize, Deserialize)]
struct Summary {
    pages: u64,
    /// The sum of the ranks of pages without links.
    dangling: f64,
    /// The sum of the changes of all ranks.
    change: f64,
}

#[wren::bsp]
impl Bsp for PageRank {
    type Input = Split;
    type State = BTreeMap<String, Page>;
    type Key = str;
    type Message = Message;
    type Summary = Summary;
    type Output = (String, f64);

    fn load(
        &self,
        split: Split,
        send: &mut Outbox<'_, Self>,
    ) -> Result<(), BoxError> {
        for line in split.lines()? {
            let line = line?;
            let (from, to) = line
                .split_once(' ')
                .ok_or("expected a line of the form `from to`")?;
            send.send(from, Message::Link(to.to_owned()));
            // A page without links of its own is a page too.
            send.send(to, Message::Rank(0.0));
        }
        Ok(())
    }

    fn step(
        &self,
        step: &Step<Summary>,
        pages: &mut BTreeMap<String, Page>,
        inbox: Inbox<'_, Self>,
        send: &mut Outbox<'_, Self>,
    ) -> Result<Summary, BoxError> {
        let count: u64 =
            step.summaries.iter().map(|summary| summary.pages).sum();
        let dangling: f64 =
            step.summaries.iter().map(|summary| summary.dangling).sum();
        let mut received = BTreeMap::new();
        inbox.each(|page, messages| {
            for message in messages {
                match message {
                    Message::Link(to) => pages
                        .entry(page.to_owned())
                        .or_default()
                        .links
                        .push(to),
                    Message::Rank(share) => {
                        *received.entry(page.to_owned()).or_insert(0.0) +=
                            share
                    }
                }
            }
            Ok(())
        })?;
        if step.number == 1 {
            for page in received.keys() {
                pages.entry(page.clone()).or_default();
            }
        }

        let mut summary =
            Summary { pages: pages.len() as u64, ..Summary::default() };
        for (name, page) in pages {
            // The number of pages is only known from the second step on.
            let rank = match step.number {
                1 => 0.0,
                2 => 1.0 / count as f64,
                _ => {
                    let received =
                        received.get(name).copied().unwrap_or(0.0);
                    (1.0 - DAMPING) / count as f64
                        + DAMPING * (received + dangling / count as f64)
                }
            };
            summary.change += (rank - page.rank).abs();
            page.rank = rank;
            if page.links.is_empty() {
                summary.dangling += rank;
            }
            let share = rank / page.links.len() as f64;
            page.links
                .iter()
                .for_each(|to| send.send(to, Message::Rank(share)));
        }
        Ok(summary)
    }

    fn finish(
        &self,
        pages: BTreeMap<String, Page>,
        out: &mut Output<(String, f64)>,
    ) -> Result<(), BoxError> {
        pages
            .into_iter()
            .try_for_each(|(name, page)| out.push((name, page.rank)))
    }
}

#[wren::main]
async fn main() -> wren::Result<()> {
    let mut args = std::env::args().skip(1);
    let links =
        args.next().unwrap_or_else(|| "examples/data/links.txt".to_owned());
    let partitions = args.next().and_then(|n| n.parse().ok()).unwrap_or(2);

    let splits = Input::glob(links)?.splits().await?;
    let small = |step: u64, all: &[Summary]| {
        step > 2
            && all.iter().map(|summary| summary.change).sum::<f64>() < 1e-9
    };
    let mut ranks = wren::bsp(PageRank, splits)
        .partitions(partitions)
        .until(small)
        .steps(200)
        .quiet()
        .await?;

    ranks.sort_by(|(a, x), (b, y)| y.total_cmp(x).then_with(|| a.cmp(b)));
    for (page, rank) in ranks.iter().take(10) {
        println!("{rank:.4} {page}");
    }
    let total: f64 = ranks.iter().map(|(_, rank)| rank).sum();
    println!("{} pages, ranks sum to {total:.4}", ranks.len());
    Ok(())
}
