//! The names of a deployment's resources in AWS.

use std::fmt;

use anyhow::{Result, bail};

/// Maximum length of a deployment's name. The names of functions and roles contain it, and may have at most 64
/// characters.
const LONGEST: usize = 32;

/// The name of a deployment: `a-z`, `0-9` and `-`. The names of all of its resources contain it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Name(String);

impl Name {
    /// Checks a name that the user gave.
    pub(crate) fn given(name: &str) -> Result<Self> {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let ends = name.starts_with('-') || name.ends_with('-');
        if name.is_empty() || name.len() > LONGEST || !name.chars().all(allowed) || ends {
            bail!(
                "`{name}` is not a valid name for a deployment; use 1 to {LONGEST} characters of a-z, 0-9 and -, \
                 without a - at either end, as in `--name sweep`"
            );
        }
        Ok(Self(name.to_owned()))
    }

    /// Returns the default name for a program's deployment. A name that would be too long is cut, and ends with a hash
    /// of the whole name.
    pub(crate) fn of_program(package: &str, program: &str) -> Self {
        let whole = if package == program { package.to_owned() } else { format!("{package}-{program}") };
        let shape = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
        let shaped: String = whole.chars().map(shape).collect();
        let shaped = shaped.trim_matches('-');
        if shaped.len() <= LONGEST && !shaped.is_empty() {
            return Self(shaped.to_owned());
        }
        let hash = whole
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        let beginning = shaped.get(..LONGEST - 9).unwrap_or("program").trim_end_matches('-');
        Self(format!("{beginning}-{:08x}", hash as u32))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn role(&self, region: &str) -> String {
        format!("wren-{self}-{region}")
    }

    pub(crate) fn lambda(&self, memory_mb: u32, timeout_s: u32) -> String {
        format!("wren-{self}-{memory_mb}mb-{timeout_s}s")
    }

    /// Returns whether [`lambda`](Self::lambda) of this deployment can return that name. This is true for at most one
    /// deployment.
    pub(crate) fn has_lambda(&self, name: &str) -> bool {
        let rest = name.strip_prefix("wren-").and_then(|rest| rest.strip_prefix(&self.0)?.strip_prefix('-'));
        let limits = rest.and_then(|rest| rest.strip_suffix('s')?.split_once("mb-"));
        let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        limits.is_some_and(|(memory, timeout)| number(memory) && number(timeout))
    }

    /// Returns the ID of its rule in the bucket's lifecycle configuration.
    pub(crate) fn rule(&self) -> String {
        format!("wren-{self}")
    }

    /// Returns the prefix of the keys of its objects.
    pub(crate) fn prefix(&self) -> String {
        format!("{self}/")
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Returns the name of the bucket for all deployments of an account in a region.
pub(crate) fn bucket(account: &str, region: &str) -> String {
    format!("wren-{account}-{region}")
}

/// Returns the name of the log group that contains the output of a function.
pub(crate) fn log_group(lambda: &str) -> String {
    format!("/aws/lambda/{lambda}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn program_names_are_valid_on_aws() {
        let name = |package, program| Name::of_program(package, program).0;
        assert_eq!(name("examples", "pi"), "examples-pi");
        assert_eq!(name("sweep", "sweep"), "sweep");
        assert_eq!(name("My_Package", "main"), "my-package-main");
        assert_eq!(name("größe", "größe"), "gr--e");
        let long = name("a-package-with-a-long-name", "and-a-program-too");
        assert_eq!((long.len(), &long[..24]), (32, "a-package-with-a-long-n-"));
        assert_ne!(long, name("a-package-with-a-long-name", "and-another-program"));
        for (package, program) in [("_", "_"), ("ü", "ü"), ("a-package-with-a-long-name-é", "é")] {
            let name = Name::of_program(package, program);
            assert_eq!(Name::given(name.as_str()).unwrap(), name);
        }
    }

    #[test]
    fn given_names_are_checked() {
        for good in ["a", "sweep-2", &"x".repeat(32)] {
            assert_eq!(Name::given(good).unwrap().as_str(), good);
        }
        for bad in ["", "-a", "a-", "Sweep", "a_b", "a/b", "ü", &"x".repeat(33)] {
            assert!(Name::given(bad).unwrap_err().to_string().contains("--name"), "{bad}");
        }
    }

    #[test]
    fn the_longest_names_fit() {
        let name = Name::given(&"x".repeat(LONGEST)).unwrap();
        assert!(name.lambda(10_240, 900).len() <= 64 && name.role("ap-southeast-99").len() <= 64);
        assert!(bucket("123456789012", "ap-southeast-99").len() <= 63);
    }

    #[test]
    fn no_function_belongs_to_two_deployments() {
        let (short, long) = (Name::given("a").unwrap(), Name::given("a-512mb-70s").unwrap());
        for name in [&short, &long] {
            assert!(name.has_lambda(&name.lambda(1769, 900)));
        }
        assert!(!short.has_lambda(&long.lambda(1769, 900)) && !long.has_lambda(&short.lambda(512, 70)));
        for other in ["wren-a-", "wren-a-mb-s", "wren-a-5mb-5", "wren-ab-5mb-5s", "a-5mb-5s", "wren-a-5mb-5s-old"] {
            assert!(!short.has_lambda(other), "{other}");
        }
    }
}
