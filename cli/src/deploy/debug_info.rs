//! Leaves debug information out of the deployed copy of a program.

use std::borrow::Cow;

use object::Endianness;
use object::elf::{FileHeader64, SHF_ALLOC, SHT_NOBITS, SHT_NULL, SectionHeader64};
use object::pod::{bytes_of, bytes_of_slice, from_bytes};
use object::read::elf::{ElfFile64, FileHeader, ProgramHeader, SectionHeader};

/// Alignment of the table of sections.
const TABLE_ALIGN: u64 = 8;

/// Returns the program, without its debug information if it has more than `most` bytes otherwise.
///
/// Smaller programs keep theirs, because backtraces take the numbers of lines from it.
pub(crate) fn fitting(program: &[u8], most: u64) -> Cow<'_, [u8]> {
    let is_too_large = program.len() as u64 > most;
    let smaller = if is_too_large { without(program) } else { None };
    smaller.map_or(Cow::Borrowed(program), Cow::Owned)
}

/// Returns a copy of a program without its debug information; `None` if it has none, or is not an ELF file.
///
/// The part that is loaded into memory stays as it is, byte by byte. The sections after it are copied, except those of
/// debug information. Those become empty, so that the numbers of the other sections stay the same.
fn without(program: &[u8]) -> Option<Vec<u8>> {
    let file = ElfFile64::<Endianness>::parse(program).ok()?;
    let endian = file.endian();
    let mut header: FileHeader64<Endianness> = *file.elf_header();
    let table = file.elf_section_table();
    let mut sections: Vec<SectionHeader64<Endianness>> = table.iter().copied().collect();

    let in_segments = file.elf_program_headers().iter().map(|segment| {
        let (offset, size) = segment.file_range(endian);
        offset.checked_add(size)
    });
    let headers = u64::from(header.e_phnum(endian)).checked_mul(u64::from(header.e_phentsize(endian)));
    let headers = headers.and_then(|size| header.e_phoff(endian).checked_add(size));
    let end = in_segments.chain([headers]).try_fold(size_of_val(&header) as u64, |end, part| Some(end.max(part?)))?;
    let mut stripped = program.get(..usize::try_from(end).ok()?)?.to_vec();

    let mut removed = false;
    for (section, original) in sections.iter_mut().zip(table.iter()) {
        let is_loaded = original.sh_flags(endian).contains(SHF_ALLOC);
        let kind = original.sh_type(endian);
        if is_loaded || kind == SHT_NULL || kind == SHT_NOBITS {
            continue;
        }
        if is_debug(table.section_name(endian, original).ok()?) {
            *section =
                *from_bytes::<SectionHeader64<Endianness>>(&[0; size_of::<SectionHeader64<Endianness>>()]).ok()?.0;
            removed = true;
            continue;
        }
        align(&mut stripped, original.sh_addralign(endian))?;
        section.sh_offset.set(endian, stripped.len() as u64);
        stripped.extend_from_slice(original.data(endian, program).ok()?);
    }
    align(&mut stripped, TABLE_ALIGN)?;
    header.e_shoff.set(endian, stripped.len() as u64);
    stripped.extend_from_slice(bytes_of_slice(&sections));
    stripped.get_mut(..size_of_val(&header))?.copy_from_slice(bytes_of(&header));
    removed.then_some(stripped)
}

fn is_debug(name: &[u8]) -> bool {
    name.starts_with(b".debug_") || name.starts_with(b".zdebug_") || name == b".gdb_index"
}

/// Appends zeros up to a multiple of `align`, which may be 0 or 1 for none. Fails for an alignment that no linker uses.
fn align(bytes: &mut Vec<u8>, align: u64) -> Option<()> {
    let align = usize::try_from(align.max(1)).ok().filter(|align| align.is_power_of_two() && *align <= 1 << 20)?;
    bytes.resize(bytes.len().checked_next_multiple_of(align)?, 0);
    Some(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::process::Command;

    use object::{Object, ObjectSection, ObjectSymbol};

    use super::*;
    use crate::deploy::elf;
    use crate::deploy::elf::tests::damaged;

    /// Returns a program with debug information.
    fn program() -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let (source, path) = (folder.path().join("shown.rs"), folder.path().join("shown"));
        let text = "#[inline(never)]\nfn shown(n: usize) { println!(\"{n} arguments\") }\n\
                    fn main() { shown(std::env::args().count()) }";
        fs::write(&source, text).unwrap();
        let compiled =
            Command::new("rustc").args(["-C", "debuginfo=2", "-o"]).arg(&path).arg(&source).status().unwrap();
        assert!(compiled.success());
        fs::read(path).unwrap()
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_stripped_program_runs_and_has_its_symbols() {
        let program = program();
        let stripped = without(&program).unwrap();
        assert!(stripped.len() < program.len() / 2, "{} of {} bytes are left", stripped.len(), program.len());
        let file = object::File::parse(&*stripped).unwrap();
        let debug = file.sections().filter(|section| section.name_bytes().is_ok_and(is_debug));
        let names: Vec<_> = debug.map(|section| section.name().unwrap().to_owned()).collect();
        assert!(names.iter().all(|name| name == ".debug_gdb_scripts"), "this one is loaded into memory: {names:?}");
        assert!(file.symbols().any(|symbol| symbol.name().is_ok_and(|name| name.contains("shown"))));
        assert_eq!(elf::check(&stripped, elf::tests::HERE), elf::check(&program, elf::tests::HERE));
        assert_eq!(without(&stripped), None, "there is nothing left to remove");

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stripped");
        fs::write(&path, &stripped).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let output = Command::new(&path).arg("one").output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "2 arguments\n");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn only_programs_that_are_too_large_lose_it() {
        let program = program();
        let most = program.len() as u64;
        assert!(matches!(fitting(&program, most), Cow::Borrowed(_)));
        assert!(fitting(&program, most - 1).len() < program.len() / 2);
        assert_eq!(&*fitting(b"no program", 1), b"no program");
    }

    #[test]
    fn damaged_programs_do_not_panic() {
        damaged(|bytes| drop(without(bytes)));
    }
}
