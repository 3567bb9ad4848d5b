use wren::kv::{Kv, Params};

/// The learning rate: the size of a step.
const RATE: f64 = 0.1;

/// Makes one pass over `points`. For each point, it pulls the two parameters of the line (slope and intercept) and
/// pushes a step that moves the line closer to the point. Other processes update the same parameters at the same time.
#[wren::remote]
fn pass(line: Params<f64>, points: &[(f64, f64)]) -> wren::Result<()> {
    for (x, y) in points {
        let numbers = line.pull()?;
        let error = numbers[0] * x + numbers[1] - y;
        line.push(0, &[-RATE * error * x, -RATE * error])?;
    }
    Ok(())
}

/// Returns points near the line with slope 3 and intercept -2.
fn points() -> Vec<(f64, f64)> {
    let near = |i: u32| {
        let x = f64::from(i * 7 % 400) / 200.0;
        (x, 3.0 * x - 2.0 + 0.1 * f64::from(i).sin())
    };
    (0..400).map(near).collect()
}

/// Fits a line to the points with four concurrent calls, and returns its slope and its intercept.
async fn fit(kv: &Kv, points: &[(f64, f64)]) -> wren::Result<(f64, f64)> {
    // The name contains the process id, so that two concurrent runs do not share parameters.
    let line = Params::create(kv, &format!("line-{}", std::process::id()), &[0.0, 0.0])?;
    let parts: Vec<_> = points.chunks(points.len().div_ceil(4)).collect();
    for _ in 0..10 {
        wren::map(|part| pass(line.clone(), part), &parts).await?;
    }
    let numbers = line.pull()?;
    line.delete()?;
    Ok((numbers[0], numbers[1]))
}

#[wren::main]
async fn main() -> wren::Result<()> {
    let (slope, start) = fit(&wren::kv()?, &points()).await?;
    println!("y is about {slope:.1} x {start:+.1}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Under `cargo test`, remote calls run on threads of the test process.
    #[test]
    fn the_line_is_found() -> wren::Result<()> {
        let (slope, start) = wren::block_on(fit(&wren::kv()?, &points()))?;
        assert!(
            (slope - 3.0).abs() < 0.2 && (start + 2.0).abs() < 0.2,
            "{slope} {start}"
        );
        Ok(())
    }
}
