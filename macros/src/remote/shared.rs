//! Finds the types in a signature that may share a value between threads, such as `Arc<Mutex<T>>`. A worker gets a copy,
//! so such a type is a mistake.
//!
//! The macro sees names only, and `Counter` may be an alias of `Arc<Mutex<u64>>`. So it generates a check of each type
//! that the signature names, and the compiler decides by the type: see `runtime/src/function/roles.rs`.

use syn::visit::{self, Visit};
use syn::{GenericArgument, PathArguments, Type, TypePath};

/// Returns the types to check in the type of an argument.
pub(super) fn candidates(ty: &Type) -> Vec<Type> {
    let mut found = Candidates(Vec::new());
    found.visit_type(ty);
    found.0
}

/// Returns the types to check in a declared result. The error of a `Result` never leaves the worker, so it is not among
/// them.
pub(super) fn returned(declared: &Type) -> Vec<Type> {
    let Type::Path(path) = declared else { return candidates(declared) };
    let Some(last) = path.path.segments.last() else { return Vec::new() };
    match &last.arguments {
        PathArguments::AngleBracketed(arguments) if last.ident.to_string().ends_with("Result") => {
            let ok = arguments.args.iter().find_map(|argument| match argument {
                GenericArgument::Type(ty) => Some(candidates(ty)),
                _ => None,
            });
            ok.unwrap_or_default()
        }
        _ => candidates(declared),
    }
}

struct Candidates(Vec<Type>);

/// Types of the standard library whose name always means the same in practice. Without checks of these, the generated
/// code is shorter.
const KNOWN: [&str; 24] = [
    "bool", "char", "f32", "f64", "i8", "i16", "i32", "i64", "i128", "isize", "str", "u8", "u16", "u32", "u64", "u128",
    "usize", "String", "Vec", "Option", "Box", "Cow", "Arc", "Rc",
];

impl Visit<'_> for Candidates {
    fn visit_type_path(&mut self, path: &TypePath) {
        let Some(last) = path.path.segments.last() else { return };
        // `Arc<Mutex<T>>` is refused because of what is in it.
        let is_known = path.qself.is_none() && KNOWN.iter().any(|known| last.ident == known);
        if is_known {
            return visit::visit_type_path(self, path);
        }
        self.0.push(Type::Path(path.clone()));
        // What is in a `Mutex` is part of the same mistake.
        if last.ident != "Mutex" && last.ident != "RwLock" {
            visit::visit_type_path(self, path);
        }
    }
}
