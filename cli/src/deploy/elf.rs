//! Checks before the upload that a program will start on Lambda. Reads its requirements from its ELF headers.
//!
//! Functions run in Lambda's `provided.al2023`: Amazon Linux 2023 with glibc 2.34 and few packages.

mod refusal;

use std::collections::BTreeMap;
use std::fmt;

use object::Endianness;
use object::elf::{
    self, DF_1_PIE, DT_FLAGS_1, DT_NEEDED, ET_DYN, ET_EXEC, FileHeader64, PT_INTERP, VER_FLG_WEAK, VersionIndex,
};
use object::read::elf::{ElfFile64, FileHeader, ProgramHeader, Sym};

use super::Arch;
pub(crate) use refusal::Refusal;

/// The glibc of Amazon Linux 2023 ("Amazon Linux 2023 user guide: Comparing AL2 and AL2023").
pub(crate) const GLIBC: Glibc = Glibc(2, 34);

/// Shared libraries that `provided.al2023` always has: the parts of glibc, and those of GCC's packages `libgcc` and
/// `libstdc++`.
const PRESENT: [&str; 11] = [
    "ld-linux-aarch64.so.1",
    "ld-linux-x86-64.so.2",
    "libc.so.6",
    "libdl.so.2",
    "libgcc_s.so.1",
    "libm.so.6",
    "libpthread.so.0",
    "libresolv.so.2",
    "librt.so.1",
    "libstdc++.so.6",
    "libutil.so.1",
];

/// A version of glibc.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Glibc(pub(crate) u32, pub(crate) u32);

impl Glibc {
    /// Parses the name of a symbol version, such as `GLIBC_2.34`.
    fn of(name: &str) -> Option<Self> {
        let mut numbers = name.strip_prefix("GLIBC_")?.split('.').map(|number| number.parse().ok());
        Some(Self(numbers.next()??, numbers.next()??))
    }
}

impl fmt::Display for Glibc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// The requirements of a program that can be deployed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Needs {
    /// The newest version of glibc that a symbol requires; `None` for a static program.
    pub(crate) glibc: Option<Glibc>,
    pub(crate) libraries: Vec<String>,
}

type File<'a> = ElfFile64<'a, Endianness>;

/// Reads a program's requirements, and fails if the program would not start.
pub(crate) fn check(program: &[u8], wanted: Arch) -> Result<Needs, Refusal> {
    if !program.starts_with(&elf::ELFMAG) {
        return Err(Refusal::NotElf("it does not start with the ELF magic number".to_owned()));
    }
    if program.get(4) == Some(&1) {
        return Err(Refusal::Narrow);
    }
    let unreadable = |e: object::read::Error| Refusal::NotElf(e.to_string());
    let header = FileHeader64::<Endianness>::parse(program).map_err(unreadable)?;
    let machine = header.e_machine(header.endian().map_err(unreadable)?);
    if machine != wanted.machine() {
        let name = if machine == elf::EM_X86_64 { "x86_64" } else { "arm64" };
        let known = machine == elf::EM_X86_64 || machine == elf::EM_AARCH64;
        let found = if known { name.to_owned() } else { format!("another processor (machine {})", machine.0) };
        return Err(Refusal::WrongMachine { found, wanted });
    }
    let file = File::parse(program).map_err(unreadable)?;
    if !is_program(&file).map_err(unreadable)? {
        return Err(Refusal::NotExecutable);
    }
    let loader = interpreter(&file).map_err(unreadable)?;
    if let Some(path) = loader.filter(|path| path != wanted.loader()) {
        return Err(Refusal::Loader { path, wanted: wanted.loader() });
    }
    let libraries = libraries(&file).map_err(unreadable)?;
    let missing: Vec<_> = libraries.iter().filter(|name| !PRESENT.contains(&name.as_str())).cloned().collect();
    if !missing.is_empty() {
        return Err(Refusal::Missing { libraries: missing });
    }
    let Versions { glibc, newer_cpp } = versions(&file).map_err(unreadable)?;
    let needs = glibc.keys().next_back().copied();
    let newer = glibc.into_iter().filter(|(version, _)| *version > GLIBC).flat_map(|(_, symbols)| symbols);
    let symbols: Vec<_> = newer.chain(newer_cpp).collect();
    if !symbols.is_empty() {
        return Err(Refusal::NewGlibc { needs: needs.unwrap_or(GLIBC), symbols });
    }
    Ok(Needs { glibc: needs, libraries })
}

/// Returns whether the file is a program. A position-independent program has the type of a library, but also an
/// interpreter or a flag.
fn is_program(file: &File<'_>) -> object::read::Result<bool> {
    let endian = file.endian();
    let kind = file.elf_header().e_type(endian);
    if kind != ET_DYN {
        return Ok(kind == ET_EXEC);
    }
    let interpreted = file.elf_program_headers().iter().any(|header| header.p_type(endian) == PT_INTERP);
    let pie = file.elf_dynamic_table()?.iter().any(|d| d.tag == DT_FLAGS_1 && d.val & DF_1_PIE.0 != 0);
    Ok(interpreted || pie)
}

