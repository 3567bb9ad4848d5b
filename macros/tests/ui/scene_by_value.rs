struct Scene {
    spheres: Vec<f64>,
}

#[wren::remote]
fn render(scene: Scene, row: u32) -> Vec<u8> {
    vec![scene.spheres[0] as u8; row as usize]
}

#[wren::main]
async fn main() -> wren::Result<()> {
    println!("{:?}", render(Scene { spheres: vec![1.0] }, 7).await?);
    Ok(())
}
