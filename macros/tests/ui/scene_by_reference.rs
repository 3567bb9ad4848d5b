struct Scene {
    spheres: Vec<f64>,
}

#[wren::remote]
fn render(row: u32, scene: &Scene) -> Vec<u8> {
    vec![scene.spheres[0] as u8; row as usize]
}

#[wren::main]
async fn main() -> wren::Result<()> {
    let scene = Scene { spheres: vec![1.0] };
    let rows = wren::map(|row| render(row, &scene), 0..10).await?;
    println!("{}", rows.concat().len());
    Ok(())
}