/// Returns the path of the dynamic loader; `None` for a static program.
fn interpreter(file: &File<'_>) -> object::read::Result<Option<String>> {
    for header in file.elf_program_headers() {
        if let Some(path) = header.interpreter(file.endian(), file.data())? {
            return Ok(Some(String::from_utf8_lossy(path).into_owned()));
        }
    }
    Ok(None)
}

fn libraries(file: &File<'_>) -> object::read::Result<Vec<String>> {
    let table = file.elf_dynamic_table()?;
    let needed = table.iter().filter(|d| d.tag == DT_NEEDED);
    needed.map(|d| Ok(String::from_utf8_lossy(table.string(d)?).into_owned())).collect()
}

/// Imported symbols by the library version that they require.
#[derive(Default)]
struct Versions {
    glibc: BTreeMap<Glibc, Vec<String>>,
    /// Symbols that require a newer libstdc++ than that of Amazon Linux 2023.
    newer_cpp: Vec<String>,
}

/// Reads which symbols require which version. Skips weak requirements: those versions may be missing.
fn versions(file: &File<'_>) -> object::read::Result<Versions> {
    let (endian, sections) = (file.endian(), file.elf_section_table());
    let mut versions = Versions::default();
    let Some((mut needs, link)) = sections.gnu_verneed(endian, file.data())? else {
        return Ok(versions);
    };
    let strings = sections.strings(endian, file.data(), link)?;
    while let Some((library, mut needed)) = needs.next()? {
        let library = String::from_utf8_lossy(library.file(endian, strings)?);
        while let Some(version) = needed.next()? {
            if version.vna_flags.get(endian).contains(VER_FLG_WEAK) {
                continue;
            }
            let name = String::from_utf8_lossy(version.name(endian, strings)?);
            let described = || -> object::read::Result<Vec<String>> {
                let symbols = symbols_of(file, version.vna_other(endian).index())?;
                Ok(symbols.into_iter().map(|symbol| format!("{symbol} ({library}, {name})")).collect())
            };
            if let Some(version) = Glibc::of(&name) {
                versions.glibc.entry(version).or_default().extend(described()?);
            } else if is_newer_than_gcc_11(&name) {
                versions.newer_cpp.extend(described()?);
            }
        }
    }
    Ok(versions)
}

/// Returns the imported symbols of a version.
fn symbols_of(file: &File<'_>, version: VersionIndex) -> object::read::Result<Vec<String>> {
    let endian = file.endian();
    let symbols = file.elf_dynamic_symbol_table();
    let Some((of_symbols, _)) = file.elf_section_table().gnu_versym(endian, file.data())? else {
        return Ok(Vec::new());
    };
    let of_version = |index: usize| of_symbols.get(index).is_some_and(|of| of.0.get(endian).index() == version);
    let named = symbols.enumerate().filter(|(index, _)| of_version(index.0));
    named.map(|(_, symbol)| Ok(String::from_utf8_lossy(symbol.name(endian, symbols.strings())?).into_owned())).collect()
}

