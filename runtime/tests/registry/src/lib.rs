//! A library with remote functions.

/// Public.
#[wren::remote]
pub fn fetch(shelf: u32) -> u32 {
    private::local(shelf)
}

#[wren::remote]
fn private(shelf: u32) -> u32 {
    shelf + 1
}

/// Contains a remote function.
pub fn nested() -> wren::Call<u32> {
    #[wren::remote]
    fn inside(x: u32) -> u32 {
        x
    }
    inside(1)
}

/// A module with a remote function.
pub mod upper {
    /// A function with all limits.
    #[wren::remote(memory = 2048, timeout = 1.5, retries = 2)]
    pub fn reach(name: &str, tags: &[String]) -> Result<String, std::fmt::Error> {
        Ok(format!("{name}{tags:?}"))
    }
}
