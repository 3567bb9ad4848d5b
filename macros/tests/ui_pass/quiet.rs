//! No annotation causes a warning, even with the strictest lints.
#![deny(warnings, missing_docs, unused, clippy::all, unreachable_pub)]

use std::borrow::Cow;
use std::path::Path;

/// Public and documented.
#[wren::remote(memory = 100, timeout = 0.5, retries = 3)]
pub fn public(a: u32, (b, c): (u32, u32), mut d: Vec<u32>) -> u32 {
    d.push(a + b + c);
    d.iter().sum()
}

#[wren::remote]
fn private_and_mapped(_: u32) {}

#[wren::remote]
async fn borrowing<'a>(name: &'a str, cow: Cow<'a, str>, path: &Path, bytes: &[u8], maybe: Option<&str>) -> String {
    format!("{name}{cow}{}{bytes:?}{maybe:?}", path.display())
}

mod inner {
    #[wren::remote]
    pub(super) fn visible_above() -> Result<Vec<u8>, String> {
        Err("no".to_owned())
    }
}

#[cfg(any())]
mod absent {
    pub struct Missing;
}

#[cfg(any())]
#[wren::remote]
fn compiled_out(x: absent::Missing) {}

#[wren::main]
async fn main() -> wren::Result<()> {
    let _ = (public(1, (2, 3), vec![]), wren::map(private_and_mapped, 0..2), inner::visible_above());
    let _ = borrowing("a", "b".into(), Path::new("c"), b"d", None);
    Ok(())
}
