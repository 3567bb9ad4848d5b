//! Describes many views of photographs by their GIST, and fits a linear
//! classifier to the descriptors on the driver: a map and a monolithic
//! reduction. Prints how long each phase took, in the rows of Table 2 of
//! the PyWren paper.
//!
//!     cargo run --release -p examples --features images \
//!         --example featurize -- [tasks] [folder of images]
//!
//! Each file of the folder is a class. A task describes views of one of
//! them: cropped, rotated, mirrored, brighter or darker. The images are
//! sent through the store, so that the program also runs when it is
//! deployed.

use std::collections::HashMap;
use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use examples::gist::{FEATURES, Gist, SIZE};
use examples::ridge::Ridge;
use examples::spread::Spread;
use examples::views::Grey;
use serde::{Deserialize, Serialize};

/// Number of views of an image that a task describes.
const VIEWS: u64 = 8;

/// The penalty for the square of a weight; see `Ridge::fit`.
const PENALTY: f64 = 0.1;

/// How often the classifier is fitted, so that its time has a standard
/// deviation.
const FITS: usize = 5;

/// The result of a task.
#[derive(Debug, Serialize, Deserialize)]
struct Described {
    /// A descriptor for each view.
    views: Vec<Vec<f32>>,
    /// When the function started and ended, by the worker's clock, since
    /// 1970.
    started: Duration,
    ended: Duration,
    /// How long it took to fetch and decode the image and to make the
    /// filters.
    setup: Duration,
    /// A random number that identifies the worker.
    worker: u64,
}

/// Describes views `first..first + VIEWS` of an image.
#[wren::remote(memory = 1769, timeout = 300)]
fn describe(
    file: wren::Ref<Vec<u8>>,
    first: u64,
) -> Result<Described, Box<dyn Error>> {
    let (started, clock) = (since_1970(), Instant::now());
    let image = Grey::decode(&file.get_blocking()?)?;
    let gist = Gist::new();
    let setup = clock.elapsed();
    let views = (first..first + VIEWS)
        .map(|view| gist.describe(&image.view(view, SIZE)))
        .collect();
    Ok(Described {
        views,
        started,
        ended: started + clock.elapsed(),
        setup,
        worker: worker(),
    })
}

