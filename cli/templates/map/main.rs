/// The number of steps of the Collatz sequence from `start` to 1.
#[wren::remote]
fn collatz(start: u64) -> u64 {
    let mut steps = 0;
    let mut n = start;
    while n != 1 {
        n = if n % 2 == 0 { n / 2 } else { 3 * n + 1 };
        steps += 1;
    }
    steps
}

#[wren::main]
async fn main() -> wren::Result<()> {
    // One call, awaited like any other: it runs in a worker process.
    let steps = collatz(27).await?;
    println!("from 27, it takes {steps} steps");

    // Many calls in one job, on all processors. The results are in the
    // order of the inputs.
    let all = wren::map(collatz, 1..1_000_000).await?;
    let longest = (1..).zip(&all).max_by_key(|(_, steps)| **steps);
    if let Some((start, steps)) = longest {
        println!("below one million, {start} takes most: {steps} steps");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_function_itself() {
        assert_eq!(collatz::local(27), 111);
    }

    /// Under `cargo test`, remote calls run on threads of the test process.
    #[test]
    fn a_job() -> wren::Result<()> {
        let steps = wren::block_on(wren::map(collatz, [1, 2, 3]))?;
        assert_eq!(steps, [0, 1, 7]);
        Ok(())
    }
}
