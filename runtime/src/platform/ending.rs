//! Registers functions to call when the program exits.

/// Registers a function that is called when this program ends normally.
pub(crate) fn at_exit(act: extern "C" fn()) {
    // SAFETY: the function lives as long as the program. If the system has no room for it, the function is not called.
    unsafe {
        libc::atexit(act);
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, exit};

    const ASKED: &str = "AT_EXIT_OF_TEST";

    extern "C" fn say() {
        println!("at exit");
    }

    #[test]
    fn exit_handlers_run_at_exit() {
        if std::env::var_os(ASKED).is_some() {
            super::at_exit(say);
            exit(0);
        }
        let mut this = Command::new(std::env::current_exe().unwrap());
        this.args(["--exact", "--nocapture", "platform::ending::tests::exit_handlers_run_at_exit"]);
        let output = this.env(ASKED, "1").output().unwrap();
        assert!(String::from_utf8_lossy(&output.stdout).ends_with("at exit\n"), "{output:?}");
    }
}