fn since_1970() -> Duration {
    // This only fails if the clock is before 1970.
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// A random number of this thread. A worker is a thread, or a process in
/// which one thread calls functions.
fn worker() -> u64 {
    thread_local!(static NUMBER: u64 = fastrand::u64(..));
    NUMBER.with(|number| *number)
}

/// Puts the files of a folder into the store, in the order of their names.
async fn store_images(
    folder: &Path,
) -> Result<Vec<wren::Ref<Vec<u8>>>, Box<dyn Error>> {
    let unreadable =
        |e| format!("cannot read the folder {}: {e}", folder.display());
    let entries = std::fs::read_dir(folder).map_err(unreadable)?;
    let mut paths = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<std::io::Result<Vec<_>>>()
        .map_err(unreadable)?;
    paths.sort();
    let mut images = Vec::new();
    for path in paths {
        let file = std::fs::read(&path)
            .map_err(|e| format!("cannot read {}: {e}", path.display()))?;
        images.push(wren::put(&file).await?);
    }
    if images.len() < 2 {
        return Err(format!(
            "{} has {} images; a classifier needs at least two",
            folder.display(),
            images.len()
        )
        .into());
    }
    Ok(images)
}

/// The result of a task, and when the driver had it.
struct Fetched {
    task: usize,
    described: Described,
    fetched: Duration,
}

impl Fetched {
    /// Seconds from the end of the function to the arrival of its result in
    /// the driver.
    fn fetch(&self) -> f64 {
        self.fetched.saturating_sub(self.described.ended).as_secs_f64()
    }

    fn featurization(&self) -> f64 {
        (self
            .described
            .ended
            .saturating_sub(self.described.started + self.described.setup))
        .as_secs_f64()
    }
}

/// For each task, how long its worker waited for it: since the job started,
/// or since the worker's previous task ended.
fn start_latencies(tasks: &[Fetched], job: Duration) -> Vec<f64> {
    let mut in_order: Vec<&Described> =
        tasks.iter().map(|task| &task.described).collect();
    in_order.sort_by_key(|described| described.started);
    let mut free_since = HashMap::new();
    let waited = in_order.into_iter().map(|described| {
        let free = free_since
            .insert(described.worker, described.ended)
            .unwrap_or(job);
        described.started.saturating_sub(free).as_secs_f64()
    });
    waited.collect()
}

#[wren::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let tasks: usize = args.next().map_or(Ok(96), |arg| arg.parse())?;
    let folder = args.next().unwrap_or_else(|| {
        concat!(env!("CARGO_MANIFEST_DIR"), "/data/images").to_owned()
    });
    let images = store_images(folder.as_ref()).await?;
    let classes = images.len();
    // The classifier cannot learn a class if all of its views are held out.
    let rounds = tasks.div_ceil(classes);
    if rounds < 2 {
        return Err(format!("{tasks} tasks are too few; use at least {}, two for each image", 2 * classes).into());
    }

    let job = since_1970();
    let calls = |task: usize| {
        describe(
            images[task % classes].clone(),
            (task / classes) as u64 * VIEWS,
        )
    };
    // As in the paper, each task is sent on its own.
    let mut outcomes = wren::map(calls, 0..tasks).chunk(1).stream();
    let mut fetched = Vec::new();
    while let Some((task, outcome)) = outcomes.next().await {
        let task = task as usize;
        fetched.push(Fetched {
            task,
            described: outcome?,
            fetched: since_1970(),
        });
    }

    // The last quarter of each image's tasks is held out.
    let training_rounds = rounds - rounds.div_ceil(4);
    fetched.sort_by_key(|fetched| fetched.task);
    let (training, held_out): (Vec<_>, Vec<_>) = fetched
        .iter()
        .partition(|fetched| fetched.task / classes < training_rounds);
    let samples = |tasks: &[&Fetched]| -> Vec<(Vec<f32>, usize)> {
        let of_task = |t: &&Fetched| {
            let class = t.task % classes;
            t.described
                .views
                .iter()
                .map(|view| (view.clone(), class))
                .collect::<Vec<_>>()
        };
        tasks.iter().flat_map(of_task).collect()
    };
    let (training, held_out) = (samples(&training), samples(&held_out));
    let borrowed: Vec<(&[f32], usize)> =
        training.iter().map(|(view, class)| (&view[..], *class)).collect();
    let mut fits = Vec::new();
    let mut classifier = Err("the classifier was not fitted".to_owned());
    for _ in 0..FITS {
        let clock = Instant::now();
        classifier = Ridge::fit(&borrowed, classes, PENALTY);
        fits.push(clock.elapsed().as_secs_f64());
    }
    let classifier = classifier?;

    println!(
        "{} views of {classes} images, {FEATURES} features each, by {tasks} tasks\n",
        tasks as u64 * VIEWS
    );
    println!("{:<22} {:>12} {:>12}", "phase", "mean", "std");
    let of_tasks =
        |value: fn(&Fetched) -> f64| Spread::of(fetched.iter().map(value));
    let rows = [
        ("start latency", Spread::of(start_latencies(&fetched, job))),
        ("setup", of_tasks(|task| task.described.setup.as_secs_f64())),
        ("featurization", of_tasks(Fetched::featurization)),
        ("result fetch", of_tasks(Fetched::fetch)),
        ("fit linear classifier", Spread::of(fits)),
    ];
    for (phase, Spread { mean, std, .. }) in rows {
        println!(
            "{phase:<22} {:>9.2} ms {:>9.2} ms",
            1e3 * mean,
            1e3 * std
        );
    }
    let right = held_out
        .iter()
        .filter(|(view, class)| classifier.classify(view) == *class)
        .count();
    println!(
        "\nheld-out accuracy: {:.1}% of {} views",
        100.0 * right as f64 / held_out.len() as f64,
        held_out.len()
    );
    Ok(())
}
