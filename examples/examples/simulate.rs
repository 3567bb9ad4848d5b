//! Predicts the time and cost of ten thousand calls of five minutes on AWS
//! Lambda: with the default concurrency of an account, with room for all of
//! them, and with PyWren in 2017. The program only runs a simulation.
//!
//!     cargo run --release -p examples --features sim \
//!         --example simulate -- [tasks] [seconds]

use std::time::Instant;

use wren::sim::{Model, Workload, predict};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let tasks: u64 = arguments.next().map_or(Ok(10_000), |n| n.parse())?;
    let seconds: f64 = arguments.next().map_or(Ok(300.0), |s| s.parse())?;

    // ANCHOR: predict
    let wide = Model::today().with_concurrency(10_000);
    let mut side_by_side = wide.clone();
    side_by_side.functions = 10;
    let models = [
        ("PyWren, 2017", Model::pywren_2017()),
        ("today, a usual account", Model::today()),
        ("today, room for 10000", wide),
        ("the same, by 10 functions", side_by_side),
    ];
    println!("{tasks} calls of {seconds} s");
    for (name, model) in models {
        let prediction =
            predict(&model, &Workload::new(tasks, seconds), 5, 42);
        let wall = prediction.wall_s;
        let limit = prediction.limited_by();
        println!(
            "{name:<26} {:>6.1} s ({:.1}–{:.1}), {:.2} dollars",
            wall.middle, wall.low, wall.high, prediction.usd.middle,
        );
        println!(
            "    {:.0}% efficient, limited by {}",
            100.0 * prediction.efficiency.middle,
            limit.map_or("the calls themselves", |limit| limit.name()),
        );
    }
    // ANCHOR_END: predict

    let (tasks, seconds) = (10 * tasks, seconds / 10.0);
    let start = Instant::now();
    let run = wren::sim::simulate(
        &Model::today(),
        &Workload::new(tasks, seconds),
        42,
    );
    println!(
        "a run of {tasks} calls of {seconds} s was simulated in {:.1} s",
        start.elapsed().as_secs_f64()
    );
    println!(
        "{} of {tasks} calls are done after {:.0} s",
        run.done, run.wall_s
    );
    Ok(())
}
