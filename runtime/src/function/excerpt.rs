//! The start of a value as text.

use std::fmt::{self, Write};

use super::types::DebugFn;

/// Maximum length of an excerpt, in bytes.
const LONGEST: usize = 1_000;

/// The start of a result as its `Debug` writes it.
#[derive(Debug, Default)]
pub(crate) struct Excerpt {
    text: String,
    is_cut: bool,
}

impl Excerpt {
    /// Replaces the excerpt by that of a value.
    pub(super) fn fill<T>(&mut self, value: &T, debug: DebugFn<T>) {
        *self = Self::default();
        let written = write!(self, "{}", fmt::from_fn(|f| debug(value, f)));
        if written.is_err() && !self.is_cut {
            // `Debug` of this type failed.
            *self = Self::default();
        }
    }

    /// Returns the text, which is empty if the type has no `Debug`.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }
}

impl Write for Excerpt {
    /// Fails at the maximum length, so that `Debug` of a large value ends early.
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.is_cut {
            return Err(fmt::Error);
        }
        let space = LONGEST.saturating_sub(self.text.len());
        if text.len() > space {
            self.text.push_str(&text[..text.floor_char_boundary(space)]);
            self.text.push('…');
            self.is_cut = true;
            return Err(fmt::Error);
        }
        self.text.push_str(text);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::function::types::{Any as _, Type};

    struct Failing;

    impl fmt::Debug for Failing {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("half")?;
            Err(fmt::Error)
        }
    }

    fn excerpt<T: fmt::Debug>(value: &T) -> String {
        let mut excerpt = Excerpt::default();
        excerpt.fill(value, T::fmt);
        excerpt.text
    }

    #[test]
    fn values_are_shown_as_debug_writes_them() {
        assert_eq!(excerpt(&Some("a\nb")), r#"Some("a\nb")"#);
        assert_eq!((excerpt(&()), excerpt(&1.0f64)), ("()".into(), "1.0".into()));
        assert_eq!(excerpt(&Failing), "");
    }

    #[test]
    fn a_large_value_is_written_only_in_part() {
        thread_local!(static WRITTEN: Cell<u32> = const { Cell::new(0) });

        struct Part;

        impl fmt::Debug for Part {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                WRITTEN.set(WRITTEN.get() + 1);
                f.write_str("äöü")
            }
        }

        let text = excerpt(&(0..100_000).map(|_| Part).collect::<Vec<_>>());
        assert!(text.starts_with("[äöü, äöü") && text.ends_with('…') && text.len() <= LONGEST + 3, "{text}");
        assert!(WRITTEN.get() < 200);
    }

    #[test]
    fn types_without_debug_have_none() {
        struct Silent;
        assert!(Type::of(&Silent).debug().is_none() && Type::of(&Failing).debug().is_some());
    }
}