/// Returns whether a symbol version is missing in GCC 11's libstdc++, which is that of Amazon Linux 2023 ("libstdc++:
/// ABI policy and guidelines").
fn is_newer_than_gcc_11(version: &str) -> bool {
    let above = |prefix: &str, last: [u32; 3]| {
        let numbers = version.strip_prefix(prefix)?.split('.').map(str::parse);
        Some(numbers.collect::<Result<Vec<u32>, _>>().ok()?.as_slice() > last.as_slice())
    };
    above("GLIBCXX_", [3, 4, 29]).or_else(|| above("CXXABI_", [1, 3, 13])).unwrap_or(false)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Returns the executable of these tests.
    pub(crate) fn own() -> Vec<u8> {
        std::fs::read(std::env::current_exe().unwrap()).unwrap()
    }

    /// Passes copies of an executable with random damage, always the same copies.
    pub(crate) fn damaged(mut take: impl FnMut(&[u8])) {
        let own = own();
        let mut random = fastrand::Rng::with_seed(7);
        // The headers, the dynamic section and the tables are near the start and the end of a file.
        let mut bytes = own[..own.len().min(1 << 16)].to_vec();
        bytes.extend_from_slice(&own[own.len().saturating_sub(1 << 16)..]);
        for _ in 0..2_000 {
            let mut damaged = bytes.clone();
            for _ in 0..random.usize(1..8) {
                let at = random.usize(0..4_096);
                damaged[at] = random.u8(..);
            }
            take(&damaged);
        }
    }

    pub(crate) const HERE: Arch = if cfg!(target_arch = "aarch64") { Arch::Arm64 } else { Arch::X86_64 };

    #[test]
    #[cfg(target_os = "linux")]
    fn needs_of_a_local_program_are_read() {
        let bytes = own();
        let file = File::parse(&*bytes).unwrap();
        assert!(is_program(&file).unwrap());
        assert!(libraries(&file).unwrap().contains(&"libc.so.6".to_owned()));
        let Versions { glibc, newer_cpp } = versions(&file).unwrap();
        assert!(newer_cpp.is_empty(), "{newer_cpp:?}");
        let symbols: Vec<_> = glibc.into_values().flatten().collect();
        assert!(symbols.iter().any(|symbol| symbol.starts_with("malloc (libc.so.6, GLIBC_2.")), "{symbols:?}");
    }

    #[test]
    fn unsuitable_files_are_refused() {
        let refusal = |bytes: &[u8], arch| check(bytes, arch).unwrap_err();
        assert!(matches!(refusal(b"#!/bin/sh\n", HERE), Refusal::NotElf(_)));
        assert!(matches!(refusal(b"", HERE), Refusal::NotElf(_)));
        let mut bytes = own();
        for length in [4, 16, 63, 64, 200, bytes.len() / 2] {
            assert!(matches!(refusal(&bytes[..length], HERE), Refusal::NotElf(_)), "{length}");
        }
        let other = if HERE == Arch::X86_64 { Arch::Arm64 } else { Arch::X86_64 };
        let wrong = refusal(&bytes, other);
        assert!(matches!(wrong, Refusal::WrongMachine { .. }), "{wrong}");
        assert!(wrong.to_string().contains(other.triple()), "{wrong}");
        // Set `e_machine` to RISC-V, then `e_type` to an object file, then the class to 32 bits.
        bytes[18] = 243;
        assert!(refusal(&bytes, HERE).to_string().contains("machine 243"));
        bytes[18..20].copy_from_slice(&HERE.machine().0.to_le_bytes());
        bytes[16] = 1;
        assert_eq!(refusal(&bytes, HERE), Refusal::NotExecutable);
        bytes[4] = 1;
        assert_eq!(refusal(&bytes, HERE), Refusal::Narrow);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn missing_libraries_are_named() {
        let bytes = replaced(own(), b"libc.so.6\0", b"libz.so.1\0");
        let refusal = check(&bytes, HERE).unwrap_err();
        assert_eq!(refusal, Refusal::Missing { libraries: vec!["libz.so.1".to_owned()] });
        assert!(refusal.to_string().contains("`vendored`"), "{refusal}");
    }

    #[test]
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    fn missing_loaders_are_named() {
        let elsewhere = HERE.loader().replace("/lib", "/nix");
        let refusal = check(&replaced(own(), HERE.loader().as_bytes(), elsewhere.as_bytes()), HERE).unwrap_err();
        assert_eq!(refusal, Refusal::Loader { path: elsewhere, wanted: HERE.loader() });
        assert!(refusal.may_be_fixed_by_another_build());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn symbols_of_a_newer_glibc_are_named() {
        match check(&with_new_glibc(own()), HERE).unwrap_err() {
            Refusal::NewGlibc { needs, symbols } => {
                assert_eq!(needs, Glibc(2, 39));
                assert!(symbols.iter().all(|symbol| symbol.contains("GLIBC_2.39")), "{symbols:?}");
                let text = Refusal::NewGlibc { needs, symbols: symbols.clone() }.to_string();
                assert!(text.contains(&symbols[0]) && text.contains("cargo-zigbuild"), "{text}");
            }
            other => panic!("{other}"),
        }
    }

    /// Random damage is rejected or harmless, and never causes a panic.
    #[test]
    fn damaged_headers_do_not_panic() {
        damaged(|bytes| drop(check(bytes, HERE)));
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        assert!(Glibc::of("GLIBC_2.4") < Glibc::of("GLIBC_2.34"));
        assert_eq!((Glibc::of("GLIBC_2.2.5"), Glibc::of("GLIBC_PRIVATE")), (Some(Glibc(2, 2)), None));
        assert!(is_newer_than_gcc_11("GLIBCXX_3.4.30") && !is_newer_than_gcc_11("GLIBCXX_3.4.9"));
        assert!(is_newer_than_gcc_11("CXXABI_1.3.14") && !is_newer_than_gcc_11("CXXABI_1.3"));
        assert!(!is_newer_than_gcc_11("GCC_3.0"));
    }

    /// Replaces a version that the program requires by one that Amazon Linux does not have.
    #[cfg(target_os = "linux")]
    pub(crate) fn with_new_glibc(program: Vec<u8>) -> Vec<u8> {
        let Versions { glibc, .. } = versions(&File::parse(&*program).unwrap()).unwrap();
        let old = *glibc.keys().find(|glibc| glibc.1 >= 10).unwrap();
        replaced(program, format!("GLIBC_{old}\0").as_bytes(), b"GLIBC_2.39\0")
    }

    #[cfg(target_os = "linux")]
    fn replaced(mut bytes: Vec<u8>, from: &[u8], to: &[u8]) -> Vec<u8> {
        assert_eq!(from.len(), to.len());
        // The names of libraries and versions are near the start of the file.
        let places: Vec<_> =
            (0..bytes.len().min(4 << 20) - from.len()).filter(|&i| bytes[i..].starts_with(from)).collect();
        assert!(!places.is_empty());
        places.into_iter().for_each(|i| bytes[i..i + to.len()].copy_from_slice(to));
        bytes
    }
}
