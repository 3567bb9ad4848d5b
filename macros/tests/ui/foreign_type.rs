use std::process::Command;

#[wren::remote]
fn run(command: &Command) -> usize {
    command.get_args().len()
}

fn main() {
    let _ = run(&Command::new("ls"));
}
