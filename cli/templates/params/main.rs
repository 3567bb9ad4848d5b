use wren::kv::{Kv, Params};

/// How far a step goes.
const RATE: f64 = 0.1;

/// One pass over some points: for each, pull the two numbers of the line, and push a step that brings
/// the line nearer to the point. Other processes change the same numbers meanwhile.
#[wren::remote]
fn pass(line: Params<f64>, points: &[(f64, f64)]) -> wren::Result<()> {
    for (x, y) in points {
        let numbers = line.pull()?;
        let error = numbers[0] * x + numbers[1] - y;
        line.push(0, &[-RATE * error * x, -RATE * error])?;
    }
    Ok(())
}

/// Points near a line of slope 3 through -2.
fn points() -> Vec<(f64, f64)> {
    let near = |i: u32| {
        let x = f64::from(i * 7 % 400) / 200.0;
        (x, 3.0 * x - 2.0 + 0.1 * f64::from(i).sin())
    };
    (0..400).map(near).collect()
}

/// The slope of the line that fits the points, and where it begins: found by four processes at once.
async fn fit(kv: &Kv, points: &[(f64, f64)]) -> wren::Result<(f64, f64)> {
    // A name of this process's own, so that two runs do not meet.
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

    /// Under `cargo test`, remote calls run on threads of the test.
    #[test]
    fn the_line_is_found() -> wren::Result<()> {
        let (slope, start) = wren::block_on(fit(&wren::kv()?, &points()))?;
        assert!((slope - 3.0).abs() < 0.2 && (start + 2.0).abs() < 0.2, "{slope} {start}");
        Ok(())
    }
}
