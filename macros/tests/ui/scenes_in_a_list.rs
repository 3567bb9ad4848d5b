struct Scene {
    spheres: Vec<f64>,
}

#[wren::remote]
fn count(scenes: &[Option<Scene>]) -> usize {
    scenes.iter().flatten().map(|scene| scene.spheres.len()).sum()
}

fn main() {
    let _ = count(&[Some(Scene { spheres: vec![] })]);
}
